"""Tell other gates what is written here, and hear what is written there, so that all drop outdated estimates.

Wired by app between job_writes.py and ports.ChangeFeed. Writes in quick succession, such as streaming inserts, go in
one message; no query waits for it. A lost message costs at most the lifetime of an estimate.
"""

import asyncio
from collections.abc import Callable

from bqgate.domain.touched import Writes
from bqgate.ports import ChangeFeed, Clock

# Between two messages; writes meanwhile go with the next.
PAUSE_S = 0.05
# How many tables a message may name, more become their datasets; and how many jobs.
NAMES_MAX = 200


class WriteBroadcast:
    """Writes that other gates are to be told of. `send` and `hear` run as long as the gate."""

    def __init__(self, feed: ChangeFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._waiting = Writes()
        self._is_told = asyncio.Event()

    def tell(self, writes: Writes) -> None:
        """Queue a write for the next message. Does not wait."""
        self._waiting = (self._waiting | writes).within(NAMES_MAX)
        self._is_told.set()

    async def send(self) -> None:
        """Send messages to other gates, for ever."""
        while True:
            await self._is_told.wait()
            self._is_told.clear()
            written, self._waiting = self._waiting, Writes()
            await self._feed.announce_writes(written)
            await self._clock.sleep(PAUSE_S)

    async def hear(self, take: Callable[[Writes], None]) -> None:
        """Pass what other gates wrote to `take`, for ever."""
        while True:
            take(await self._feed.hear_writes())
