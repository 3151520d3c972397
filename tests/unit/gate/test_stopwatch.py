import pytest

from bqgate.gate.stopwatch import Stopwatch
from tests.support.manual_clock import ManualClock


class Notebook:
    """A Telemetry that keeps what it is told."""

    def __init__(self) -> None:
        self.observed: list[tuple[str, float, dict[str, str]]] = []

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        raise AssertionError(f"nothing is counted here: {name} {amount} {labels}")

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        self.observed.append((name, value_s, labels))

    def log(self, event: str, /, **fields: object) -> None:
        raise AssertionError(f"nothing is noted here: {event} {fields}")


def test_steps_show_in_server_timing_in_milliseconds() -> None:
    """Each step is measured by the clock that was handed in, failed ones too."""
    clock, telemetry = ManualClock(), Notebook()
    watch = Stopwatch(clock, telemetry)
    with watch.step("dryrun"):
        clock.advance(0.25)
    with pytest.raises(AssertionError, match="backwards"), watch.step("hold"):
        clock.advance(-1)
    with watch.step("hold"):
        clock.advance(0.001)
    assert watch.server_timing() == "dryrun;dur=250.0, hold;dur=1.0"
    assert [watch.span_ms(name) for name in ("dryrun", "hold", "wait")] == [250, 1, 0]
    assert ["dryrun", "hold", "hold"] == [labels["step"] for _, _, labels in telemetry.observed]
