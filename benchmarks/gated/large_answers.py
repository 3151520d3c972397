"""Stand in for BigQuery with one large page of rows, sent as fast as it is taken.

    python benchmarks/gated/large_answers.py     prints its port and serves until its input ends

Whatever is asked, the answer is SIZE_BYTES of getQueryResults, as one piece of JSON with a Content-Length.
"""

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop

SIZE_BYTES = 267_000_000
_BEGIN = b'{"kind":"bigquery#getQueryResultsResponse","jobComplete":true,"totalRows":"1000000","rows":['
_ROW = b'{"f":[{"v":"0123456789"},{"v":"emea"},{"v":"1234567.5"},{"v":"a text of some length, as texts are"}]},'
_END = b'{"f":[]}]}'
_CHUNK = _ROW * 640
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: %d\r\n\r\n"


class LargeAnswers(asyncio.Protocol):
    """One connection with one call at a time."""

    def __init__(self, tasks: set["asyncio.Task[None]"]) -> None:
        self._tasks = tasks
        self._transport = asyncio.Transport()  # until it is connected
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            task = asyncio.get_running_loop().create_task(self._answer())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def _answer(self) -> None:
        self._transport.write(_HEAD % SIZE_BYTES + _BEGIN)
        left = SIZE_BYTES - len(_BEGIN) - len(_END)
        while left > len(_CHUNK):
            await self._may_write.wait()
            self._transport.write(_CHUNK)
            left -= len(_CHUNK)
        self._transport.write(b" " * left + _END)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(LargeAnswers, set()), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
