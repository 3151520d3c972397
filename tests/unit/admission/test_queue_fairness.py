"""One caller with 1,000 queries does not delay another's first by more than one service time, whatever is limited."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bqgate.admission.queue.admission_queue import AdmissionQueue
from bqgate.admission.queue.fair_queue import QueuedQuery
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.manual_clock import ManualClock

CROWD = 1_000
SERVICE_S = 10


@dataclass
class Scene:
    """A room in which every query runs for SERVICE_S seconds. `began_s` is when each was let go, by its hold's id."""

    room: AdmissionQueue
    clock: ManualClock
    began_s: dict[str, float] = field(default_factory=dict)

    def come(self, queued: QueuedQuery) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self._run(queued))

    async def _run(self, queued: QueuedQuery) -> None:
        if not self.room.lets_through(queued):
            await self.room.wait(queued)
        self.began_s[queued.hold_id] = self.clock.monotonic_s()
        await self.clock.sleep(SERVICE_S)
        self.room.release(queued.hold_id)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass by quarters of a second, and everybody do what follows from it."""
        for _ in range(int(seconds * 4)):
            await settle()
            self.clock.advance(0.25)
        await settle()


async def settle() -> None:
    """Let every task run until nothing more happens at this moment."""
    for _ in range(20):
        await asyncio.sleep(0)  # noqa: TID251 - only lets others run


@asynccontextmanager
async def open_room(running_max: int | None) -> AsyncIterator[Scene]:
    clock = ManualClock()
    telemetry = PrometheusTelemetry(Metrics(), make_logger(io.StringIO(), clock))
    room = AdmissionQueue(clock, telemetry, places=CROWD, deadline_s=300, running_max=running_max)
    running = asyncio.ensure_future(room.run())
    try:
        yield Scene(room, clock)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize(
    ("running_max", "limits", "other"),
    [
        pytest.param(None, {"customer_max": 1}, ("a", "y"), id="a colleague, one at a time"),
        pytest.param(None, {"customer_max": 4}, ("a", "y"), id="a colleague, four at a time"),
        pytest.param(None, {"principal_max": 1}, ("a", "y"), id="a colleague, one at a time for each"),
        pytest.param(1, {}, ("b", "y"), id="another customer, one at a time at the gate"),
        pytest.param(3, {"customer_max": 2}, ("b", "y"), id="another customer, within both limits"),
    ],
)
@pytest.mark.parametrize("comes_after_s", [0.25, 9.75, 17.5])
async def test_a_thousand_queries_delay_anothers_first_by_one_service_time_at_most(
    running_max: int | None, limits: dict[str, Any], other: tuple[str, str], comes_after_s: float
) -> None:
    """Whenever the other comes, it runs as soon as a place is freed; and the crowd goes on behind it."""
    async with open_room(running_max) as scene:
        crowd = [scene.come(QueuedQuery(f"x{number}", "a", "x", **limits)) for number in range(CROWD)]
        await scene.pass_time(comes_after_s)
        came_s = scene.clock.monotonic_s()
        first = scene.come(QueuedQuery("y", *other, **limits))
        await scene.pass_time(SERVICE_S)
        assert scene.began_s["y"] - came_s <= SERVICE_S - comes_after_s % SERVICE_S
        ran_before = len(scene.began_s)
        await scene.pass_time(SERVICE_S)
        assert len(scene.began_s) > ran_before
        for each in (*crowd, first):
            each.cancel()
        await asyncio.gather(*crowd, first, return_exceptions=True)


async def test_a_thousand_throttled_queries_delay_anothers_first_by_one_interval_at_most() -> None:
    """A pace is one for a customer: the colleague waits its own interval, and at most one of the crowd's before it."""
    interval_s = 2
    async with open_room(None) as scene:
        crowd = [
            scene.come(QueuedQuery(f"x{number}", "a", "x", interval_ms=interval_s * 1_000)) for number in range(CROWD)
        ]
        await scene.pass_time(4.25)
        came_s = scene.clock.monotonic_s()
        first = scene.come(QueuedQuery("y", "a", "y", interval_ms=interval_s * 1_000))
        await scene.pass_time(3 * interval_s)
        assert scene.began_s["y"] - came_s <= 2 * interval_s
        for each in (*crowd, first):
            each.cancel()
        await asyncio.gather(*crowd, first, return_exceptions=True)


async def test_newcomers_do_not_keep_a_crowd_from_its_turns() -> None:
    """Who comes while the crowd's query runs goes before its next one, who comes while another's runs goes after it."""
    async with open_room(None) as scene:
        tasks = [scene.come(QueuedQuery(f"x{number}", "a", "x", customer_max=1)) for number in range(6)]
        await scene.pass_time(1)
        for newcomer in ("y", "z"):
            tasks.append(scene.come(QueuedQuery(newcomer, "a", newcomer, customer_max=1)))
            await scene.pass_time(SERVICE_S)
        await scene.pass_time(2 * SERVICE_S)
        assert sorted(scene.began_s, key=lambda hold_id: scene.began_s[hold_id]) == ["x0", "y", "x1", "z", "x2"]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
