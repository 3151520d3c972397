"""Wait for what comes within a time, any number at once, under one timer: asyncio.timeout takes one for each.

Used by journal alone. All wait equally long, so that whoever began first is late first. Runs in one event loop.
"""

import asyncio
from collections import deque

from bqgate.domain.errors import LedgerUnavailable


class Waits:
    """Who waits, each at most `timeout_s` seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._begun: deque[tuple[float, asyncio.Future[None]]] = deque()  # until when each waits
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Future[None]:
        """One more wait: a future, which fails with LedgerUnavailable where it is not told in time."""
        told: asyncio.Future[None] = self._loop.create_future()
        self._begun.append((self._loop.time() + self._timeout_s, told))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look_at_the_time)
        return told

    def _look_at_the_time(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._begun:
            until_s, told = self._begun[0]
            if until_s > now_s and not told.done():
                self._timer = self._loop.call_at(until_s, self._look_at_the_time)
                return
            self._begun.popleft()
            if not told.done():
                told.set_exception(LedgerUnavailable(f"The ledger did not write within {self._timeout_s} s."))
