"""Say what every step needs while it runs: the time, and where to tell what it did."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time. Tests bring one that they move by hand."""

    def now(self) -> datetime:
        """The present moment, aware, UTC."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start that never go backwards; for measuring only."""

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds of this clock."""


class Telemetry(Protocol):
    """Where steps say what they did: counters and one line per request. Implemented by observe."""

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Add to a counter declared in observe.metrics."""

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Record a duration in seconds in a histogram declared in observe.metrics."""

    def log(self, event: str, /, **fields: object) -> None:
        """Write one structured log line."""
