"""Tests of bqgate.leases: who works, and who goes on when that one dies, by clocks that no one has set alike."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bqgate.leases import Lease
from bqgate.leases.lease import BEAT_S, STALE_S
from tests.support.hold_services import CountingTelemetry
from tests.support.leases import MemoryLeases
from tests.support.manual_clock import ManualClock


class Stand:
    """Replicas that contend for one lease; each has a clock of its own."""

    def __init__(self) -> None:
        self.store = MemoryLeases()
        self.working: list[str] = []
        self.clocks: dict[str, ManualClock] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, store: MemoryLeases | None = None) -> None:
        clock = self.clocks[name] = ManualClock()
        lease = Lease(store or self.store, "sweep", holder=name, clock=clock, telemetry=CountingTelemetry())

        async def work() -> None:
            self.working.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.working.remove(name)

        self.tasks[name] = asyncio.create_task(lease.run(work))

    async def pass_s(self, seconds: float) -> None:
        """Let time pass for every replica that has not been killed."""
        for _ in range(int(seconds)):
            for clock in self.clocks.values():
                clock.advance(1)
            await settled()

    def kill(self, name: str) -> None:
        """Its clock stands still, so that nothing of it moves any more; it lets go of nothing."""
        del self.clocks[name]
        self.working.remove(name)


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(30):
        await asyncio.sleep(0)  # noqa: TID251 - lets others run, and waits for no time


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """A lease that nobody has taken."""
    made = Stand()
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_one_of_three_works(stand: Stand) -> None:
    """Of three replicas one works, the same one all the time."""
    for name in ("a", "b", "c"):
        stand.start(name)
    await settled()
    first = list(stand.working)
    await stand.pass_s(300)
    assert len(first) == 1
    assert stand.working == first


async def test_another_goes_on_within_half_a_minute(stand: Stand) -> None:
    """A replica that dies is followed by another within 30 seconds, and not while it may still be alive."""
    stand.start("a")
    await settled()
    stand.start("b")
    await stand.pass_s(60)
    stand.kill("a")
    await stand.pass_s(STALE_S - 2 * BEAT_S)
    assert stand.working == []
    await stand.pass_s(30 - (STALE_S - 2 * BEAT_S))
    assert stand.working == ["b"]


async def test_who_stops_in_order_is_followed_at_once(stand: Stand) -> None:
    """A replica that stops lets go of the lease: another goes on at its next look."""
    stand.start("a")
    await settled()
    stand.start("b")
    stand.tasks["a"].cancel()
    await asyncio.gather(stand.tasks["a"], return_exceptions=True)
    await stand.pass_s(BEAT_S)
    assert stand.working == ["b"]


async def test_who_cannot_say_that_it_lives_stops_before_another_begins(stand: Stand) -> None:
    """A holder without its store stops its work before the store, back for others, could give the lease away."""
    cut_off = MemoryLeases()
    cut_off._records = stand.store._records  # the same leases, over a network of its own
    stand.start("a", cut_off)
    await settled()
    stand.start("b")
    await stand.pass_s(20)
    cut_off.is_away = True
    both: list[list[str]] = []
    for _ in range(40):
        await stand.pass_s(1)
        both.append(list(stand.working))
    assert ["a", "b"] not in both
    assert ["b", "a"] not in both
    assert both[-1] == ["b"]


async def test_the_same_name_goes_on_at_once(stand: Stand) -> None:
    """A replica that is started again under its name need not wait for its own old lease."""
    stand.start("a")
    await settled()
    stand.kill("a")
    stand.start("a")
    await settled()
    assert stand.working == ["a"]


async def test_work_that_fails_is_told() -> None:
    """What the work raises leaves the lease, which is let go of."""
    store = MemoryLeases()
    lease = Lease(store, "sweep", holder="a", clock=ManualClock(), telemetry=CountingTelemetry())

    async def work() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await lease.run(work)
    assert (await store.fetch_lease("sweep")).holder == ""
    assert not lease.is_held
