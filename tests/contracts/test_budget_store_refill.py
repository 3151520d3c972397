"""Hold every BudgetStore to invariant 7: an unknown window is filled from the ledger, each hold counted once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from bqgate.domain.budget import Period, Window, windows_at
from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold, PlacementOutcome, VoidOutcome
from bqgate.domain.money import parse_usd
from tests.support.budget_scene import UTC_ZONE, hold_on, stands, usd, windows_of
from tests.support.budget_stores import Scene
from tests.support.manual_clock import START


async def test_an_unknown_window_is_filled_before_it_decides(scene: Scene) -> None:
    """Invariant 7: what the ledger booked and what it has open counts against the first hold of a new store."""
    windows = windows_of(day_usd="10")
    scene.book.book(hold_on(windows), parse_usd("5"))
    scene.book.open_hold(hold_on(windows, "4"))
    refused = await scene.store.place_hold(hold_on(windows, "1.5"), windows)
    assert refused.outcome is PlacementOutcome.REFUSED
    assert stands(refused.balances) == [usd("5", "4")] * 2
    assert (await scene.store.place_hold(hold_on(windows, "1"), windows)).outcome is PlacementOutcome.PLACED


async def test_a_known_window_does_not_ask_the_ledger(scene: Scene) -> None:
    """Once filled a window is decided on without a reading."""
    windows = windows_of()
    await scene.store.fetch_balances(windows)
    reads = scene.book.read_count
    await scene.run(hold_on(windows), windows)
    await scene.store.fetch_balances(windows)
    assert scene.book.read_count == reads


async def test_a_wiped_store_is_whole_again(scene: Scene) -> None:
    """Invariant 7: spend, open holds and their idempotency keys come back from the ledger and are counted once."""
    windows = windows_of()
    done, running = hold_on(windows, "2"), hold_on(windows, "3", idempotency_key="job:p:j1")
    await scene.run(done, windows)
    await scene.run(running, windows)
    scene.book.book(done, parse_usd("1.5"))
    await scene.store.capture(done, parse_usd("1.5"))
    async with scene.wiped() as store:
        assert stands(await store.fetch_balances(windows)) == [usd("1.5", "3")] * 2
        repeat = await store.place_hold(hold_on(windows, idempotency_key="job:p:j1"), windows)
        assert (repeat.outcome, repeat.hold_id) == (PlacementOutcome.REPLAYED, running.id)
        assert await store.capture(running, parse_usd("1"))
        assert stands(await store.fetch_balances(windows)) == [usd("2.5", "0")] * 2


async def test_a_hold_booked_before_the_refill_and_captured_after_it_counts_once(scene: Scene) -> None:
    """Settlement books, the store is wiped and refilled, then the capture comes: False, and the cost is there once."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.run(hold, windows)
    async with scene.wiped() as store:
        scene.book.book(hold, parse_usd("2"))
        await store.fetch_balances(windows)
        assert not await store.capture(hold, parse_usd("2"))
        assert stands(await store.fetch_balances(windows)) == [usd("2", "0")] * 2


async def test_a_late_capture_counts_once(scene: Scene) -> None:
    """Reconcile finds a booked hold still open, in windows that may have its cost: it ends, the ledger's sum stands."""
    windows = windows_of()
    hold, other = hold_on(windows, "3"), hold_on(windows, "1")
    await scene.run(hold, windows)
    await scene.run(other, windows)
    scene.book.book(hold, parse_usd("2"))
    assert await scene.store.capture(hold, parse_usd("2"), is_late=True)
    assert not await scene.store.capture(hold, parse_usd("2"), is_late=True)
    assert stands(await scene.store.fetch_balances(windows)) == [usd("2", "1")] * 2


async def test_what_was_read_before_windows_were_dropped_does_not_fill_them(scene: Scene) -> None:
    """A gate reads the ledger and stands still; a query runs, the windows are dropped: its reading lacks that cost."""
    own = windows_of()
    ada = BudgetScope(ScopeKind.PRINCIPAL, "ada@example.com")
    part = windows_at(
        START, customer="acme", zone=UTC_ZONE, limits_nanos={Period.DAY: None, Period.MONTH: None}, scope=ada
    )
    fetch_spend = scene.book.fetch_spend

    async def slow(windows: Sequence[Window]) -> CustomerSpend:
        scene.book.fetch_spend = fetch_spend  # type: ignore[method-assign]  # once
        read = await fetch_spend(windows)
        hold = replace(hold_on(own, "3"), scopes=(ada,))
        await scene.run(hold, (*own, *part))
        scene.book.book(hold, parse_usd("2"))
        assert await scene.store.capture(hold, parse_usd("2"))
        await scene.store.forget_windows("acme")
        return read

    scene.book.fetch_spend = slow  # type: ignore[method-assign]  # to choose the moment
    assert stands(await scene.store.fetch_balances(own)) == [usd("2", "0")] * 2


async def test_what_was_read_longer_ago_than_ends_are_remembered_fills_nothing(scene: Scene) -> None:
    """A gate reads the ledger and is suspended until a hold's end is forgotten: it reads again, no hold comes back."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.run(hold, windows)
    await scene.store.forget_windows("acme")
    reads = [scene.book.fetch_open_holds("acme"), scene.book.fetch_open_holds("acme")]

    async def suspended(_customer: str) -> tuple[Hold, ...]:
        read = await reads.pop()
        if not reads:
            del scene.book.fetch_open_holds  # from here on it is the book's own
            scene.book.book(hold, parse_usd("2"))
            assert await scene.store.capture(hold, parse_usd("2"))
            await scene.forget_mark(hold)
        return read

    scene.book.fetch_open_holds = suspended  # type: ignore[method-assign, assignment]  # to choose the moment
    assert stands(await scene.store.fetch_balances(windows)) == [usd("2", "0")] * 2
    assert not await scene.store.fetch_hold_ids("acme")


async def test_a_cost_whose_hold_the_store_lacks_counts(scene: Scene) -> None:
    """Wiped and filled before another gate recorded its hold, which then ends: its cost counts in the known windows."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.store.place_hold(hold, windows)
    async with scene.wiped() as store:
        assert stands(await store.fetch_balances(windows)) == [usd("0", "0")] * 2
        scene.book.open_hold(hold)
        scene.book.book(hold, parse_usd("2"))
        assert not await store.capture(hold, parse_usd("2"))
        assert stands(await store.fetch_balances(windows)) == [usd("2", "0")] * 2
        assert not await store.capture(hold, parse_usd("2"))
        assert stands(await store.fetch_balances(windows)) == [usd("2", "0")] * 2


async def test_the_cost_of_a_hold_that_was_given_back_counts(scene: Scene) -> None:
    """Its job turned up late and is booked: the cost counts at once, though the hold had ended at no cost."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.run(hold, windows)
    assert await scene.store.void(hold) is VoidOutcome.VOIDED
    scene.book.close_hold(hold)
    scene.book.book(hold, parse_usd("2"))
    assert not await scene.store.capture(hold, parse_usd("2"))
    assert stands(await scene.store.fetch_balances(windows)) == [usd("2", "0")] * 2


async def test_a_hold_that_ends_while_the_ledger_is_read_counts_once(scene: Scene) -> None:
    """Booked and captured between the reading of the holds and of the spend: neither doubled nor lost."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.run(hold, windows)
    async with scene.wiped() as store:

        async def settle() -> None:
            scene.book.before_spend = None
            scene.book.book(hold, parse_usd("2"))
            await store.capture(hold, parse_usd("2"))

        scene.book.before_spend = settle
        assert stands(await store.fetch_balances(windows)) == [usd("2", "0")] * 2
        assert await store.fetch_hold_ids("acme") == {}


@pytest.mark.parametrize("is_seen", [True, False], ids=["just before the last reading", "just after it"])
async def test_a_hold_that_ends_around_the_last_reading_counts_once(scene: Scene, *, is_seen: bool) -> None:
    """Booked and captured after the spend was read: it is read again, or the cost that it lacks is added."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.run(hold, windows)
    async with scene.wiped() as store:
        fetch_open_holds, reading = scene.book.fetch_open_holds, 0

        async def settle() -> None:
            scene.book.book(hold, parse_usd("2"))
            assert not await store.capture(hold, parse_usd("2"))

        async def settle_around_the_second_answer(customer: str | None = None) -> tuple[Hold, ...]:
            nonlocal reading
            reading += 1
            if reading == 2 and is_seen:
                await settle()
            holds = await fetch_open_holds(customer)
            if reading == 2 and not is_seen:
                await settle()
            return holds

        scene.book.fetch_open_holds = settle_around_the_second_answer  # type: ignore[method-assign]  # to choose the moment
        assert stands(await store.fetch_balances(windows)) == [usd("2", "0")] * 2
        assert await store.fetch_hold_ids("acme") == {}


async def test_a_hold_placed_and_not_yet_recorded_counts_in_a_window_that_is_filled(scene: Scene) -> None:
    """Filling another window of the customer neither loses nor doubles holds that the ledger has not heard of."""
    windows = windows_of()
    in_flight = hold_on(windows, "3")
    await scene.store.place_hold(in_flight, windows)
    scene.clock.advance(24 * 3600)
    today = windows_of(now=scene.clock.now())
    assert stands(await scene.store.fetch_balances(today)) == [usd("0", "0"), usd("0", "3")]
    assert list(await scene.store.fetch_hold_ids("acme")) == [in_flight.id]


async def test_a_hold_lost_between_placing_and_recording_is_put_back(scene: Scene) -> None:
    """Wiped before the ledger heard of it: reconcile's restore_hold brings it back, once."""
    windows = windows_of()
    hold = hold_on(windows, "3", idempotency_key="job:p:j1")
    await scene.store.place_hold(hold, windows)
    async with scene.wiped() as store:
        assert stands(await store.fetch_balances(windows)) == [usd("0", "0")] * 2
        scene.book.open_hold(hold)
        assert await store.restore_hold(hold)
        assert not await store.restore_hold(hold)
        assert stands(await store.fetch_balances(windows)) == [usd("0", "3")] * 2
        assert (await store.place_hold(hold_on(windows, idempotency_key="job:p:j1"), windows)).hold_id == hold.id
        assert await store.capture(hold, parse_usd("1"))
        assert stands(await store.fetch_balances(windows)) == [usd("1", "0")] * 2


async def test_a_hold_restored_before_its_windows_are_filled_counts_once(scene: Scene) -> None:
    """restore_hold on an empty store keeps the record; the filling counts it once."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    scene.book.open_hold(hold)
    assert await scene.store.restore_hold(hold)
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "3")] * 2
    assert await scene.store.void(hold) is VoidOutcome.VOIDED
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "0")] * 2


async def test_an_ended_hold_is_not_put_back(scene: Scene) -> None:
    """A reconcile that read the ledger a moment too early does not bring a settled hold back."""
    windows = windows_of()
    hold = hold_on(windows)
    await scene.run(hold, windows)
    await scene.store.capture(hold, parse_usd("1"))
    assert not await scene.store.restore_hold(hold)
    assert stands(await scene.store.fetch_balances(windows)) == [usd("1", "0")] * 2


async def test_a_lost_hold_is_counted_in_known_windows_when_another_is_filled(scene: Scene) -> None:
    """The ledger has a hold that the store lost: filling the new day also puts it back into the known month."""
    windows = windows_of()
    hold = hold_on(windows, "3")
    await scene.store.place_hold(hold, windows)
    async with scene.wiped() as store:
        await store.fetch_balances(windows)
        scene.book.open_hold(hold)
        today = windows_of(now=START + timedelta(days=1))
        assert stands(await store.fetch_balances(today)) == [usd("0", "0"), usd("0", "3")]
        assert stands(await store.fetch_balances(windows)) == [usd("0", "3")] * 2


async def test_a_credit_is_no_budget(scene: Scene) -> None:
    """Adjustments below zero fill a window with zero, not with room beyond its limit."""
    windows = windows_of(day_usd="10")
    for window in windows:
        scene.book.booked.append((hold_on((window,)), -parse_usd("5")))
    assert stands(await scene.store.fetch_balances(windows)) == [usd("0", "0")] * 2


async def test_without_the_ledger_an_unknown_window_decides_nothing(scene: Scene) -> None:
    """LedgerUnavailable, and nothing is placed; a window that is known goes on without the ledger."""
    windows = windows_of()
    scene.book.is_down = True
    hold = hold_on(windows)
    with pytest.raises(LedgerUnavailable):
        await scene.store.place_hold(hold, windows)
    with pytest.raises(LedgerUnavailable):
        await scene.store.fetch_balances(windows)
    assert await scene.store.fetch_hold_ids("acme") == {}
    scene.book.is_down = False
    assert (await scene.store.place_hold(hold, windows)).outcome is PlacementOutcome.PLACED
    scene.book.is_down = True
    assert await scene.store.void(hold) is VoidOutcome.VOIDED
    assert (await scene.store.place_hold(hold_on(windows), windows)).outcome is PlacementOutcome.PLACED


async def test_many_first_callers_read_the_ledger_once(scene: Scene) -> None:
    """100 callers at an unknown window share one filling: three readings."""
    windows = windows_of(day_usd="10")
    scene.book.book(hold_on(windows), parse_usd("5"))
    balances = await asyncio.gather(*(scene.store.fetch_balances(windows) for _ in range(100)))
    assert {tuple(stands(each)) for each in balances} == {(usd("5", "0"), usd("5", "0"))}
    assert scene.book.read_count <= 6  # a caller may come just after the filling that it did not see


async def test_a_caller_that_leaves_does_not_stop_the_filling_for_others(scene: Scene) -> None:
    """The first caller is cancelled within the filling; the second gets its answer."""
    windows = windows_of()
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reading.set()
        await go_on.wait()

    scene.book.before_spend = wait
    first = asyncio.create_task(scene.store.fetch_balances(windows))
    await reading.wait()
    second = asyncio.create_task(scene.store.fetch_balances(windows))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    scene.book.before_spend = None
    go_on.set()
    assert stands(await second) == [usd("0", "0")] * 2
