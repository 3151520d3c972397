"""Run a sandbox in a thread of its own, for tests that are not asynchronous: commands of the command line."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bqgate.sandbox import Sandbox, SandboxSettings


@contextmanager
def threaded_sandbox(settings: SandboxSettings | None = None) -> Iterator[Sandbox]:
    """A sandbox as long as the context is open. Faults may be added and the journal read from outside its thread."""
    is_up = threading.Event()
    found: list[tuple[Sandbox, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        stop = asyncio.Event()
        async with Sandbox.start(settings) as sandbox:
            found.append((sandbox, asyncio.get_running_loop(), stop))
            is_up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert is_up.wait(60)
    sandbox, loop, stop = found[0]
    try:
        yield sandbox
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
