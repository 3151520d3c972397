"""What runs beside the requests: started again when it fails, and ended when the gate stops, whatever it calls."""

import asyncio
import io

from bqgate.app.background import CANCELLED_TIMES_MAX, RESTART_S, Background
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.manual_clock import ManualClock


class Stand:
    """A Background, what it counts and what it writes."""

    def __init__(self) -> None:
        self.clock, self.metrics, self.log = ManualClock(), Metrics(), io.StringIO()
        self.background = Background(self.clock, PrometheusTelemetry(self.metrics, make_logger(self.log, self.clock)))


class Deaf:
    """Work that calls a library which loses the first `lost` cancellations."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.heard = 0
        self.begun = asyncio.Event()

    async def run(self) -> None:
        self.begun.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.heard += 1
                if self.heard > self.lost:
                    raise


async def test_what_fails_is_told_and_started_again() -> None:
    """A bug in one run is counted and logged by its name; after a pause it runs again."""
    stand, runs = Stand(), 0

    async def fail() -> None:
        nonlocal runs
        runs += 1
        raise LookupError("a bug")

    stand.background.start("poller", fail)
    await stand.clock.wait_for_sleepers()
    stand.clock.advance(RESTART_S)
    await stand.clock.wait_for_sleepers()
    await stand.background.stop()
    assert runs == 2
    assert stand.metrics.value("bqgate_failures_total", system="background", step="poller") == 2
    assert "background_task_failed" in stand.log.getvalue()
    assert "LookupError" in stand.log.getvalue()


async def test_all_have_ended_when_it_has_stopped() -> None:
    """Tasks that end when they are told are not waited for any longer, and nothing is said of them."""
    stand, works = Stand(), [Deaf(0), Deaf(0)]
    for work in works:
        stand.background.start("poller", work.run)
        await work.begun.wait()
    async with asyncio.timeout(5):
        await stand.background.stop(again_s=3600)
    assert [work.heard for work in works] == [1, 1]
    assert stand.log.getvalue() == ""


async def test_a_lost_cancellation_does_not_keep_the_gate_from_stopping() -> None:
    """A task that goes on though it was cancelled is named in the log and cancelled again."""
    stand, deaf = Stand(), Deaf(2)
    stand.background.start("reconciler", deaf.run)
    await deaf.begun.wait()
    async with asyncio.timeout(5):
        await stand.background.stop(again_s=0.01)
    assert deaf.heard == 3
    assert stand.log.getvalue().count("background_task_lingers") == 2
    assert "reconciler" in stand.log.getvalue()


async def test_a_task_that_never_ends_is_left_behind() -> None:
    """Stopping is bounded: after so many cancellations the gate goes on closing without it."""
    stand, deaf = Stand(), Deaf(CANCELLED_TIMES_MAX)
    stand.background.start("reconciler", deaf.run)
    await deaf.begun.wait()
    async with asyncio.timeout(5):
        await stand.background.stop(again_s=0.01)
    assert stand.log.getvalue().count("background_task_lingers") == CANCELLED_TIMES_MAX
    await stand.background.stop(again_s=5)  # hears it now, so that the test leaves nothing behind
