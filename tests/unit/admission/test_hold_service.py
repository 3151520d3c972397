"""While a store is away, the table decides; what goes on is covered, counted, and made known afterwards."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bqgate.admission.hold_service import UNRECORDED_MAX, HoldService
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from bqgate.domain.degradation import Conduct, System
from bqgate.domain.errors import AttemptEnded, BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.tier import Customer, Mode, Tier
from bqgate.ledger import SqlLedger
from tests.support.hold_services import CountingTelemetry, hold_service_over
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock

TIER = Tier("standard", daily_nanos=5 * NANOS_PER_USD, monthly_nanos=50 * NANOS_PER_USD, emergency_nanos=5 * 10**10)
ACME = Customer("acme", TIER)
CENTS_60 = 600_000_000
NOWHERE = "redis://127.0.0.1:1/0"


@dataclass
class Scene:
    """A ledger that can be taken away and given back, and budgets that are there or are not."""

    clock: ManualClock
    ledger: SqlLedger
    path: Path
    telemetry: CountingTelemetry
    opened: list[MemoryBudgetStore | RedisBudgetStore] = field(default_factory=list)

    def service(self, *, budgets_url: str | None = None, **chosen: Conduct) -> HoldService:
        store = (
            MemoryBudgetStore(self.ledger, self.clock)
            if budgets_url is None
            else RedisBudgetStore.open(budgets_url, self.ledger, self.clock, timeout_s=0.2)
        )
        self.opened.append(store)
        conducts = {System(name): conduct for name, conduct in chosen.items()}
        return hold_service_over(store, self.ledger, self.clock, chosen=conducts, telemetry=self.telemetry)

    def hold(self, hold_id: str) -> Hold:
        windows = ACME.windows(self.clock.now())
        keys = {window.period: window.key for window in windows}
        now = self.clock.now()
        return make_hold(hold_id, amount_nanos=CENTS_60, window_keys=keys, idempotency_key=None, placed_at=now)

    async def take_ledger_away(self) -> None:
        await self.ledger.close()


class SlowLedger:
    """One that records nothing, and of which every other question has no answer for as long as a test runs."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def open_hold(self, hold: Hold) -> None:
        raise LedgerUnavailable(hold.id)

    async def fetch_entry(self, hold_id: str) -> None:
        await asyncio.get_running_loop().create_future()
        raise AssertionError(hold_id)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", clock, timeout_s=1)
    scene = Scene(clock, ledger, tmp_path, CountingTelemetry())
    yield scene
    for store in scene.opened:
        await store.close()
    await ledger.close()


async def place(service: HoldService, scene: Scene, hold_id: str, customer: Customer = ACME) -> None:
    hold = scene.hold(hold_id)
    placement = await service.place(hold, customer.windows(scene.clock.now()), customer)
    try:
        await service.record(hold, placement, customer)
    except LedgerUnavailable:
        await service.give_back(hold, placement)
        raise


async def test_closed_refuses_without_budgets(scene: Scene) -> None:
    """Nothing is held and nothing recorded; it is counted."""
    service = scene.service(budgets_url=NOWHERE)
    with pytest.raises(BudgetStoreUnavailable):
        await place(service, scene, "h1")
    assert await scene.ledger.fetch_open_holds() == ()
    assert scene.telemetry.counted == [
        ("degraded_total", {"system": "budgets", "conduct": "closed", "outcome": "refused"})
    ]


async def test_an_allowance_ends(scene: Scene) -> None:
    """A dollar covers one query of sixty cents a day and not a second; the first is in the ledger."""
    service = scene.service(budgets_url=NOWHERE, budgets=Conduct.ALLOWANCE)
    await place(service, scene, "h1")
    with pytest.raises(BudgetStoreUnavailable):
        await place(service, scene, "h2")
    assert [hold.id for hold in await scene.ledger.fetch_open_holds()] == ["h1"]
    scene.clock.advance(86_400)
    await place(service, scene, "h3")
    assert [labels["outcome"] for _, labels in scene.telemetry.counted] == ["went_on", "refused", "went_on"]


async def test_allowances_are_a_customers_own(scene: Scene) -> None:
    """One that has used its own takes nobody else's."""
    service = scene.service(budgets_url=NOWHERE, budgets=Conduct.ALLOWANCE)
    await place(service, scene, "h1")
    assert service.may_go_on(System.BUDGETS, Customer("globex", TIER), CENTS_60)
    assert not service.may_go_on(System.BUDGETS, ACME, CENTS_60)


async def test_what_was_spent_meanwhile_counts_once_the_budgets_are_back(scene: Scene) -> None:
    """A store that begins anew fills its windows from the ledger, the holds of the outage among them, once."""
    away = scene.service(budgets_url=NOWHERE, budgets=Conduct.OPEN)
    await place(away, scene, "h1")
    back = MemoryBudgetStore(scene.ledger, scene.clock)
    for _ in range(2):
        day, month = await back.fetch_balances(ACME.windows(scene.clock.now()))
        assert (day.held_nanos, month.held_nanos) == (CENTS_60, CENTS_60)


async def test_observing_goes_on_without_budgets(scene: Scene) -> None:
    """Whoever only looks is no reason to stop queries."""
    service = scene.service(budgets_url=NOWHERE)
    await place(service, scene, "h1", Customer("acme", TIER, Mode.OBSERVE))
    assert [hold.id for hold in await scene.ledger.fetch_open_holds()] == ["h1"]


async def test_closed_gives_the_hold_back_without_a_ledger(scene: Scene) -> None:
    """What cannot be recorded is not forwarded, and stands against no budget."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    service = hold_service_over(store, scene.ledger, scene.clock, telemetry=scene.telemetry)
    await store.fetch_balances(ACME.windows(scene.clock.now()))
    await scene.take_ledger_away()
    with pytest.raises(LedgerUnavailable):
        await place(service, scene, "h1")
    day, _ = await store.fetch_balances(ACME.windows(scene.clock.now()))
    assert day.held_nanos == 0


async def test_what_the_ledger_missed_is_written_down_when_it_is_back(scene: Scene) -> None:
    """The hold stands in the budgets meanwhile; later it is recorded once, unless its job was booked first."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    await store.fetch_balances(ACME.windows(scene.clock.now()))
    replaced = await SqlLedger.open(f"sqlite:///{scene.path}/other.db", scene.clock, timeout_s=1)
    await replaced.close()
    service = hold_service_over(
        store, replaced, scene.clock, chosen={System.LEDGER: Conduct.OPEN}, telemetry=scene.telemetry
    )
    for hold_id in ("h1", "h2"):
        await place(service, scene, hold_id)
    day, _ = await store.fetch_balances(ACME.windows(scene.clock.now()))
    assert day.held_nanos == 2 * CENTS_60
    await service.record_missed()  # still away: nothing is lost by trying
    await replaced.close()  # reading has opened it again
    service._ledger = scene.ledger
    await scene.ledger.book(make_entry("h2"))
    await service.record_missed()
    await service.record_missed()
    assert [hold.id for hold in await scene.ledger.fetch_open_holds()] == ["h1"]


async def test_without_both_nothing_goes_on(scene: Scene) -> None:
    """A hold that neither store knows would be nobody's."""
    service = scene.service(budgets_url=NOWHERE, budgets=Conduct.OPEN, ledger=Conduct.OPEN)
    await scene.take_ledger_away()
    with pytest.raises(LedgerUnavailable):
        await place(service, scene, "h1")


async def test_the_list_of_missed_records_is_bounded(scene: Scene) -> None:
    """Full, the ledger's absence is closed whatever was chosen."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    huge = Customer("acme", TIER, Mode.OBSERVE)
    await store.fetch_balances(huge.windows(scene.clock.now()))
    service = hold_service_over(store, scene.ledger, scene.clock, chosen={System.LEDGER: Conduct.OPEN})
    await scene.take_ledger_away()
    for number in range(UNRECORDED_MAX):
        await place(service, scene, f"h{number}", huge)
    with pytest.raises(LedgerUnavailable):
        await place(service, scene, "one too many", huge)


async def test_a_record_that_fails_leaves_the_hold_to_a_repeat_that_is_under_way(scene: Scene) -> None:
    """Both are this gate's: the hold is kept until the repeat has left, whose record was written."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    service = hold_service_over(store, scene.ledger, scene.clock)
    windows = ACME.windows(scene.clock.now())
    first = replace(scene.hold("h1"), idempotency_key="job:p:j")
    repeat = replace(first, id="h2")
    placements = [await service.place(each, windows, ACME) for each in (first, repeat)]
    await service.record(repeat, placements[1], ACME)
    await service.give_back(first, placements[0])
    scene.clock.advance(10)
    await service.keep_alive()
    attempts = await store.fetch_attempts(first)
    assert attempts is not None
    assert attempts.leased_until > scene.clock.now() + timedelta(seconds=10)


async def test_leases_do_not_wait_for_a_slow_ledger(scene: Scene) -> None:
    """What the ledger missed is written down by and by; what is under way is kept meanwhile."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    service = hold_service_over(store, SlowLedger(scene.ledger), scene.clock, chosen={System.LEDGER: Conduct.OPEN})
    await place(service, scene, "h1")
    running = asyncio.create_task(service.run())
    for _ in range(20):
        await scene.clock.wait_for_sleepers()
        scene.clock.advance(1)
    await scene.clock.wait_for_sleepers()
    attempts = await store.fetch_attempts(scene.hold("h1"))
    running.cancel()
    await asyncio.wait([running])
    assert attempts is not None
    assert attempts.leased_until > scene.clock.now() + timedelta(seconds=10)


async def test_a_gate_that_stood_still_cannot_answer_for_what_it_held_before(scene: Scene) -> None:
    """Others may have ended its holds meanwhile; those that it places afterwards are its own again."""
    service = scene.service()
    await place(service, scene, "h1")
    scene.clock.advance(14)
    await service.keep_alive()
    assert not service.has_lapsed("h1")
    scene.clock.advance(15)
    await place(service, scene, "h2")
    await service.keep_alive()
    assert (service.has_lapsed("h1"), service.has_lapsed("h2")) == (True, False)
    service.forget("h1")
    assert not service.has_lapsed("h1")


@pytest.mark.parametrize("cost_nanos", [None, CENTS_60 // 2])
async def test_a_repeat_of_what_only_the_ledger_has_ended_ends_it_in_the_budgets(
    scene: Scene, cost_nanos: int | None
) -> None:
    """A store that failed over forgot the end. Or a client that asks again and again would keep the hold alive."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    service = hold_service_over(store, scene.ledger, scene.clock)
    windows = ACME.windows(scene.clock.now())
    first = replace(scene.hold("h1"), idempotency_key="job:p:j")
    await service.record(first, await service.place(first, windows, ACME), ACME)
    if cost_nanos is None:
        await scene.ledger.close_hold("h1")
    else:
        await scene.ledger.book(replace(make_entry("h1"), cost_nanos=cost_nanos))
    repeat = replace(first, id="h2")
    with pytest.raises(AttemptEnded):
        await service.record(repeat, await service.place(repeat, windows, ACME), ACME)
    day, _ = await store.fetch_balances(windows)
    assert (day.captured_nanos, day.held_nanos) == (cost_nanos or 0, 0)
    placement = await service.place(repeat, windows, ACME)
    assert placement.outcome is PlacementOutcome.PLACED
    assert (await service.record(repeat, placement, ACME)).id == "h2"


async def test_a_repeat_after_a_standstill_is_covered(scene: Scene) -> None:
    """It found the hold open and joined it: a client that asks every few seconds is not sent away for ever."""
    service = scene.service()
    windows = ACME.windows(scene.clock.now())
    first = replace(scene.hold("h1"), idempotency_key="job:p:j")
    await service.record(first, await service.place(first, windows, ACME), ACME)
    scene.clock.advance(15)
    await service.keep_alive()
    assert service.has_lapsed("h1")
    repeat = replace(first, id="h2", placed_at=scene.clock.now())
    joined = await service.record(repeat, await service.place(repeat, windows, ACME), ACME)
    assert joined.id == "h1"
    assert not service.has_lapsed("h1")


async def test_a_hold_that_a_repeat_has_joined_is_put_back_with_its_parts(scene: Scene) -> None:
    """The ledger does not say which budgets a hold falls under; the repeat, of the same spender, does."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    service = hold_service_over(store, scene.ledger, scene.clock)
    windows = ACME.windows(scene.clock.now())
    scope = BudgetScope(ScopeKind.WORKLOAD, "nightly")
    first = replace(scene.hold("h1"), idempotency_key="job:p:j", scopes=(scope,))
    parts = tuple(replace(window, scope=scope) for window in windows)
    for each in (first, replace(first, id="h2")):
        await service.record(each, await service.place(each, (*windows, *parts), ACME), ACME)
    store._accounts["acme"].give_back(first, scene.clock.now())  # its end was never told: it is lost
    await service.keep_alive()
    balances = await store.fetch_balances((*windows, *parts))
    assert [balance.held_nanos for balance in balances] == [CENTS_60] * 4


class StoreBehindAStop:
    """The budgets of a gate that is stopped, machine and all, right after its hold was placed, and goes on later."""

    def __init__(self, store: MemoryBudgetStore, clock: ManualClock, *, seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def place_hold(self, *args: Any) -> Placement:
        placement = await self._store.place_hold(*args)
        self._clock.advance(self._seconds)
        return placement


@pytest.mark.parametrize(("seconds", "has_lapsed"), [(14, False), (15, True)])
async def test_a_gate_that_stood_still_while_it_placed_a_hold_cannot_answer_for_it(
    scene: Scene, seconds: float, *, has_lapsed: bool
) -> None:
    """No ledger knows the hold yet: another gate may take it for an orphan and give it back."""
    store = StoreBehindAStop(MemoryBudgetStore(scene.ledger, scene.clock), scene.clock, seconds=seconds)
    service = hold_service_over(store, scene.ledger, scene.clock)
    await place(service, scene, "h1")
    assert service.has_lapsed("h1") is has_lapsed


@pytest.mark.parametrize(("seconds", "has_lapsed"), [(14, False), (15, True)])
async def test_a_gate_that_stood_still_while_it_recorded_a_repeat_cannot_answer_for_it(
    scene: Scene, seconds: float, *, has_lapsed: bool
) -> None:
    """The hold is another gate's, which may have ended it when the repeat's lease was over, too."""
    store = MemoryBudgetStore(scene.ledger, scene.clock)
    here, there = (hold_service_over(store, scene.ledger, scene.clock) for _ in range(2))
    windows = ACME.windows(scene.clock.now())
    first = replace(scene.hold("h1"), idempotency_key="job:p:j")
    await there.record(first, await there.place(first, windows, ACME), ACME)
    repeat = replace(first, id="h2")
    placement = await here.place(repeat, windows, ACME)
    scene.clock.advance(seconds)
    await here.keep_alive()  # the first to wake
    assert (await here.record(repeat, placement, ACME)).id == "h1"
    assert here.has_lapsed("h1") is has_lapsed


class PickyLedger:
    """One that cannot write the rows of some holds."""

    def __init__(self, ledger: SqlLedger, refused: set[str]) -> None:
        self._ledger = ledger
        self.refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def open_hold(self, hold: Hold) -> None:
        if hold.id in self.refused:
            raise LedgerUnavailable(hold.id)
        await self._ledger.open_hold(hold)


async def test_a_row_that_cannot_be_written_keeps_back_no_other(scene: Scene) -> None:
    """It is tried again, after those that came later."""
    ledger = PickyLedger(scene.ledger, {"h1", "h2", "h3"})
    service = hold_service_over(
        MemoryBudgetStore(scene.ledger, scene.clock), ledger, scene.clock, chosen={System.LEDGER: Conduct.OPEN}
    )
    for hold_id in ("h1", "h2", "h3"):
        await place(service, scene, hold_id)
    ledger.refused = {"h1"}
    for _ in range(2):
        await service.record_missed()
    assert {hold.id for hold in await scene.ledger.fetch_open_holds()} == {"h2", "h3"}
    ledger.refused = set()
    await service.record_missed()
    assert {hold.id for hold in await scene.ledger.fetch_open_holds()} == {"h1", "h2", "h3"}
