"""The reading of a ledger that moves while it is read."""

from bqgate.budgets.refill import fetch_snapshot
from bqgate.domain.money import parse_usd
from tests.support.budget_scene import hold_on, windows_of
from tests.support.spend_book import SpendBook


async def test_a_quiet_ledger_is_read_three_times() -> None:
    """Holds, spend, holds."""
    book, windows = SpendBook(), windows_of()
    hold = hold_on(windows)
    book.open_hold(hold)
    snapshot = await fetch_snapshot(book, windows, "")
    assert snapshot.open_holds == (hold,)
    assert snapshot.captured_in(windows[0]) == 0
    assert book.read_count == 3


async def test_a_hold_that_opens_under_the_reading_is_taken_along() -> None:
    """Only holds that end make the ledger be read again."""
    book, windows = SpendBook(), windows_of()
    hold = hold_on(windows)

    async def open_one() -> None:
        book.open_hold(hold)

    book.before_spend = open_one
    assert (await fetch_snapshot(book, windows, "")).open_holds == (hold,)
    assert book.read_count == 3


async def test_a_ledger_that_never_rests_is_counted_too_high_rather_than_too_low() -> None:
    """Each reading of the spend ends another hold: after five, the holds from before the last one are taken."""
    book, windows = SpendBook(), windows_of()
    holds = [hold_on(windows, "1") for _ in range(20)]
    for hold in holds:
        book.open_hold(hold)

    async def end_one() -> None:
        book.book(next(iter(book.open_holds.values())), parse_usd("1"))

    book.before_spend = end_one
    snapshot = await fetch_snapshot(book, windows, "")
    assert snapshot.captured_in(windows[0]) == parse_usd("5")
    assert snapshot.open_holds == tuple(holds[4:])
