"""Hold every BudgetStore to its promises about attempts that join a hold, its lease, and gates that keep it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.budgets.accounts import AccountSource
from bqgate.domain.hold import (
    ENDED_ATTEMPTS,
    LEASE_S,
    RESTORED_ATTEMPTS,
    Attempts,
    Hold,
    Placement,
    PlacementOutcome,
    VoidOutcome,
)
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import CustomerRegistry, Tier
from bqgate.ports import BudgetStore
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.budget_stores import Scene
from tests.support.manual_clock import START

LEASE = timedelta(seconds=LEASE_S)
WINDOWS = windows_of()
KEY = "job:p:a"
NO_POLICIES = PolicySnapshot(CustomerRegistry({}, {}, Tier("t", 1, 1, 1)), PriceList(PricingModel.ON_DEMAND, 1, 1))


def attempt(*, after_s: float = 0) -> Hold:
    """One of several attempts at the same query."""
    return hold_on(WINDOWS, "4", idempotency_key=KEY, placed_at=START + timedelta(seconds=after_s))


async def place(store: BudgetStore, hold: Hold) -> Placement:
    return await store.place_hold(hold, WINDOWS)


async def test_attempts_are_counted_from_one(scene: Scene) -> None:
    """Placed: one. Whoever joins by the key or by the id is told how many there are now; the amount counts once."""
    first = attempt()
    for number, hold in enumerate((first, attempt(), first, attempt()), 1):
        placement = await place(scene.store, hold)
        assert (placement.hold_id, placement.attempts) == (first.id, number)
    assert await scene.store.fetch_attempts(first) == Attempts(4, START + LEASE)
    assert stands(await scene.store.fetch_balances(WINDOWS)) == [usd("0", "4")] * 2


async def test_what_is_refused_counts_no_attempt(scene: Scene) -> None:
    """There is no hold to join."""
    hold = hold_on(WINDOWS, "11")
    refused = await place(scene.store, hold)
    assert (refused.outcome, refused.attempts) == (PlacementOutcome.REFUSED, 0)
    assert await scene.store.fetch_attempts(hold) is None


async def test_two_callers_at_once_are_two_attempts(scene: Scene) -> None:
    """One is placed and one joins, whoever comes first; neither can give up what the other may use."""
    holds = [attempt(), attempt()]
    placements = await asyncio.gather(*(place(scene.store, hold) for hold in holds))
    assert sorted(placement.attempts for placement in placements) == [1, 2]
    (hold_id,) = {placement.hold_id for placement in placements}
    (placed,) = (hold for hold in holds if hold.id == hold_id)
    assert await scene.store.void(placed, attempts=1) is VoidOutcome.JOINED
    assert await scene.store.void(placed, attempts=2) is VoidOutcome.VOIDED


async def test_a_hold_that_others_have_joined_stands(scene: Scene) -> None:
    """Whoever knows fewer attempts, or more, than there are changes nothing: not the balance, not the next attempt."""
    first = attempt()
    await place(scene.store, first)
    await place(scene.store, attempt())
    for known in (0, 1, 3, RESTORED_ATTEMPTS):
        assert await scene.store.void(first, attempts=known) is VoidOutcome.JOINED
    assert stands(await scene.store.fetch_balances(WINDOWS)) == [usd("0", "4")] * 2
    assert (await place(scene.store, attempt())).attempts == 3


async def test_a_hold_that_nobody_else_has_joined_is_voided(scene: Scene) -> None:
    """Its attempts go with it: the next one is placed anew, and is the first."""
    first, second = attempt(), attempt()
    await place(scene.store, first)
    assert await scene.store.void(first, attempts=1) is VoidOutcome.VOIDED
    assert await scene.store.void(first, attempts=1) is VoidOutcome.ENDED
    assert await scene.store.fetch_attempts(first) == ENDED_ATTEMPTS
    assert stands(await scene.store.fetch_balances(WINDOWS)) == [usd("0", "0")] * 2
    placement = await place(scene.store, second)
    assert (placement.outcome, placement.hold_id, placement.attempts) == (PlacementOutcome.PLACED, second.id, 1)


@pytest.mark.parametrize("how", ["capture", "void"])
async def test_an_end_asks_for_no_attempts_unless_told_to(scene: Scene, how: str) -> None:
    """A cost that is known, and an admin who voids, end a hold whoever has joined it."""
    first = attempt()
    await place(scene.store, first)
    await place(scene.store, attempt())
    if how == "capture":
        assert await scene.store.capture(first, parse_usd("1"))
    else:
        assert await scene.store.void(first) is VoidOutcome.VOIDED
    assert await scene.store.fetch_attempts(first) == ENDED_ATTEMPTS
    assert await scene.store.void(first, attempts=2) is VoidOutcome.ENDED
    assert await scene.store.fetch_hold_ids("acme") == {}


async def test_a_void_that_counts_attempts_leaves_what_it_does_not_know(scene: Scene) -> None:
    """Nothing is known of the hold, so nothing is said about it: the call that places it may still be on its way."""
    hold = attempt()
    assert await scene.store.void(hold, attempts=1) is VoidOutcome.UNKNOWN
    assert (await place(scene.store, hold)).outcome is PlacementOutcome.PLACED


@pytest.mark.parametrize("is_void_first", [True, False])
async def test_a_void_never_ends_what_was_joined_meanwhile(scene: Scene, *, is_void_first: bool) -> None:
    """50 times at once, both orders: the void ends the hold and the other is placed anew, or the other joins it."""
    for _ in range(50):
        first, second = attempt(), attempt()
        await place(scene.store, first)
        voiding = scene.store.void(first, attempts=1)
        joining = place(scene.store, second)
        if is_void_first:
            outcome, placement = await asyncio.gather(voiding, joining)
        else:
            placement, outcome = await asyncio.gather(joining, voiding)
        is_joined = placement.outcome is PlacementOutcome.REPLAYED
        assert outcome is (VoidOutcome.JOINED if is_joined else VoidOutcome.VOIDED)
        assert set(await scene.store.fetch_hold_ids("acme")) == {placement.hold_id}
        assert placement.attempts == (2 if is_joined else 1)
        await scene.store.void(first if is_joined else second)


async def test_a_lease_grows_with_each_attempt_and_never_shrinks(scene: Scene) -> None:
    """It lasts from the latest attempt on, whatever order they arrive in and however late a clock is."""
    first = attempt()
    await place(scene.store, first)
    for after_s, ends_s in ((10, 10), (4, 10), (11, 11)):
        await place(scene.store, attempt(after_s=after_s))
        attempts = await scene.store.fetch_attempts(first)
        assert attempts is not None
        assert attempts.leased_until == START + timedelta(seconds=ends_s) + LEASE


async def test_how_long_a_lease_lasts_is_the_makers_choice(scene: Scene) -> None:
    """In seconds, for attempts and for gates that keep holds."""
    store = scene.make(scene.book, scene.clock, lease_s=2.5)
    hold = attempt()
    await place(store, hold)
    assert await store.fetch_attempts(hold) == Attempts(1, START + timedelta(seconds=2.5))
    scene.clock.advance(60)
    assert await store.keep_holds([hold]) == ()
    assert await store.fetch_attempts(hold) == Attempts(1, START + timedelta(seconds=62.5))
    await store.close()


async def test_keeping_holds_leases_them_and_counts_nobody(scene: Scene) -> None:
    """Of several customers at once; a lease that is longer stays, and what is kept can be voided by its one attempt."""
    others = windows_of("zenith")
    holds = [attempt(), hold_on(others, "1"), hold_on(WINDOWS, "1", placed_at=START + timedelta(seconds=100))]
    for hold, windows in zip(holds, (WINDOWS, others, WINDOWS), strict=True):
        await scene.store.place_hold(hold, windows)
    scene.clock.advance(8)
    assert await scene.store.keep_holds(holds) == ()
    found = [await scene.store.fetch_attempts(hold) for hold in holds]
    assert found == [Attempts(1, START + timedelta(seconds=seconds) + LEASE) for seconds in (8, 8, 100)]
    assert await scene.store.void(holds[0], attempts=1) is VoidOutcome.VOIDED
    assert await scene.store.keep_holds([]) == ()


async def test_what_was_placed_and_lost_is_put_back_by_whoever_keeps_it(scene: Scene) -> None:
    """Wiped before the ledger heard of it: once, with its key, in its windows; its attempts are beyond any count."""
    hold, other = attempt(), hold_on(windows_of("zenith"), "2")
    await place(scene.store, hold)
    await scene.store.place_hold(other, windows_of("zenith"))
    async with scene.wiped() as store:
        assert await store.fetch_attempts(hold) is None
        assert stands(await store.fetch_balances(WINDOWS)) == [usd("0", "0")] * 2
        assert await store.keep_holds([other, hold]) == (other.id, hold.id)
        assert await store.keep_holds([other, hold]) == ()
        assert stands(await store.fetch_balances((*WINDOWS,))) == [usd("0", "4")] * 2
        assert stands(await store.fetch_balances(windows_of("zenith"))) == [usd("0", "2")] * 2
        assert await store.fetch_attempts(hold) == Attempts(RESTORED_ATTEMPTS, START + LEASE)
        assert await store.void(hold, attempts=1) is VoidOutcome.JOINED
        joined = await place(store, attempt())
        assert (joined.hold_id, joined.attempts) == (hold.id, RESTORED_ATTEMPTS + 1)
        assert await store.capture(hold, parse_usd("1"))
        assert stands(await store.fetch_balances(WINDOWS)) == [usd("1", "0")] * 2


async def test_a_lost_hold_that_is_kept_twice_in_one_call_counts_once(scene: Scene) -> None:
    """Whoever gives it twice has it put back once."""
    hold = hold_on(WINDOWS, "2")
    await scene.run(hold, WINDOWS)
    async with scene.wiped() as store:
        await store.fetch_balances(windows_of("zenith"))
        assert set(await store.keep_holds([hold, hold])) == {hold.id}
        assert stands(await store.fetch_balances(WINDOWS)) == [usd("0", "2")] * 2


async def test_what_has_ended_is_not_put_back_by_whoever_still_keeps_it(scene: Scene) -> None:
    """A gate that hears late that another one has settled its hold brings nothing back, however long it takes."""
    hold = attempt()
    await place(scene.store, hold)
    await scene.store.capture(hold, parse_usd("1"))
    for _ in range(2):
        assert await scene.store.keep_holds([hold]) == ()
        assert stands(await scene.store.fetch_balances(WINDOWS)) == [usd("1", "0")] * 2
        assert await scene.store.fetch_hold_ids("acme") == {}
        await scene.age_mark(hold)


async def test_many_holds_are_kept_at_once(scene: Scene) -> None:
    """More than one call to the store takes: all are leased, all that are missing are put back, in the order asked."""
    windows = windows_of(day_usd=None, month_usd=None)
    holds = [hold_on(windows, "0.01") for _ in range(1_100)]
    await asyncio.gather(*(scene.store.place_hold(hold, windows) for hold in holds[::2]))
    assert await scene.store.keep_holds(holds) == tuple(hold.id for hold in holds[1::2])
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "11")] * 2


@pytest.mark.parametrize("how", ["restored", "filled"])
async def test_a_hold_that_comes_back_from_the_ledger_has_a_lease(scene: Scene, how: str) -> None:
    """By reconcile, or with the windows: somebody may still be working on it, and how many have joined is not known."""
    hold = attempt()
    scene.book.open_hold(hold)
    scene.clock.advance(30)
    if how == "restored":
        assert await scene.store.restore_hold(hold)
    await scene.store.fetch_balances(WINDOWS)
    assert await scene.store.fetch_attempts(hold) == Attempts(RESTORED_ATTEMPTS, scene.clock.now() + LEASE)
    assert await scene.store.void(hold, attempts=1) is VoidOutcome.JOINED
    assert await scene.store.void(hold, attempts=RESTORED_ATTEMPTS) is VoidOutcome.VOIDED


async def test_restoring_a_hold_that_is_there_changes_nothing(scene: Scene) -> None:
    """Reconcile is nobody who works on it: neither its attempts nor its lease."""
    hold = attempt()
    await scene.run(hold, WINDOWS)
    scene.clock.advance(60)
    assert not await scene.store.restore_hold(hold)
    assert await scene.store.fetch_attempts(hold) == Attempts(1, START + LEASE)


async def test_a_hold_of_which_only_the_id_is_known_is_voided_where_nobody_joined(scene: Scene) -> None:
    """Its windows are in the store."""
    hold = attempt()
    await place(scene.store, hold)
    bare = replace(hold, amount_nanos=0, window_keys={}, idempotency_key=None)
    assert await scene.store.void(bare, attempts=2) is VoidOutcome.JOINED
    assert await scene.store.void(bare, attempts=1) is VoidOutcome.VOIDED
    assert stands(await scene.store.fetch_balances(WINDOWS)) == [usd("0", "0")] * 2


async def test_a_wiped_store_hears_from_the_gate_itself_what_the_ledger_has_not_heard(scene: Scene) -> None:
    """Between placing and recording everything is lost: the next decision counts the hold all the same, once."""
    placed: list[Hold] = []
    store = scene.make(AccountSource(scene.book, NO_POLICIES, lambda: placed), scene.clock)
    hold = hold_on(WINDOWS, "6")
    await place(store, hold)
    placed.append(hold)
    await scene.forget_everything(store)
    for account_windows in (WINDOWS, windows_of("zenith")):
        await store.fetch_balances(account_windows)
    too_much = await place(store, hold_on(WINDOWS, "5"))
    assert too_much.outcome is PlacementOutcome.REFUSED
    assert stands(too_much.balances) == [usd("0", "6")] * 2
    scene.book.open_hold(hold)
    await store.forget_windows("acme")
    assert stands(await store.fetch_balances(WINDOWS)) == [usd("0", "6")] * 2
    assert stands(await store.fetch_balances(windows_of("zenith"))) == [usd("0", "0")] * 2
    await store.close()
