"""What is special about memory: it forgets in time."""

from datetime import timedelta

from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.refill import ENDED_TTL_S
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook


async def test_windows_go_when_their_time_is_over() -> None:
    """A day goes 3 days after its end, a month 40 days after, customers with the last of them; open holds stay."""
    clock, book = ManualClock(), SpendBook()
    store = MemoryBudgetStore(book, clock)
    windows, others = windows_of(), windows_of("zenith")
    hold = hold_on(windows)
    await store.place_hold(hold, windows)
    await store.fetch_balances(others)
    clock.advance(timedelta(days=4).total_seconds())
    await store.fetch_balances(windows_of(now=clock.now()))
    assert {key for _, _, key in store._accounts["acme"].stands} == {"2026-11-28", "2026-11"}
    clock.advance(timedelta(days=50).total_seconds())
    await store.fetch_balances(windows_of(now=clock.now()))
    assert {key for _, _, key in store._accounts["acme"].stands} == {"2027-01-17", "2027-01"}
    assert set(store._accounts) == {"acme"}
    assert list(await store.fetch_hold_ids("acme")) == [hold.id]


async def test_a_window_of_long_ago_stays_a_while_when_asked_for() -> None:
    """It is filled, answered and kept, as the Redis store does."""
    clock, book = ManualClock(), SpendBook()
    store = MemoryBudgetStore(book, clock)
    old = windows_of(now=clock.now() - timedelta(days=200))
    await store.fetch_balances(old)
    reads = book.read_count
    await store.fetch_balances(old)
    assert book.read_count == reads


async def test_ended_holds_are_remembered_for_minutes_only() -> None:
    """The memory of ended holds is bounded by time, from when somebody last asked: then an id is as good as new."""
    clock, book = ManualClock(), SpendBook()
    store = MemoryBudgetStore(book, clock)
    windows = windows_of()
    hold = hold_on(windows)
    await store.void(hold)
    clock.advance(ENDED_TTL_S)
    assert not await store.restore_hold(hold)
    clock.advance(ENDED_TTL_S)
    assert not await store.restore_hold(hold)
    clock.advance(ENDED_TTL_S + 1)
    assert await store.restore_hold(hold)
    assert store._accounts["acme"].ended == {}
