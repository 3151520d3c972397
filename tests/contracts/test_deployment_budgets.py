"""The deployment's budget above the customers', over every store: it may refuse too early, never too late."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from bqgate.budgets.accounts import AccountSource, deployment_hold
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import (
    LEASE_S,
    RESTORED_ATTEMPTS,
    Attempts,
    Hold,
    Placement,
    PlacementOutcome,
    VoidOutcome,
)
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Budget, CustomerRegistry, Tier
from bqgate.ports import BudgetStore
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.budget_stores import Scene
from tests.support.manual_clock import START

EVERYBODY = Budget("everybody", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, LimitPlan(Limits(daily_nanos=parse_usd("10"))))
ABOVE = EVERYBODY.windows(START)
TIER = Tier("t", parse_usd("8"), parse_usd("300"), parse_usd("50"))
POLICIES = PolicySnapshot(CustomerRegistry({}, {}, TIER, deployment=EVERYBODY), PriceList(PricingModel.ON_DEMAND, 1, 1))


@dataclass
class Tree:
    """A scene's store, in which the deployment has a budget too."""

    scene: Scene
    store: BudgetStore
    has_deployment_budget: bool = True

    async def place(self, customer: str, amount: str, *, hold: Hold | None = None) -> tuple[Hold, Placement]:
        windows = windows_of(customer, day_usd="8")
        hold = hold or hold_on(windows, amount)
        return hold, await self.store.place_hold(hold, (*windows, *ABOVE))

    async def run(self, customer: str, amount: str) -> Hold:
        hold, placement = await self.place(customer, amount)
        assert placement.outcome is PlacementOutcome.PLACED
        self.scene.book.open_hold(hold)
        return hold

    async def above(self) -> tuple[int, int]:
        """(captured, held) of the deployment's day; its month says the same."""
        day, month = stands(await self.store.fetch_balances(ABOVE))
        assert day == month
        return day


@pytest.fixture
async def tree(scene: Scene) -> AsyncIterator[Tree]:
    """Empty; its ledger is the scene's, seen by accounts."""
    source = AccountSource(scene.book, POLICIES)
    opened: Tree
    opened = Tree(scene, scene.make(source, scene.clock, has_deployment_budget=lambda: opened.has_deployment_budget))
    yield opened
    await opened.store.close()


async def test_all_customers_together_have_one_limit(tree: Tree) -> None:
    """Two who have room alone have none together; who is refused holds nothing anywhere."""
    await tree.run("acme", "6")
    await tree.run("globex", "3")
    _, refused = await tree.place("initech", "2")
    assert (refused.outcome, refused.refusal) == (PlacementOutcome.REFUSED, RejectReason.BUDGET_USED_UP)
    assert [balance.window.customer for balance in refused.balances] == ["initech"] * 2 + [DEPLOYMENT_ACCOUNT] * 2
    assert await tree.store.fetch_hold_ids("initech") == {}
    assert await tree.above() == usd("0", "9")


async def test_what_the_customer_refuses_is_given_back_above(tree: Tree) -> None:
    """Whatever the deployment has left; the numbers say how it stands without it."""
    await tree.run("acme", "6")
    _, refused = await tree.place("acme", "3")
    assert refused.outcome is PlacementOutcome.REFUSED
    assert stands(refused.balances) == [usd("0", "6")] * 4
    assert await tree.above() == usd("0", "6")


@pytest.mark.parametrize("cost", ["0", "2.5"])
async def test_a_hold_ends_in_both(tree: Tree, cost: str) -> None:
    """Captured or void, once; a second end changes neither."""
    hold = await tree.run("acme", "6")
    for is_first in (True, False):
        ended = tree.store.capture(hold, parse_usd(cost)) if cost != "0" else tree.store.void(hold)
        assert await ended is {"0": (VoidOutcome.ENDED, VoidOutcome.VOIDED)}.get(cost, (False, True))[is_first]
        assert await tree.above() == usd(cost, "0")
        assert stands(await tree.store.fetch_balances(windows_of("acme"))) == [usd(cost, "0")] * 2


async def test_a_repeat_is_held_once_above(tree: Tree) -> None:
    """By its key or by its id: the hold that is there stays, and nothing is added."""
    windows = windows_of("acme")
    first = hold_on(windows, "4", idempotency_key="job:p:a")
    await tree.place("acme", "4", hold=first)
    repeat = hold_on(windows, "4", idempotency_key="job:p:a")
    for again in (repeat, first):
        _, placement = await tree.place("acme", "4", hold=again)
        assert (placement.outcome, placement.hold_id) == (PlacementOutcome.REPLAYED, first.id)
        assert await tree.above() == usd("0", "4")


async def test_a_repeat_is_found_though_the_deployment_is_full(tree: Tree) -> None:
    """Its query runs already: a client that asks again must not hear that there is no room for it."""
    windows = windows_of("acme")
    first = hold_on(windows, "7", idempotency_key="job:p:a")
    await tree.place("acme", "7", hold=first)
    await tree.run("globex", "3")
    repeat = hold_on(windows, "7", idempotency_key="job:p:a")
    for again in (repeat, first):
        _, placement = await tree.place("acme", "7", hold=again)
        assert (placement.outcome, placement.hold_id, placement.refusal) == (PlacementOutcome.REPLAYED, first.id, None)
        assert stands(placement.balances) == [usd("0", "7")] * 2 + [usd("0", "10")] * 2
    assert await tree.above() == usd("0", "10")


async def test_what_costs_nothing_is_not_placed_where_the_deployment_is_past_its_limit(tree: Tree) -> None:
    """A job overran its hold; until the next day nothing more is held, and nothing is left behind."""
    overrun = await tree.run("acme", "1")
    await tree.store.capture(overrun, parse_usd("11"))
    hold, placement = await tree.place("globex", "0")
    assert placement.outcome is PlacementOutcome.REFUSED
    assert await tree.store.fetch_hold_ids("globex") == {}
    assert hold.amount_nanos == 0


async def test_a_hundred_at_once_never_pass_the_deployments_limit(tree: Tree) -> None:
    """A hundred callers of twenty customers, a dollar each, ten dollars: ten run, and no customer is held for more."""
    placed = await asyncio.gather(*(tree.place(f"c{number % 20}", "1") for number in range(100)))
    assert sum(placement.outcome is PlacementOutcome.PLACED for _, placement in placed) == 10
    assert await tree.above() == usd("0", "10")
    held = [len(await tree.store.fetch_hold_ids(f"c{number}")) for number in range(20)]
    assert sum(held) == 10


async def test_a_lost_store_knows_the_deployments_spend_again(tree: Tree) -> None:
    """From all customers' entries and open holds, in days of UTC, whatever zone a customer's day is in."""
    done = await tree.run("acme", "3")
    await tree.run("globex", "2")
    tree.scene.book.book(done, parse_usd("2.5"))
    await tree.store.capture(done, parse_usd("2.5"))
    yesterday = hold_on(windows_of("acme", now=START - timedelta(days=1)), "1", placed_at=START - timedelta(days=1))
    tree.scene.book.book(yesterday, parse_usd("1"))
    await tree.store.forget_windows(DEPLOYMENT_ACCOUNT)
    day, month = stands(await tree.store.fetch_balances(ABOVE))
    assert (day, month) == (usd("2.5", "2"), usd("3.5", "2"))


async def test_a_hold_that_is_missing_above_is_put_back(tree: Tree) -> None:
    """As reconcile does for one that was placed before the deployment had a budget."""
    windows = windows_of("acme")
    hold = hold_on(windows, "4")
    await tree.store.place_hold(hold, windows)
    assert await tree.above() == usd("0", "0")
    assert await tree.store.restore_hold(hold)
    assert not await tree.store.restore_hold(hold)
    assert await tree.above() == usd("0", "4")
    assert set(await tree.store.fetch_customers()) == {"acme", DEPLOYMENT_ACCOUNT}


async def test_without_a_deployments_budget_nothing_is_kept_above(tree: Tree) -> None:
    """Calls go straight through."""
    tree.has_deployment_budget = False
    windows = windows_of("acme")
    hold = hold_on(windows, "4")
    await tree.store.place_hold(hold, windows)
    await tree.store.capture(hold, parse_usd("1"))
    budget_status = await tree.store.fetch_status(windows)
    assert (stands(budget_status.balances), budget_status.breaker) == ([usd("1", "0")] * 2, None)
    assert await tree.store.fetch_customers() == ()


async def test_a_customer_that_cannot_be_asked_leaves_nothing_above(tree: Tree) -> None:
    """The ledger is away when the customer's windows are to be filled: its error, and the hold above is given back."""
    await tree.store.fetch_balances(ABOVE)
    tree.scene.book.is_down = True
    with pytest.raises(LedgerUnavailable):
        await tree.place("acme", "4")
    assert await tree.above() == usd("0", "0")
    assert await tree.store.fetch_customers() == ()


async def test_what_was_refused_below_can_be_placed_later(tree: Tree) -> None:
    """What is given back above leaves no mark there: when the customer has room again the same hold is placed."""
    other = await tree.run("acme", "6")
    hold, refused = await tree.place("acme", "3")
    assert refused.outcome is PlacementOutcome.REFUSED
    await tree.store.void(other)
    _, placed = await tree.place("acme", "3", hold=hold)
    assert placed.outcome is PlacementOutcome.PLACED
    assert await tree.above() == usd("0", "3")


async def test_a_hold_that_others_have_joined_stands_in_both(tree: Tree) -> None:
    """The customer's account knows who has joined; above nothing ends before it has ended there."""
    windows = windows_of("acme")
    first = hold_on(windows, "4", idempotency_key="job:p:a")
    await tree.place("acme", "4", hold=first)
    _, joined = await tree.place("acme", "4", hold=hold_on(windows, "4", idempotency_key="job:p:a"))
    assert joined.attempts == 2
    assert await tree.store.void(first, attempts=1) is VoidOutcome.JOINED
    assert await tree.above() == usd("0", "4")
    assert await tree.store.void(first, attempts=2) is VoidOutcome.VOIDED
    assert await tree.above() == usd("0", "0")


async def test_an_end_that_was_cut_in_between_is_mended_above_at_the_same_cost(tree: Tree) -> None:
    """Captured below, and then the gate was gone: whoever ends it again, at any cost, ends it above at that one."""
    hold = await tree.run("acme", "4")
    tree.has_deployment_budget = False
    await tree.store.capture(hold, parse_usd("3"))
    tree.has_deployment_budget = True
    assert await tree.above() == usd("0", "4")
    assert await tree.store.void(hold) is VoidOutcome.ENDED
    assert await tree.above() == usd("3", "0")


async def test_keeping_a_hold_puts_it_back_above_too(tree: Tree) -> None:
    """It was placed before the deployment had a budget: its id is told, and it has a lease there."""
    windows = windows_of("acme")
    hold = hold_on(windows, "4")
    await tree.store.fetch_balances(ABOVE)
    await tree.store.place_hold(hold, windows)
    assert await tree.store.keep_holds([hold]) == (hold.id,)
    assert await tree.store.keep_holds([hold]) == ()
    assert await tree.above() == usd("0", "4")
    assert await tree.store.fetch_attempts(deployment_hold(hold)) == Attempts(
        RESTORED_ATTEMPTS, tree.scene.clock.now() + timedelta(seconds=LEASE_S)
    )


def test_a_hold_above_is_of_its_utc_day() -> None:
    """Whichever day its customer's zone has."""
    late = replace(hold_on(windows_of()), placed_at=START.replace(hour=23, minute=59))
    assert set(deployment_hold(late).window_keys.values()) == {START.date().isoformat(), START.date().isoformat()[:7]}
