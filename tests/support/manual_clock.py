"""Move time by hand: a ports.Clock for tests.

Nothing passes until a test says `advance`. Whoever sleeps is woken, earliest deadline first, by the advance that
reaches its deadline, and runs when the test next awaits something. `wait_for_sleepers` returns when a task has come
to its sleep, so that a test advances neither too early nor by guessing.
"""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class ManualClock:
    """A clock that stands still. `start` is an aware moment."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start.astimezone(UTC)
        self._passed = timedelta()
        self._numbers = itertools.count()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._someone_fell_asleep = asyncio.Event()

    def now(self) -> datetime:
        return self._start + self._passed

    def monotonic_s(self) -> float:
        return self._passed / timedelta(seconds=1)

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)  # noqa: TID251 - only lets others run, as the real sleep does
            return
        woken = asyncio.get_running_loop().create_future()
        sleeper = (self._passed + timedelta(seconds=delay_s), next(self._numbers), woken)
        heapq.heappush(self._sleepers, sleeper)
        self._someone_fell_asleep.set()
        try:
            await woken
        finally:
            if sleeper in self._sleepers:  # cancelled before its time
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass and wake whoever's deadline is reached."""
        assert seconds >= 0, "time does not go backwards"
        self._passed += timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= self._passed:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def advance_to(self, moment: datetime) -> None:
        """Let time pass until an aware moment that is not in this clock's past."""
        self.advance((moment - self.now()) / timedelta(seconds=1))

    @property
    def sleeper_count(self) -> int:
        """How many tasks are asleep."""
        return len(self._sleepers)

    async def wait_for_sleepers(self, count: int = 1, *, timeout_s: float = 5) -> None:
        """Return when at least `count` tasks are asleep; TimeoutError after `timeout_s` real seconds."""
        async with asyncio.timeout(timeout_s):
            while len(self._sleepers) < count:
                self._someone_fell_asleep.clear()
                await self._someone_fell_asleep.wait()
