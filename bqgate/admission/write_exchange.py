"""Take what was written here to other gates, and what was written there to the estimator, beside the requests.

Used by app between the estimator and ports.ChangeFeed. What is written in quick succession, as by streaming inserts,
goes in one message; a query never waits for it. A word that is lost costs at most the life of an estimate.
"""

import asyncio
from collections.abc import Callable

from bqgate.domain.touched import Touched
from bqgate.ports import ChangeFeed, Clock

# Between two messages; what is written meanwhile goes with the next.
PAUSE_S = 0.05
# How many names a message may have; more become their datasets.
NAMES_MAX = 200


class WriteExchange:
    """What waits to be told. `send` and `hear` run for as long as the gate lives."""

    def __init__(self, feed: ChangeFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._waiting = Touched()
        self._is_told = asyncio.Event()

    def tell(self, touched: Touched) -> None:
        """Have other gates told. Does not wait."""
        self._waiting = (self._waiting | touched).within(NAMES_MAX)
        self._is_told.set()

    async def send(self) -> None:
        """Tell other gates, for ever."""
        while True:
            await self._is_told.wait()
            self._is_told.clear()
            written, self._waiting = self._waiting, Touched()
            await self._feed.announce_writes(written)
            await self._clock.sleep(PAUSE_S)

    async def hear(self, drop: Callable[[Touched], None]) -> None:
        """Give `drop` what other gates wrote, for ever."""
        while True:
            drop(await self._feed.hear_writes())
