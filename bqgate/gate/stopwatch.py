"""Measure the steps of one request, for the Server-Timing header and the step histogram.

Made by dispatch.py for each call. Milliseconds in the header (https://www.w3.org/TR/server-timing/), seconds in the
metric.
"""

from typing import Self

from bqgate.ports import Clock, Telemetry


class Stopwatch:
    """Named spans of one request, one after the other: ``with watch.step("hold"):``."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._spans_s: dict[str, float] = {}
        self._name = ""
        self._started_s = 0.0

    def step(self, name: str) -> Self:
        """Measure what happens inside a `with` block, also when it fails. No step has another one inside."""
        self._name = name
        self._started_s = self._clock.monotonic_s()
        return self

    def __enter__(self) -> None:
        """Go on: `step` has begun it."""

    def __exit__(self, *_: object) -> None:
        span_s = self._clock.monotonic_s() - self._started_s
        self._spans_s[self._name] = span_s
        self._telemetry.observe("step_seconds", span_s, step=self._name)

    def span_ms(self, name: str) -> int:
        """How long a step took that has ended; 0 where there was none."""
        return round(self._spans_s.get(name, 0) * 1000)

    def server_timing(self) -> str:
        """The header's value, in the order in which the steps ended."""
        return ", ".join([f"{name};dur={span_s * 1000:.1f}" for name, span_s in self._spans_s.items()])
