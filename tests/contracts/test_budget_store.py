"""Hold every BudgetStore to the port's promises about holds; tests/support/budget_stores.py lists the stores."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.hold import PlacementOutcome, VoidOutcome
from bqgate.domain.money import MAX_NANOS, parse_usd
from tests.support.budget_scene import hold_on, stands, usd, windows_of
from tests.support.budget_stores import Scene
from tests.support.manual_clock import START


async def test_a_placed_hold_counts_in_every_window(scene: Scene) -> None:
    """A placed hold is in every window's held amount, and the balances come back in the order asked."""
    windows = windows_of()
    hold = hold_on(windows, "4")
    placement = await scene.store.place_hold(hold, windows)
    assert (placement.outcome, placement.hold_id) == (PlacementOutcome.PLACED, hold.id)
    assert stands(placement.balances) == [usd("0", "4"), usd("0", "4")]
    assert tuple(balance.window for balance in placement.balances) == windows
    backwards = await scene.store.fetch_balances(windows[::-1])
    assert tuple(balance.window for balance in backwards) == windows[::-1]


async def test_a_hold_that_fits_exactly_is_placed(scene: Scene) -> None:
    """What is captured, held and asked may together reach the limit, not pass it by a nano-dollar."""
    windows = windows_of(day_usd="10")
    await scene.run(hold_on(windows, "9.999999999"), windows)
    assert (await scene.store.place_hold(hold_on(windows, "0.000000002"), windows)).hold_id is None
    last = await scene.store.place_hold(hold_on(windows, "0.000000001"), windows)
    assert last.outcome is PlacementOutcome.PLACED
    assert last.balances[0].balance_nanos == 0


async def test_one_full_window_refuses_and_no_window_is_touched(scene: Scene) -> None:
    """All or nothing: when the month has no room the day is not held either, and the numbers say how it stands."""
    windows = windows_of(day_usd="10", month_usd="5")
    await scene.run(hold_on(windows, "4"), windows)
    for asked in (windows, windows[::-1]):
        placement = await scene.store.place_hold(hold_on(windows, "2"), asked)
        assert (placement.outcome, placement.hold_id) == (PlacementOutcome.REFUSED, None)
        assert stands(placement.balances) == [usd("0", "4"), usd("0", "4")]
    assert len(await scene.store.fetch_hold_ids("acme")) == 1


async def test_without_a_limit_nothing_is_refused_and_all_is_counted(scene: Scene) -> None:
    """A window whose limit is None counts what is held and captured beyond any limit."""
    windows = windows_of(day_usd=None, month_usd=None)
    hold = hold_on(windows, "9000000")
    await scene.run(hold, windows)
    await scene.store.capture(hold, parse_usd("9000000"))
    placement = await scene.store.place_hold(hold_on(windows, "9000000"), windows)
    assert placement.outcome is PlacementOutcome.PLACED
    assert stands(placement.balances) == [usd("9000000", "9000000")] * 2


async def test_no_windows_is_a_hold_without_budgets(scene: Scene) -> None:
    """A hold on no window is placed, listed and ended."""
    hold = replace(hold_on(windows_of()), window_keys={})
    assert (await scene.store.place_hold(hold, ())).outcome is PlacementOutcome.PLACED
    assert list(await scene.store.fetch_hold_ids("acme")) == [hold.id]
    assert await scene.store.fetch_balances(()) == ()
    assert await scene.store.void(hold) is VoidOutcome.VOIDED


async def test_the_same_id_is_found_and_held_once(scene: Scene) -> None:
    """Placing an open hold's id again changes nothing and says replayed."""
    windows = windows_of()
    hold = hold_on(windows, "4")
    await scene.store.place_hold(hold, windows)
    again = await scene.store.place_hold(hold, windows)
    assert (again.outcome, again.hold_id) == (PlacementOutcome.REPLAYED, hold.id)
    assert stands(again.balances) == [usd("0", "4")] * 2


async def test_the_same_idempotency_key_finds_the_earlier_hold(scene: Scene) -> None:
    """A caller's repeat gets the open hold's id, even where the budget has no more room; once ended it is new."""
    windows = windows_of(day_usd="4")
    first = hold_on(windows, "4", idempotency_key="job:p:j1")
    await scene.store.place_hold(first, windows)
    repeat = hold_on(windows, "3", idempotency_key="job:p:j1")
    again = await scene.store.place_hold(repeat, windows)
    assert (again.outcome, again.hold_id) == (PlacementOutcome.REPLAYED, first.id)
    assert stands(again.balances) == [usd("0", "4")] * 2
    assert await scene.store.void(first) is VoidOutcome.VOIDED
    assert (await scene.store.place_hold(repeat, windows)).outcome is PlacementOutcome.PLACED


async def test_an_idempotency_key_is_the_customers_own(scene: Scene) -> None:
    """Another customer's equal key finds nothing."""
    for customer in ("acme", "zenith"):
        windows = windows_of(customer)
        placement = await scene.store.place_hold(hold_on(windows, idempotency_key="request:p:r1"), windows)
        assert placement.outcome is PlacementOutcome.PLACED


@pytest.mark.parametrize("cost", ["0", "0.4", "1", "2.5"])
async def test_capture_books_the_cost_and_frees_the_hold(scene: Scene, cost: str) -> None:
    """Whatever the cost, below, at or above the hold: it is captured whole and nothing stays held."""
    windows = windows_of(day_usd="1")
    hold = hold_on(windows, "1")
    await scene.run(hold, windows)
    assert await scene.store.capture(hold, parse_usd(cost))
    assert stands(await scene.store.fetch_balances(windows)) == [usd(cost, "0")] * 2
    assert await scene.store.fetch_hold_ids("acme") == {}


@pytest.mark.parametrize("amount", ["0", "1"])
async def test_void_frees_the_hold(scene: Scene, amount: str) -> None:
    """A voided hold leaves nothing behind, a hold of zero included."""
    windows = windows_of()
    hold = hold_on(windows, amount)
    await scene.run(hold, windows)
    assert await scene.store.void(hold) is VoidOutcome.VOIDED
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "0")] * 2


async def test_a_hold_ends_once(scene: Scene) -> None:
    """Invariant 3: each further capture or void says so and changes nothing."""
    windows = windows_of()
    hold = hold_on(windows)
    await scene.run(hold, windows)
    assert await scene.store.capture(hold, parse_usd("0.5"))
    assert not await scene.store.capture(hold, parse_usd("0.5"))
    assert await scene.store.void(hold) is VoidOutcome.ENDED
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0.5", "0")] * 2


async def test_ending_a_hold_that_nobody_placed_changes_nothing(scene: Scene) -> None:
    """An unknown id is not open; windows that are unknown stay unknown, known ones stay as they are."""
    windows = windows_of()
    assert not await scene.store.capture(hold_on(windows), parse_usd("1"))
    await scene.run(hold_on(windows, "3"), windows)
    assert not await scene.store.capture(hold_on(windows), parse_usd("1"))
    assert await scene.store.void(hold_on(windows)) is VoidOutcome.UNKNOWN
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "3")] * 2


async def test_a_hold_that_was_voided_cannot_be_placed_by_a_call_that_comes_late(scene: Scene) -> None:
    """Invariant 3: void after an unanswered place_hold is final, in whichever order the two arrive."""
    windows = windows_of()
    hold = hold_on(windows)
    assert await scene.store.void(hold) is VoidOutcome.UNKNOWN
    assert (await scene.store.place_hold(hold, windows)).outcome is PlacementOutcome.ENDED
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "0")] * 2


async def test_a_hold_placed_before_midnight_is_captured_in_its_own_day(scene: Scene) -> None:
    """The windows are those in which the hold was placed; the new day starts empty and the month goes on."""
    yesterday = windows_of()
    hold = hold_on(yesterday, "4")
    await scene.run(hold, yesterday)
    scene.clock.advance(24 * 3600)
    today = windows_of(now=scene.clock.now())
    assert stands(await scene.store.fetch_balances(today)) == [usd("0", "0"), usd("0", "4")]
    assert await scene.store.capture(hold, parse_usd("3"))
    assert stands(await scene.store.fetch_balances(today)) == [usd("0", "0"), usd("3", "0")]
    assert stands(await scene.store.fetch_balances(yesterday)) == [usd("3", "0")] * 2


async def test_the_store_knows_better_than_the_caller_where_a_hold_was_placed(scene: Scene) -> None:
    """A hold that is described with today's windows is still ended in yesterday's."""
    yesterday = windows_of()
    hold = hold_on(yesterday, "4")
    await scene.run(hold, yesterday)
    today = windows_of(now=START + timedelta(days=1))
    await scene.store.fetch_balances(today)
    misdescribed = replace(hold, window_keys={window.period: window.key for window in today})
    assert await scene.store.capture(misdescribed, parse_usd("3"))
    assert stands(await scene.store.fetch_balances((*today, *yesterday))) == [
        usd("0", "0"),
        usd("3", "0"),
        usd("3", "0"),
        usd("3", "0"),
    ]


async def test_a_hold_of_which_only_the_id_is_known_is_ended_in_its_windows(scene: Scene) -> None:
    """Reconcile knows an orphan's id and customer, no amount and no windows: that is enough."""
    windows = windows_of()
    hold = hold_on(windows, "4", idempotency_key="job:p:j1")
    await scene.run(hold, windows)
    bare = replace(hold, amount_nanos=0, window_keys={}, idempotency_key=None)
    assert await scene.store.capture(bare, parse_usd("3"))
    assert stands(await scene.store.fetch_balances(windows)) == [usd("3", "0")] * 2
    again = await scene.store.place_hold(hold_on(windows, idempotency_key="job:p:j1"), windows)
    assert again.outcome is PlacementOutcome.PLACED


async def test_open_holds_are_listed_with_their_moment(scene: Scene) -> None:
    """Ids come with the moment of placing to the microsecond; customers are those with open holds, sorted."""
    moment = START + timedelta(microseconds=123456)
    holds = {}
    for customer in ("zenith", "acme"):
        windows = windows_of(customer)
        holds[customer] = hold_on(windows, placed_at=moment)
        await scene.store.place_hold(holds[customer], windows)
    assert await scene.store.fetch_customers() == ("acme", "zenith")
    assert await scene.store.fetch_hold_ids("acme") == {holds["acme"].id: moment}
    await scene.store.void(holds["acme"])
    assert await scene.store.fetch_customers() == ("zenith",)
    assert await scene.store.fetch_hold_ids("nobody") == {}


@pytest.mark.parametrize(
    "odd", ["}{", "a{b}c", "domain.com:project", "two words\n", "%7D", "*?[a]", "ключ", "\ud800", "-", "x" * 2000]
)
async def test_ids_may_hold_any_character(scene: Scene, odd: str) -> None:
    """Braces, spaces, globs, lone surrogates: customers, holds and keys with them stay apart and come back whole."""
    windows, others = windows_of(odd), windows_of("acme")
    hold = hold_on(windows, "2", hold_id=odd, idempotency_key=odd)
    await scene.store.place_hold(hold, windows)
    await scene.store.place_hold(hold_on(others, "3"), others)
    repeat = await scene.store.place_hold(hold_on(windows, idempotency_key=odd), windows)
    assert repeat.hold_id == odd
    assert set(await scene.store.fetch_customers()) == {odd, "acme"}
    assert list(await scene.store.fetch_hold_ids(odd)) == [odd]
    assert await scene.store.capture(hold, parse_usd("1"))
    assert stands(await scene.store.fetch_balances(windows)) == [usd("1", "0")] * 2


async def test_the_largest_amounts_are_exact(scene: Scene) -> None:
    """Up to 2**53 - 1 nano-dollars no digit is lost, in comparing, adding and answering."""
    windows = tuple(replace(window, limit_nanos=MAX_NANOS) for window in windows_of())
    nearly_all = replace(hold_on(windows), amount_nanos=MAX_NANOS - 1)
    await scene.run(nearly_all, windows)
    assert (await scene.store.place_hold(hold_on(windows, "0.000000002"), windows)).hold_id is None
    last = hold_on(windows, "0.000000001")
    full = await scene.store.place_hold(last, windows)
    assert stands(full.balances) == [(0, MAX_NANOS)] * 2
    await scene.store.capture(nearly_all, MAX_NANOS)
    await scene.store.void(last)
    assert stands(await scene.store.fetch_balances(windows)) == [(MAX_NANOS, 0)] * 2


async def test_amounts_that_cannot_cross_are_a_bug(scene: Scene) -> None:
    """Negative amounts and 2**53 are asserted against before anything is touched."""
    windows = windows_of()
    for amount in (-1, MAX_NANOS + 1):
        with pytest.raises(AssertionError):
            await scene.store.place_hold(replace(hold_on(windows), amount_nanos=amount), windows)
        with pytest.raises(AssertionError):
            await scene.store.capture(hold_on(windows), amount)
    assert await scene.store.fetch_hold_ids("acme") == {}


async def test_a_burst_never_passes_the_limit(scene: Scene) -> None:
    """Invariant 2: 200 concurrent holds of 0.10 at 5.00 on a store that knows nothing yet: exactly 50 are placed."""
    windows = windows_of(day_usd="5.00")
    placements = await asyncio.gather(*(scene.store.place_hold(hold_on(windows, "0.10"), windows) for _ in range(200)))
    placed = [placement for placement in placements if placement.outcome is PlacementOutcome.PLACED]
    assert len(placed) == 50
    assert all((balance.balance_nanos or 0) >= 0 for placement in placements for balance in placement.balances)
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "5")] * 2


async def test_a_burst_of_repeats_holds_once(scene: Scene) -> None:
    """100 concurrent repeats of one request place one hold, and all get its id."""
    windows = windows_of()
    placements = await asyncio.gather(
        *(scene.store.place_hold(hold_on(windows, idempotency_key="job:p:j1"), windows) for _ in range(100))
    )
    outcomes = [placement.outcome for placement in placements]
    assert outcomes.count(PlacementOutcome.PLACED) == 1
    assert len({placement.hold_id for placement in placements}) == 1
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "1")] * 2


async def test_check_returns_when_the_store_can_be_used(scene: Scene) -> None:
    """A store that works passes its check."""
    await scene.store.check()
