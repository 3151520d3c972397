"""Rounds of reconcile over the budgets of parts and of the deployment."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bqgate.budgets.accounts import AccountSource, deployment_hold
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.tier import Budget, CustomerRegistry
from bqgate.domain.units import MIB
from bqgate.ports import BudgetStore, SpendSource
from tests.support.manual_clock import ManualClock
from tests.support.settlement_stand import ACME, PRICES, Gate, Stand, settlement_stand

PLAN = LimitPlan(Limits(daily_nanos=100 * NANOS_PER_USD))
NIGHTLY = Budget("nightly", "acme", BudgetScope(ScopeKind.WORKLOAD, "nightly"), PLAN)
EVERYBODY = Budget("all", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, PLAN)
TREE = replace(ACME, budgets=(NIGHTLY,))
POLICIES = PolicySnapshot(CustomerRegistry({"acme": TREE}, {}, ACME.tier, deployment=EVERYBODY), PRICES)


@dataclass
class Tree:
    """One gate whose customer has a part with a budget, below a deployment with one."""

    stand: Stand
    gate: Gate
    has_deployment_budget: bool = True

    @property
    def windows(self) -> tuple[Window, ...]:
        now = self.stand.clock.now()
        return (*TREE.windows(now), *NIGHTLY.windows(now), *EVERYBODY.windows(now))

    def make_hold(self, usd: int = 20) -> Hold:
        return replace(self.stand.make_hold(usd=usd), workload="nightly", scopes=(NIGHTLY.scope,))

    async def place(self, hold: Hold) -> Hold:
        assert (await self.gate.budgets.place_hold(hold, self.windows)).outcome is PlacementOutcome.PLACED
        await self.stand.ledger.open_hold(hold)
        return hold

    async def lose(self, hold: Hold) -> None:
        """The store fails over, and what it wrote last is gone: the hold, and no trace of an end."""
        store = self.gate.budgets
        if isinstance(store, MemoryBudgetStore):
            for account in store._accounts.values():
                account.give_back(hold, self.stand.clock.now())
            return
        assert isinstance(store, RedisBudgetStore)
        for each in (hold, deployment_hold(hold)):
            await store._give_back(each)

    async def days(self) -> list[tuple[int, int]]:
        """(captured, held) in dollars: the customer's day, the part's, the deployment's."""
        balances = await self.gate.budgets.fetch_balances(self.windows[::2])
        return [(each.captured_nanos // NANOS_PER_USD, each.held_nanos // NANOS_PER_USD) for each in balances]

    async def round(self) -> None:
        await self.gate.reconciler.reconcile()


@pytest.fixture(params=["memory", "redis"])
async def tree(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tree]:
    """Over both stores."""

    def make_store(ledger: SpendSource, clock: ManualClock) -> BudgetStore:
        source = AccountSource(ledger, POLICIES)
        if request.param == "memory":
            return MemoryBudgetStore(source, clock, has_deployment_budget=lambda: opened.has_deployment_budget)
        url = request.getfixturevalue("redis_url")
        return RedisBudgetStore.open(
            url, source, clock, timeout_s=5, has_deployment_budget=lambda: opened.has_deployment_budget
        )

    async with settlement_stand(tmp_path, make_store) as stand:
        opened = Tree(stand, stand.gate(policies=POLICIES))
        yield opened
        await opened.gate.budgets.close()


async def test_a_job_is_booked_once_and_captured_in_every_budget(tree: Tree) -> None:
    """The entry bears what its windows are summed from, so a store that forgets finds the same."""
    hold = await tree.place(tree.make_hold())
    assert await tree.days() == [(0, 20)] * 3
    await tree.gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=7 * MIB))
    assert await tree.days() == [(7, 0)] * 3
    for account in ("acme", DEPLOYMENT_ACCOUNT):
        await tree.gate.budgets.forget_windows(account)
    assert await tree.days() == [(7, 0)] * 3


async def test_what_a_crash_left_above_is_void_after_a_grace(tree: Tree) -> None:
    """Held with the deployment, and the gate was gone before the customer's budgets were asked."""
    orphan = tree.make_hold()
    await tree.gate.budgets.place_hold(deployment_hold(orphan), EVERYBODY.windows(tree.stand.clock.now()))
    await tree.round()
    assert (await tree.days())[2] == (0, 20)
    for _ in range(2):
        tree.stand.clock.advance(60)
        await tree.round()
    assert await tree.days() == [(0, 0)] * 3
    assert "orphan_ended" in tree.stand.log.getvalue()


async def test_a_hold_that_was_booked_and_captured_below_alone_is_captured_above(tree: Tree) -> None:
    """A crash between the two captures: the next round ends the other at the entry's cost."""
    hold = await tree.place(tree.make_hold())
    tree.has_deployment_budget = False
    await tree.gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=7 * MIB))
    tree.has_deployment_budget = True
    assert await tree.days() == [(7, 0), (7, 0), (0, 20)]
    await tree.round()
    assert await tree.days() == [(7, 0)] * 3


async def test_a_hold_that_is_missing_above_is_put_back_with_its_parts(tree: Tree) -> None:
    """It was placed before these budgets came, and their windows were known already."""
    assert await tree.days() == [(0, 0)] * 3
    bare = replace(tree.stand.make_hold(), workload="nightly")
    await tree.gate.budgets.place_hold(bare, TREE.windows(tree.stand.clock.now()))
    await tree.stand.ledger.open_hold(bare)
    tree.stand.clock.advance(60)
    await tree.round()
    days = await tree.days()
    assert (days[0], days[2]) == ((0, 20), (0, 20))


async def test_a_lasting_drift_of_a_part_is_mended_for_the_whole_account(tree: Tree) -> None:
    """A store that lost the last second lost it for every budget: two rounds see it, then all is filled anew."""
    hold = await tree.place(tree.make_hold())
    await tree.gate.settlement.settle(hold, Usage(job=hold.job, outcome=Outcome.DONE, bytes_billed=7 * MIB))
    phantom = tree.make_hold(usd=5)
    await tree.gate.budgets.place_hold(phantom, tree.windows)
    await tree.gate.budgets.capture(phantom, 5 * NANOS_PER_USD)
    assert await tree.days() == [(12, 0)] * 3
    await tree.round()
    assert await tree.days() == [(12, 0)] * 3
    await tree.round()
    assert await tree.days() == [(7, 0)] * 3
    assert tree.stand.metrics.value("bqgate_budget_drifts_total", period="day") == 3


async def test_what_the_poller_puts_back_counts_in_its_parts(tree: Tree) -> None:
    """The ledger does not say which budgets a hold falls under: the rules do, whoever finds that it is lost."""
    hold = await tree.place(tree.make_hold())
    await tree.round()
    assert tree.gate.poller.watched_ids == {hold.id}
    await tree.lose(hold)
    assert await tree.days() == [(0, 0)] * 3
    await tree.gate.poller.look(hold.id)
    assert await tree.days() == [(0, 20)] * 3
