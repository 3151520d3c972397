"""Tests of bqgate.ledger.lost_races: what PostgreSQL ends because of another transaction is done again as a whole."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from bqgate.clock import SystemClock
from bqgate.domain.entry import Booking
from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger import JournalPlace, SqlLedger
from bqgate.ledger.check_books import check_books
from bqgate.ledger.lost_races import again_after_lost_races
from tests.support.hold_services import CountingTelemetry
from tests.support.ledgers import make_entry
from tests.support.manual_clock import ManualClock

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def book_in_a_circle(url: str, ledger: SqlLedger) -> Booking | None:
    """Book while somebody else has the sum that the booking waits for, and then wants the key that it has."""
    await ledger.book(make_entry("before"))
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute("UPDATE spend_hours SET job_count = job_count")
        booking = asyncio.create_task(ledger.book(make_entry("h")))
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as looker:
            while (await (await looker.execute(WAITS)).fetchone()) == (0,):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)  # noqa: TID251 - another process is waited for
        await other.execute("INSERT INTO entry_keys (id, booked_at) VALUES ('entry-of-h', 0)")
        await other.rollback()
    return await booking


@pytest.mark.parametrize("has_journal", [False, True])
async def test_a_circle_of_waiting_loses_no_booking(postgres_url: str, tmp_path: Path, *, has_journal: bool) -> None:
    """PostgreSQL ends the booking's transaction; it is done again, once, and its caller hears nothing of it."""
    place = JournalPlace(tmp_path, bytes_max=2**20, telemetry=CountingTelemetry()) if has_journal else None
    ledger = await SqlLedger.open(postgres_url, SystemClock(), journal=place)
    assert await book_in_a_circle(postgres_url, ledger) is Booking.BOOKED
    assert len(await ledger.fetch_costs(since=make_entry("h").booked_at)) == 1
    await ledger.close()
    assert await check_books(postgres_url) == ()


class _Lost(Exception):
    sqlstate = "40001"


class _FromDriver(Exception):
    orig = _Lost()


async def test_whoever_loses_every_race_is_told() -> None:
    """After four tries, with pauses by the clock; any other failure at once."""
    clock, tries = ManualClock(), 0

    async def lose() -> None:
        nonlocal tries
        tries += 1
        raise LedgerUnavailable("lost") from _FromDriver()

    losing = asyncio.create_task(again_after_lost_races(lose, clock))
    for _ in range(3):
        await clock.wait_for_sleepers(1)
        clock.advance(1)
    with pytest.raises(LedgerUnavailable):
        await losing
    assert tries == 4

    async def fail() -> None:
        raise LedgerUnavailable("it is away")

    with pytest.raises(LedgerUnavailable):
        await again_after_lost_races(fail, clock)
