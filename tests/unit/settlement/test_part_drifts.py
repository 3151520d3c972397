"""Rounds of reconcile over budgets that each principal has: their windows are compared with the ledger as well."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bqgate.budgets.accounts import AccountSource
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import EACH, BudgetScope, ScopeKind
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.tier import Budget, CustomerRegistry, windows_of
from bqgate.domain.units import MIB
from bqgate.ports import BudgetStore, SpendSource
from bqgate.settlement import part_drifts
from tests.support.manual_clock import ManualClock
from tests.support.settlement_stand import ACME, PRICES, Gate, Stand, settlement_stand

ADA, BOB = "ada@acme.example", "bob@acme.example"
PLAN = LimitPlan(Limits(daily_nanos=100 * NANOS_PER_USD))
PEOPLE = replace(ACME, budgets=(Budget("each", "acme", BudgetScope(ScopeKind.PRINCIPAL, EACH), PLAN),))
POLICIES = PolicySnapshot(CustomerRegistry({"acme": PEOPLE}, {}, ACME.tier), PRICES)


@dataclass
class People:
    """A gate whose customer has a budget for each principal."""

    stand: Stand
    gate: Gate

    def make_hold(self, principal: str) -> Hold:
        return replace(
            self.stand.make_hold(), principal=principal, scopes=(BudgetScope(ScopeKind.PRINCIPAL, principal),)
        )

    def windows(self, hold: Hold) -> tuple[Window, ...]:
        return windows_of(PEOPLE.budgets_over(hold.spender), self.stand.clock.now())

    async def book(self, principal: str, usd: int, *, is_missed: bool = False) -> None:
        """A query from its hold to its capture. `is_missed`: its cost is booked and not captured."""
        hold = self.make_hold(principal)
        assert (await self.gate.budgets.place_hold(hold, self.windows(hold))).outcome is PlacementOutcome.PLACED
        await self.stand.ledger.open_hold(hold)
        entry = await self.gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=MIB))
        assert entry is not None
        if is_missed:
            missed_nanos = (usd - 1) * NANOS_PER_USD
            missed = replace(entry, id=f"{entry.id}.missed", hold_id=None, job=None, cost_nanos=missed_nanos)
            await self.stand.ledger.book(missed)

    async def right_own_windows(self) -> None:
        """Let the customer's own windows be filled anew: what is wrong then, only the principals' are."""
        own = PEOPLE.windows(self.stand.clock.now())
        await self.gate.budgets.forget_windows("acme", [each.id for each in own])

    async def spent(self, *principals: str) -> list[int]:
        """Captured today in dollars: the customer's, and each principal's."""
        days = [self.windows(self.make_hold(principal))[2] for principal in principals]
        balances = await self.gate.budgets.fetch_balances((PEOPLE.windows(self.stand.clock.now())[0], *days))
        return [balance.captured_nanos // NANOS_PER_USD for balance in balances]

    def drift_count(self) -> float:
        return self.stand.metrics.value("bqgate_budget_drifts_total", period="day")


@pytest.fixture(params=["memory", "redis"])
async def people(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[People]:
    """Over both stores."""

    def make_store(ledger: SpendSource, clock: ManualClock) -> BudgetStore:
        source = AccountSource(ledger, POLICIES)
        if request.param == "memory":
            return MemoryBudgetStore(source, clock)
        return RedisBudgetStore.open(request.getfixturevalue("redis_url"), source, clock, timeout_s=5)

    async with settlement_stand(tmp_path, make_store) as stand:
        opened = People(stand, stand.gate(policies=POLICIES))
        yield opened
        await opened.gate.budgets.close()


async def test_a_principals_counter_that_lacks_a_cost_is_told_and_mended(people: People) -> None:
    """The customer's own are right: two rounds later the principal's are, too, and nobody else's was touched."""
    await people.book(ADA, 3, is_missed=True)
    await people.book(BOB, 1)
    await people.right_own_windows()
    assert await people.spent(ADA, BOB) == [4, 1, 1]
    await people.gate.reconciler.reconcile()
    assert people.drift_count() == 0
    await people.gate.reconciler.reconcile()
    assert people.drift_count() == 1
    assert '"scope": "principal"' in people.stand.log.getvalue()
    assert await people.spent(ADA, BOB) == [4, 3, 1]


async def test_yesterdays_counter_of_a_principal_is_compared(people: People) -> None:
    """Jobs end in it still, and it may be taken over from."""
    await people.book(ADA, 3, is_missed=True)
    await people.right_own_windows()
    yesterday = people.windows(people.make_hold(ADA))[2:3]
    people.stand.clock.advance(14 * 3600)
    for _ in range(2):
        await people.gate.reconciler.reconcile()
    (balance,) = await people.gate.budgets.fetch_balances(yesterday)
    assert balance.captured_nanos == 3 * NANOS_PER_USD


async def test_costs_that_come_all_the_time_hide_no_counter_that_is_too_low(people: People) -> None:
    """Each round meets another cost that is booked and not yet captured: two rounds mend all the same."""
    await people.book(ADA, 3, is_missed=True)
    await people.gate.reconciler.reconcile()
    await people.book(ADA, 4, is_missed=True)
    assert await people.spent(ADA) == [2, 2]
    await people.gate.reconciler.reconcile()
    assert await people.spent(ADA) == [7, 7]
    assert people.drift_count() == 0, "it may be no fault at all"


async def test_a_correction_of_a_principals_job_is_no_drift(people: People) -> None:
    """It reaches the principal's windows with the customer's own, at the first look."""
    await people.book(ADA, 1)
    await people.gate.reconciler.reconcile()
    (charge,) = (await people.stand.ledger.fetch_entries(EntryFilter())).entries
    correction = replace(charge, id="up", kind=EntryKind.ADJUSTMENT, adjusts=charge.id, hold_id=None, hold_nanos=0)
    await people.stand.ledger.book(replace(correction, cost_nanos=5 * NANOS_PER_USD))
    await people.gate.reconciler.reconcile()
    assert await people.spent(ADA) == [6, 6]
    await people.gate.reconciler.reconcile()
    assert people.drift_count() == 0


async def test_more_windows_than_a_round_compares_are_compared_by_turns(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two windows a round: whoever's are wrong, each has its turn, and is looked at again in the next round."""
    monkeypatch.setattr(part_drifts, "COMPARED_MAX", 2)
    for principal in (ADA, BOB):
        await people.book(principal, 3, is_missed=True)
    await people.right_own_windows()
    for _ in range(3):
        await people.gate.reconciler.reconcile()
    assert await people.spent(ADA, BOB) == [6, 3, 3]
