"""Measure the steps of one request, for the Server-Timing header and the step histogram.

Made by dispatch.py for each call. Milliseconds in the header (https://www.w3.org/TR/server-timing/), seconds in the
metric.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bqgate.ports import Clock, Telemetry


class Stopwatch:
    """Named spans of one request."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._spans_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what happens inside, also when it fails."""
        started_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            span_s = self._clock.monotonic_s() - started_s
            self._spans_s[name] = span_s
            self._telemetry.observe("step_seconds", span_s, step=name)

    def span_ms(self, name: str) -> int:
        """How long a step took that has ended; 0 where there was none."""
        return round(self._spans_s.get(name, 0) * 1000)

    def server_timing(self) -> str:
        """The header's value, in the order in which the steps ended."""
        return ", ".join(f"{name};dur={span_s * 1000:.1f}" for name, span_s in self._spans_s.items())
