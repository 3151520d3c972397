"""The contract of ports.Ledger's price lists, over SQLite and PostgreSQL: written once, with the first hold."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.ledger import SqlLedger
from bqgate.ledger.connections import read_url
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock

PRICES = PriceList(
    PricingModel.AUTO,
    6_250_000_000,
    60_000_000,
    nanos_per_tib_by_location={"us": 6_250_000_000},
    nanos_per_slot_hour_by_edition={"standard": 40_000_000},
)


async def test_a_price_list_is_there_for_everybody_once_a_hold_names_it(ledger: SqlLedger, ledger_url: str) -> None:
    """It comes back whole, after a restart and on another replica; before the first hold nothing is written."""
    ledger.register_prices(PRICES)
    assert await ledger.fetch_prices(PRICES.id) is None
    await ledger.open_hold(make_hold("h", prices_id=PRICES.id))
    other = await SqlLedger.open(ledger_url, ManualClock())
    try:
        found = await other.fetch_prices(PRICES.id)
    finally:
        await other.close()
    assert found is not None
    assert (found, found.id) == (PRICES, PRICES.id)
    assert await ledger.fetch_prices("unknown") is None


async def test_a_price_list_that_only_an_entry_names_is_written_with_it(ledger: SqlLedger) -> None:
    """A job that had no hold, or whose hold named no prices, can be priced again all the same."""
    ledger.register_prices(PRICES)
    await ledger.book(make_entry(None, prices_id=PRICES.id))
    assert await ledger.fetch_prices(PRICES.id) == PRICES


async def test_a_price_list_is_written_once(ledger: SqlLedger, ledger_url: str, ledger_clock: ManualClock) -> None:
    """However many holds name it, one after another or at once, from however many replicas."""
    other = await SqlLedger.open(ledger_url, ledger_clock)
    try:
        for each in (ledger, other):
            each.register_prices(PRICES)
            each.register_prices(PRICES)
        holds = [make_hold(f"h{number}", prices_id=PRICES.id) for number in range(20)]
        await asyncio.gather(*(each.open_hold(hold) for hold in holds for each in (ledger, other)))
        assert await other.fetch_prices(PRICES.id) == PRICES
    finally:
        await other.close()
    engine = sa.create_engine(read_url(ledger_url, is_async=False))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM price_lists").scalar_one() == 1
    engine.dispose()


async def test_a_hold_of_unknown_prices_is_recorded_all_the_same(ledger: SqlLedger) -> None:
    """Money that is held stands above the question what it was held by."""
    hold = make_hold("h", prices_id="never registered")
    await ledger.open_hold(hold)
    assert await ledger.fetch_open_holds() == (hold,)


async def test_a_list_that_could_not_be_written_is_written_with_the_next_hold(tmp_path: Path) -> None:
    """A failed transaction has written neither hold nor list."""
    clock, url = ManualClock(), f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = await SqlLedger.open(url, clock)
    engine = sa.create_engine(read_url(url, is_async=False))
    try:
        ledger.register_prices(PRICES)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE holds RENAME TO holds_away")
        with pytest.raises(LedgerUnavailable):
            await ledger.open_hold(make_hold("h", prices_id=PRICES.id))
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE holds_away RENAME TO holds")
        assert await ledger.fetch_prices(PRICES.id) is None
        await ledger.open_hold(make_hold("h", prices_id=PRICES.id))
        assert await ledger.fetch_prices(PRICES.id) == PRICES
    finally:
        engine.dispose()
        await ledger.close()


async def test_two_lists_are_kept_apart(ledger: SqlLedger) -> None:
    """Each hold finds its own."""
    changed = replace(PRICES, nanos_per_tib=1)
    for prices in (PRICES, changed):
        ledger.register_prices(prices)
        await ledger.open_hold(make_hold(prices.id, prices_id=prices.id))
    assert [await ledger.fetch_prices(prices.id) for prices in (PRICES, changed)] == [PRICES, changed]
