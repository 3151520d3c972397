"""Bound how many calls to one server are under way; the others wait in line. Used by upstream.py.

As asyncio.Semaphore, but for what nearly every call does: take a place that is free, without a coroutine.
"""

import asyncio
from collections import deque


class Places:
    """So many places; whoever takes one gives it back once."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a place now. False: none is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Take a place when it is this one's turn. Whoever stops waiting has none."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn had just come
                self.release()
            raise

    def release(self) -> None:
        """Give a place back: to who waits longest, or to whoever comes."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
