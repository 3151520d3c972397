"""A ports.Clock that runs as the machine's does, and skips ahead when a test says so.

For tests with real sockets and timeouts that must not wait for minutes: what is due meanwhile is due at the next look,
because sleeps are real and not cut short.
"""

from datetime import datetime, timedelta

from bqgate.clock import SystemClock


class SkippingClock:
    """The machine's time, and what was skipped."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._skipped = timedelta()

    def now(self) -> datetime:
        return self._system.now() + self._skipped

    def monotonic_s(self) -> float:
        return self._system.monotonic_s() + self._skipped / timedelta(seconds=1)

    async def sleep(self, delay_s: float) -> None:
        await self._system.sleep(delay_s)

    def skip(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._skipped += timedelta(seconds=seconds)


def zone_where_it_is_noon() -> str:
    """A time zone in which no day ends while a test runs, however much it skips."""
    return f"Etc/GMT{SystemClock().now().hour - 12:+d}"
