import asyncio
import contextlib
import gc
import io
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from bqgate.admission.queue.admission_queue import AdmissionQueue, Shed
from bqgate.admission.queue.concurrency_limiter import ConcurrencyLimiter
from bqgate.admission.queue.fair_queue import QueuedQuery
from bqgate.domain.throttling import Priority
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.manual_clock import ManualClock


@dataclass
class Scene:
    """A room on a clock moved by hand."""

    queue: AdmissionQueue
    clock: ManualClock
    metrics: Metrics

    def come(
        self,
        hold_id: str,
        principal: str = "x",
        *,
        customer_max: int | None = None,
        principal_max: int | None = None,
        interval_ms: int = 0,
    ) -> "asyncio.Task[None]":
        """A query of the customer a comes, and waits if it must."""
        queued = QueuedQuery(hold_id, "a", principal, Priority.NORMAL, customer_max, principal_max, interval_ms)
        return asyncio.ensure_future(self.enter(queued))

    async def enter(self, queued: QueuedQuery) -> None:
        if not self.queue.lets_through(queued):
            await self.queue.wait(queued)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and everybody do what follows from it."""
        await settle()
        self.clock.advance(seconds)
        await settle()

    def shed(self, where: str) -> float:
        return self.metrics.value("bqgate_shed_total", where=where)


async def settle() -> None:
    """Let every task run until nothing more happens at this moment."""
    for _ in range(20):
        await asyncio.sleep(0)  # noqa: TID251 - only lets others run


@asynccontextmanager
async def open_room(*, places: int = 100, deadline_s: int = 30, running_max: int | None = None) -> AsyncIterator[Scene]:
    clock, metrics = ManualClock(), Metrics()
    telemetry = PrometheusTelemetry(metrics, make_logger(io.StringIO(), clock))
    queue = AdmissionQueue(clock, telemetry, places=places, deadline_s=deadline_s, running_max=running_max)
    running = asyncio.ensure_future(queue.run())
    try:
        yield Scene(queue, clock, metrics)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_nobody_waits_where_nothing_is_limited() -> None:
    """A query that is neither throttled nor limited passes, and the room does not remember it."""
    async with open_room(places=0) as scene:
        assert all(scene.queue.lets_through(QueuedQuery(f"h{number}", "a", "x")) for number in range(1_000))
        assert (scene.queue.depth, scene.queue.running_count) == (0, 0)


async def test_a_customer_runs_no_more_than_its_limit() -> None:
    """The third of two waits until one of them has ended; ending twice frees one place only."""
    async with open_room() as scene:
        entered = [scene.come(f"h{number}", customer_max=2) for number in range(4)]
        await settle()
        assert [True, True, False, False] == [each.done() for each in entered]
        scene.queue.release("h0")
        scene.queue.release("h0")
        await settle()
        assert [True, True, True, False] == [each.done() for each in entered]
        entered[3].cancel()


async def test_a_principal_at_its_limit_holds_up_nobody_else() -> None:
    """A colleague's query passes while a principal's second waits for its first."""
    async with open_room() as scene:
        first, second, other = (
            scene.come(hold_id, principal, principal_max=1)
            for hold_id, principal in (("h1", "x"), ("h2", "x"), ("h3", "y"))
        )
        await settle()
        assert (first.done(), second.done(), other.done()) == (True, False, True)
        scene.queue.release("h1")
        await settle()
        assert second.done()


@pytest.mark.parametrize("now_s", [0.0, 100.0, 1_000.0, 1_300.7, 5_000_000.3])
def test_the_shortest_wait_ends_whatever_the_clock_says(now_s: float) -> None:
    """A millisecond after a machine's start may round to less than one: due at arrival, it goes at arrival."""
    limiter = ConcurrencyLimiter(places=10, deadline_s=30, running_max=None)
    arrived = limiter.arrive(QueuedQuery("h1", "a", "x", interval_ms=1), now_s)
    assert arrived.granted + limiter.advance(now_s + 0.002).granted == ["h1"]


def test_who_comes_when_another_is_due_does_not_make_it_miss_its_turn() -> None:
    """The second arrives half a millisecond before the first is due: the first goes."""
    limiter = ConcurrencyLimiter(places=10, deadline_s=30, running_max=None)
    limiter.arrive(QueuedQuery("h1", "a", "x", interval_ms=2_000), 0)
    arrived = limiter.arrive(QueuedQuery("h2", "a", "x", interval_ms=2_000), 1.9995)
    assert arrived.granted + limiter.advance(2.1).granted == ["h1"]


async def test_throttled_queries_go_one_interval_apart() -> None:
    """The first waits an interval, each other one after the one before it, and colleagues take turns."""
    async with open_room() as scene:
        x = [scene.come(f"x{number}", "x", interval_ms=2_000) for number in range(3)]
        y = scene.come("y", "y", interval_ms=2_000)
        went = []
        for _ in range(8):
            await scene.pass_time(1)
            went.append(sum(each.done() for each in (*x, y)))
            if went[-1] == 2:
                assert y.done(), "the second turn is the colleague's"
        assert went == [0, 1, 1, 2, 2, 3, 3, 4]


async def test_who_waits_past_the_deadline_is_sent_away() -> None:
    """After 30 s a query that found no turn is told to come back, and its place is free."""
    async with open_room() as scene:
        await scene.enter(QueuedQuery("h0", "a", "x", customer_max=1))
        late = scene.come("h1", customer_max=1)
        await scene.pass_time(29.9)
        assert not late.done()
        await scene.pass_time(0.2)
        with pytest.raises(Shed, match="within 30 s"):
            late.result()
        assert (scene.queue.depth, scene.shed("waiting_deadline")) == (0, 1)
        assert scene.metrics.value("bqgate_waits_seconds_count", outcome="shed") == 1


async def test_an_interval_longer_than_the_deadline_still_lets_one_through() -> None:
    """A pace slower than anybody may wait lets a single query go when its wait ends."""
    async with open_room() as scene:
        slow = scene.come("h1", interval_ms=120_000)
        await scene.pass_time(30)
        assert slow.done()
        assert slow.exception() is None


async def test_who_leaves_frees_its_place_at_once() -> None:
    """A caller that goes away while it waits makes room for the next, and its turn is not used up."""
    async with open_room(places=1) as scene:
        await scene.enter(QueuedQuery("h0", "a", "x", customer_max=1))
        gone = scene.come("h1", customer_max=1)
        await settle()
        gone.cancel()
        await settle()
        heir = scene.come("h2", customer_max=1)
        await settle()
        assert (scene.queue.depth, heir.done()) == (1, False)
        scene.queue.release("h0")
        await heir
        assert scene.metrics.value("bqgate_waits_seconds_count", outcome="left") == 1


async def test_who_leaves_in_the_moment_of_its_turn_gives_the_place_on() -> None:
    """A place that was granted to somebody who has just gone is the next one's."""
    async with open_room() as scene:
        await scene.enter(QueuedQuery("h0", "a", "x", customer_max=1))
        gone, heir = scene.come("h1", customer_max=1), scene.come("h2", "y", customer_max=1)
        await settle()
        scene.queue.release("h0")
        gone.cancel()
        await settle()
        assert heir.done()
        assert scene.queue.running_count == 1


async def test_a_full_room_sheds_and_says_so() -> None:
    """Past the places a query is sent away at once, with when to come back."""
    async with open_room(places=1) as scene:
        kept = scene.come("h1", interval_ms=8_000)
        await settle()
        with pytest.raises(Shed, match="too many queries are waiting") as refused:
            await scene.enter(QueuedQuery("h2", "a", "x", interval_ms=8_000))
        assert (refused.value.retry_after_s, scene.shed("waiting_room")) == (8, 1)
        kept.cancel()


async def test_a_repeat_shares_the_place_of_what_runs() -> None:
    """An attempt under a hold that runs already takes no second place."""
    async with open_room() as scene:
        queued = QueuedQuery("h1", "a", "x", customer_max=1)
        assert scene.queue.lets_through(queued)
        assert scene.queue.lets_through(queued)
        assert scene.queue.running_count == 1


async def test_a_repeat_that_waits_when_its_job_ends_goes() -> None:
    """A job that ends while a repeat of it waits for its pace lets the repeat go, rather than wait for ever."""
    async with open_room() as scene:
        first = scene.come("h1", interval_ms=1_000)
        await scene.pass_time(1)
        await first
        repeat = scene.come("h1", interval_ms=1_000)
        await settle()
        assert not repeat.done()

        scene.queue.release("h1")
        await settle()
        assert repeat.done()
        await repeat
        assert not scene.queue.depth


async def test_one_limit_for_all_lets_the_better_class_go_first() -> None:
    """Under a limit for the whole gate, customers take turns and a place that one gives back is another's."""
    async with open_room(running_max=1) as scene:
        await scene.enter(QueuedQuery("h0", "b", "z"))
        waits = [scene.come("h1"), scene.come("h2")]
        await settle()
        scene.queue.release("h0")
        await settle()
        assert [True, False] == [each.done() for each in waits]
        waits[1].cancel()


async def test_a_closed_room_sends_everybody_away() -> None:
    """When the gate stops, who waits is answered, and nobody waits any more; what runs goes on."""
    async with open_room() as scene:
        await scene.enter(QueuedQuery("h0", "a", "x", customer_max=1))
        waits = [scene.come(f"h{number}", customer_max=1) for number in (1, 2)]
        await settle()
        scene.queue.close()
        waits.append(scene.come("h3", customer_max=1))
        for each in waits:
            with pytest.raises(Shed, match="stopping"):
                await each
        assert (scene.queue.depth, scene.queue.running_count) == (0, 1)


async def test_the_room_remembers_nobody_that_is_gone() -> None:
    """After ten thousand visits by as many customers and principals the room is as small as before."""
    async with open_room(places=10) as scene:

        async def queued(number: int) -> None:
            each = QueuedQuery(f"h{number}", f"c{number}", f"p{number}", customer_max=1, interval_ms=number % 2 * 1_000)
            task = asyncio.ensure_future(scene.enter(each))
            await asyncio.sleep(0)  # noqa: TID251 - only lets others run
            if number % 3:
                await scene.pass_time(1) if each.interval_ms else None
            else:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            scene.queue.release(each.hold_id)

        for number in range(200):
            await queued(number)
        gc.collect()
        tracemalloc.start()
        before = _rooms_bytes()
        for number in range(1_000, 3_000):
            await queued(number)
        gc.collect()
        after = _rooms_bytes()
        tracemalloc.stop()
        assert after - before < 20_000


def _rooms_bytes() -> int:
    """What the room's own code has allocated; other tests' leftovers in this process do not count."""
    kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/admission/queue/*")])
    return sum(each.size for each in kept.statistics("filename"))
