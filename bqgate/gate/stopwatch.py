"""Measure the steps of one request, for the Server-Timing header and the step histogram.

Made by dispatch.py for each call. Milliseconds in the header (https://www.w3.org/TR/server-timing/), seconds in the
metric.
"""

from bqgate.ports import Clock, Telemetry


class Stopwatch:
    """Named spans of one request."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._spans_s: dict[str, float] = {}

    def step(self, name: str) -> "_Step":
        """Measure what happens inside a `with` block, also when it fails."""
        return _Step(self, self._clock, name)

    def note(self, name: str, span_s: float) -> None:
        """A step has ended."""
        self._spans_s[name] = span_s
        self._telemetry.observe("step_seconds", span_s, step=name)

    def span_ms(self, name: str) -> int:
        """How long a step took that has ended; 0 where there was none."""
        return round(self._spans_s.get(name, 0) * 1000)

    def server_timing(self) -> str:
        """The header's value, in the order in which the steps ended."""
        return ", ".join([f"{name};dur={span_s * 1000:.1f}" for name, span_s in self._spans_s.items()])


class _Step:
    """One span, as a context manager: a generator would take longer than many a step."""

    __slots__ = ("_clock", "_name", "_started_s", "_watch")

    def __init__(self, watch: Stopwatch, clock: Clock, name: str) -> None:
        self._watch = watch
        self._clock = clock
        self._name = name
        self._started_s = 0.0

    def __enter__(self) -> None:
        self._started_s = self._clock.monotonic_s()

    def __exit__(self, *_: object) -> None:
        self._watch.note(self._name, self._clock.monotonic_s() - self._started_s)
