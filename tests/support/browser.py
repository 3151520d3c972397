"""Look at pages in headless Chromium as a telephone shows them, over the DevTools protocol.

`Browser.look` loads a URL in a window of some width and evaluates expressions in the page; a policy that forbids
scripts does not forbid that. Protocol: https://chromedevtools.github.io/devtools-protocol/ .
"""

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bqgate.clock import SystemClock
from tests.support.absent_tools import require_tool

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)


class Browser:
    """One page of a running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def look(self, url: str, *expressions: str, width: int, height: int, scheme: str = "light") -> list[Any]:
        """What the expressions are in the page at that width, in the light or the dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        await self._send("Emulation.setDeviceMetricsOverride", **metrics)
        await self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self._send("Page.enable")
        await self._send("Page.navigate", url=url)
        await self._until(lambda message: message.get("method") == "Page.loadEventFired")
        found = [await self._send("Runtime.evaluate", expression=each, returnByValue=True) for each in expressions]
        return [each["result"].get("value") for each in found]

    async def _send(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await self._until(lambda message: message.get("id") == number)
        assert "error" not in answer, answer
        return answer["result"]

    async def _until(self, is_it: Any) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                message: dict[str, Any] = json.loads(await self._socket.receive_str())
                if is_it(message):
                    return message


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A Chromium of the test's own, with a profile that is thrown away."""
    program = require_tool("chromium", "apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="bqgate-chromium-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *_OPTIONS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{await _port(Path(folder, 'DevToolsActivePort'))}/json/list"
                async with session.get(url) as answer:
                    pages = [each for each in await answer.json() if each["type"] == "page"]
                async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=2**26) as socket:
                    yield Browser(socket)
        finally:
            process.terminate()
            await process.wait()


async def _port(file: Path) -> str:
    """The port that the browser chose; it writes it into its profile."""
    async with asyncio.timeout(60):
        while True:
            lines = await asyncio.to_thread(_lines_of, file)
            if len(lines) == 2:
                return lines[0]
            await SystemClock().sleep(0.05)


def _lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
