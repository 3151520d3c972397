"""Hold every BudgetStore to its promises about budgets of parts of a customer's queries, and about what rolls over."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, ScopeKind
from bqgate.domain.cost_breaker import (
    GracePolicy,
)
from bqgate.domain.hold import Hold, Placement, PlacementOutcome, VoidOutcome
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import parse_usd
from bqgate.domain.reject_reason import RejectReason
from tests.support.budget_scene import UTC_ZONE, hold_on, stands, usd, windows_of
from tests.support.budget_stores import Scene
from tests.support.manual_clock import START

NIGHTLY = BudgetScope(ScopeKind.WORKLOAD, "nightly")
ODD = BudgetScope(ScopeKind.PRINCIPAL, "a:b {c}/d*@e")
GRACE = GracePolicy(grace_s=3_600, emergency_nanos=parse_usd("50"))


def part(scope: BudgetScope = NIGHTLY, day_usd: str | None = "5", *, is_observed: bool = False) -> tuple[Window, ...]:
    """The day and the month of a part's budget; the month has no limit."""
    plan = LimitPlan(Limits(daily_nanos=None if day_usd is None else parse_usd(day_usd)))
    return plan.windows_at(START, customer="acme", zone=UTC_ZONE, scope=scope, is_observed=is_observed)


def nightly_hold(windows: tuple[Window, ...], amount: str) -> Hold:
    return replace(hold_on(windows, amount), workload="nightly")


async def place(scene: Scene, windows: tuple[Window, ...], amount: str, grace: GracePolicy = GRACE) -> Placement:
    return await scene.store.place_hold(nightly_hold(windows, amount), windows, grace)


@pytest.mark.parametrize("scope", [NIGHTLY, ODD])
async def test_a_hold_counts_in_the_parts_budget_too(scene: Scene, scope: BudgetScope) -> None:
    """Placed, captured: in all four windows, each once, whatever the part is called."""
    windows = (*windows_of(), *part(scope))
    hold = hold_on(windows, "4")
    await scene.run(hold, windows)
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "4")] * 4
    assert await scene.store.capture(hold, parse_usd("3"))
    assert stands(await scene.store.fetch_balances(windows)) == [usd("3", "0")] * 4
    other = part(BudgetScope(ScopeKind.WORKLOAD, "other"))
    assert stands(await scene.store.fetch_balances(other)) == [usd("0", "0")] * 2


async def test_the_store_says_which_windows_of_parts_it_has(scene: Scene) -> None:
    """By account, whatever the parts are called; only those of the days and months that are asked for; not the own."""
    odd = part(ODD)
    await scene.store.fetch_balances((*windows_of(), *part(), *odd))
    await scene.store.fetch_balances(tuple(replace(each, customer="o{dd}/window:") for each in part()))
    await scene.store.fetch_balances(windows_of("globex"))
    known = await scene.store.fetch_part_windows({window.key for window in windows_of()})
    named = {account: set(window_ids) for account, window_ids in known.items()}
    nightly = {window.id for window in part()}
    assert named == {"acme": nightly | {window.id for window in odd}, "o{dd}/window:": nightly}
    (day, _) = odd
    await scene.store.forget_windows("acme", [*nightly, day.id])
    assert (await scene.store.fetch_part_windows({odd[1].key}))["acme"] == (odd[1].id,)
    assert await scene.store.fetch_part_windows({"2026-11-25"}) == {}


async def test_a_part_without_room_refuses_whatever_the_customer_has_left(scene: Scene) -> None:
    """All or nothing, without grace, without touching grace or breaker, observed customer or not."""
    windows = (*windows_of(day_usd="1"), *part())
    for grace in (GRACE, GracePolicy(), replace(GRACE, is_observed=True)):
        refused = await place(scene, windows, "6", grace)
        assert (refused.outcome, refused.refusal) == (PlacementOutcome.REFUSED, RejectReason.BUDGET_USED_UP)
        assert (refused.breaker, refused.grace_started_in) == (None, ())
        assert stands(refused.balances) == [usd("0", "0")] * 4
    assert (await place(scene, windows, "5")).outcome is PlacementOutcome.PLACED


async def test_grace_passes_the_customers_limit_and_no_parts(scene: Scene) -> None:
    """In grace a part's budget stands as before."""
    windows = (*windows_of(day_usd="1"), *part())
    in_grace = await place(scene, windows, "3")
    assert in_grace.grace_ends_at == START + timedelta(hours=1)
    assert in_grace.grace_started_in == (windows[0],)
    assert (await place(scene, windows, "3")).refusal is RejectReason.BUDGET_USED_UP
    assert (await place(scene, windows, "2")).outcome is PlacementOutcome.PLACED


async def test_an_observed_part_counts_and_refuses_nothing(scene: Scene) -> None:
    """Its limit is there to be seen."""
    windows = (*windows_of(), *part(is_observed=True))
    placed = await place(scene, windows, "7")
    assert (placed.outcome, placed.refusal) == (PlacementOutcome.PLACED, None)
    assert [balance.balance_nanos for balance in placed.balances][2] == parse_usd("5") - parse_usd("7")


async def test_a_budget_that_is_younger_than_a_hold_counts_it(scene: Scene) -> None:
    """A budget comes while a query runs: what is held counts from its first use on, and so does the cost."""
    own, nightly = windows_of(), part()
    running, recorded_only = nightly_hold(own, "4"), nightly_hold(own, "1")
    await scene.run(running, own)
    scene.book.open_hold(recorded_only)  # the store lost it
    scene.book.scopes_of = lambda _hold: (NIGHTLY,)
    windows = (*own, *nightly)
    assert (await place(scene, windows, "1")).refusal is RejectReason.BUDGET_USED_UP
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "5")] * 4
    assert await scene.store.capture(running, parse_usd("2"))
    assert stands(await scene.store.fetch_balances(windows)) == [usd("2", "1")] * 4
    assert await scene.store.void(recorded_only) is VoidOutcome.VOIDED
    assert stands(await scene.store.fetch_balances(windows)) == [usd("2", "0")] * 4


async def test_a_hold_that_was_not_recorded_when_its_budget_came_counts_with_the_next_day(scene: Scene) -> None:
    """It joins the windows that are known too, so that its end takes out what was put in."""
    own, nightly = windows_of(), part()
    late = nightly_hold(own, "4")
    await scene.store.place_hold(late, own)
    scene.book.scopes_of = lambda _hold: (NIGHTLY,)
    assert stands(await scene.store.fetch_balances(nightly)) == [usd("0", "0")] * 2
    scene.book.open_hold(late)
    tomorrow = LimitPlan(Limits()).windows_at(START + timedelta(days=1), customer="acme", zone=UTC_ZONE, scope=NIGHTLY)
    assert stands(await scene.store.fetch_balances(tomorrow)) == [usd("0", "0"), usd("0", "4")]
    assert stands(await scene.store.fetch_balances(nightly)) == [usd("0", "4")] * 2
    assert await scene.store.void(late) is VoidOutcome.VOIDED
    assert stands(await scene.store.fetch_balances((*own, *nightly))) == [usd("0", "0")] * 4


async def test_a_wiped_store_knows_its_parts_again(scene: Scene) -> None:
    """Spend and open holds come back from the ledger, in the windows of each part."""
    windows = (*windows_of(), *part())
    done, running, other = nightly_hold(windows, "2"), nightly_hold(windows, "3"), hold_on(windows_of(), "1")
    for hold, on in ((done, windows), (running, windows), (other, windows_of())):
        await scene.run(hold, on)
    scene.book.book(done, parse_usd("1.5"))
    await scene.store.capture(done, parse_usd("1.5"))
    async with scene.wiped() as store:
        expected = [usd("1.5", "4")] * 2 + [usd("1.5", "3")] * 2
        assert stands(await store.fetch_balances(windows)) == expected


# --- what rolls over -------------------------------------------------------------------------------------------------

PLAN = LimitPlan(Limits(parse_usd("10"), parse_usd("300")), rollover_nanos={Period.DAY: parse_usd("4")})
TOMORROW = START + timedelta(days=1)
ROLLED, SAME_MONTH = PLAN.windows_at(TOMORROW, customer="acme", zone=UTC_ZONE)


def tomorrows_hold(amount: str) -> Hold:
    return hold_on((ROLLED, SAME_MONTH), amount, placed_at=TOMORROW)


@pytest.mark.parametrize(
    ("spent", "held", "carried"),
    [
        pytest.param("0", "0", "4", id="nothing spent: the most"),
        pytest.param("7", "0", "3", id="seven of ten: the rest"),
        pytest.param("7", "2", "1", id="what still runs is not unused"),
        pytest.param("12", "0", "0", id="more than all: nothing, and no debt"),
    ],
)
async def test_the_unused_part_of_a_day_is_the_next_ones(scene: Scene, spent: str, held: str, carried: str) -> None:
    """At most what the plan says, to the last nano-dollar, and no more."""
    today = windows_of()
    done = hold_on(today, spent)
    scene.book.book(done, parse_usd(spent))
    if held != "0":
        await scene.run(hold_on(today, held), today)
    balances = await scene.store.fetch_balances((ROLLED, SAME_MONTH))
    assert [balance.carried_nanos for balance in balances] == [parse_usd(carried), 0]
    room = parse_usd("10") + parse_usd(carried)
    assert balances[0].limit_nanos == room
    too_much = replace(tomorrows_hold("0"), amount_nanos=room + 1)
    assert (await scene.store.place_hold(too_much, (ROLLED, SAME_MONTH))).outcome is PlacementOutcome.REFUSED
    just_fits = replace(tomorrows_hold("0"), amount_nanos=room)
    placed = await scene.store.place_hold(just_fits, (ROLLED, SAME_MONTH))
    assert (placed.outcome, placed.balances[0].balance_nanos) == (PlacementOutcome.PLACED, 0)


async def test_what_settles_lower_today_is_room_for_tomorrow(scene: Scene) -> None:
    """A query of yesterday ends cheaper than it was held: the difference rolls over at once."""
    today = windows_of()
    running = hold_on(today, "9")
    await scene.run(running, today)
    before = await scene.store.fetch_balances((ROLLED,))
    await scene.store.capture(running, parse_usd("7"))
    after = await scene.store.fetch_balances((ROLLED,))
    assert [before[0].carried_nanos, after[0].carried_nanos] == [parse_usd("1"), parse_usd("3")]


async def test_what_was_carried_over_is_not_carried_on(scene: Scene) -> None:
    """Two unused days leave the third no more than one."""
    after_tomorrow = PLAN.windows_at(START + timedelta(days=2), customer="acme", zone=UTC_ZONE)
    balances = await scene.store.fetch_balances(after_tomorrow)
    assert balances[0].carried_nanos == parse_usd("4")
    assert after_tomorrow[0].scope == CUSTOMER_SCOPE
