"""Read long SQL beside the event loop, so that nobody's query waits while a megabyte of another's is read.

Used by the handler and by isolation around pure readers. There is one thread for all, in which callers take turns by
customer: each has one text in line, so that a thousand of one customer's delay another's by one. Texts wait here and
not before the thread, so that nothing is kept of those whose callers have left.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

# A text of this length is read in a millisecond or two; a thread for less would cost more than it saves.
SHORT_CHARS_MAX = 4 * 1024


@dataclass(slots=True)
class _Turn:
    """A customer's place in the line, and how many of its texts want it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class LongTexts:
    """Reads texts, long ones one after the other in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-texts")
        self._is_free = asyncio.Lock()  # the thread; held until it has read its text, whoever has left meanwhile
        self._turns: dict[str, _Turn] = {}

    async def read(self, customer: str, text: str, reading: Callable[[], T]) -> T:
        """What `reading` makes of a text, and whatever it raises."""
        if len(text) <= SHORT_CHARS_MAX:
            return reading()
        async with self._turn_of(customer):
            await self._is_free.acquire()
            read = asyncio.get_running_loop().run_in_executor(self._thread, reading)
            read.add_done_callback(lambda _done: self._is_free.release())
            return await asyncio.shield(read)

    def close(self) -> None:
        """Read no more; what is being read ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _turn_of(self, customer: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(customer, _Turn())
        turn.wanted += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[customer]
