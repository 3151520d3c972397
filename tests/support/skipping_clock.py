"""A ports.Clock that runs as the machine's does, and skips ahead when a test says so.

For tests with real sockets and timeouts that must not wait for minutes: who sleeps until a moment that was skipped
wakes at once, as if it had come.
"""

import asyncio
from datetime import datetime, timedelta

from bqgate.clock import SystemClock


class SkippingClock:
    """The machine's time, and what was skipped."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._skipped = timedelta()
        self._sleepers: set[asyncio.Future[None]] = set()

    def now(self) -> datetime:
        return self._system.now() + self._skipped

    def monotonic_s(self) -> float:
        return self._system.monotonic_s() + self._skipped / timedelta(seconds=1)

    async def sleep(self, delay_s: float) -> None:
        until_s = self.monotonic_s() + delay_s
        while (left_s := until_s - self.monotonic_s()) > 0:
            skipped = asyncio.get_running_loop().create_future()
            self._sleepers.add(skipped)
            try:
                async with asyncio.timeout(left_s):
                    await skipped
            except TimeoutError:
                return
            finally:
                self._sleepers.discard(skipped)

    def skip(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._skipped += timedelta(seconds=seconds)
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)


def zone_where_it_is_noon() -> str:
    """A time zone in which no day ends while a test runs, however much it skips."""
    return f"Etc/GMT{SystemClock().now().hour - 12:+d}"
