"""Tests of bqgate.ledger.upkeep on PostgreSQL: months are made ahead, dropped when they are old, and cleared after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from bqgate.domain.entry import Booking, EntryFilter, EntryKind, Origin
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.job import JobRef
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery
from bqgate.ledger import LedgerUpkeep, SqlLedger, SqlMirrorQueue
from bqgate.ledger.check_books import check_books
from bqgate.ledger.partitions import Month
from tests.support.hold_services import CountingTelemetry
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START, ManualClock
from tests.unit.ledger.test_partitions import tables_of

MONTHS = [Month.of(START).after(number) for number in range(-5, 1)]


class HurriedClock(ManualClock):
    """Short pauses take no time."""

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(0 if delay_s < 1 else delay_s)


class Stand:
    """A ledger that keeps three months, and its upkeep."""

    def __init__(
        self, url: str, ledger: SqlLedger, upkeep: LedgerUpkeep, clock: HurriedClock, telemetry: CountingTelemetry
    ) -> None:
        self.url, self.ledger, self.upkeep, self.clock, self.telemetry = url, ledger, upkeep, clock, telemetry

    async def drop(self) -> list[Month]:
        """The months of these tests that are dropped; the machine's date has made others, which are empty."""
        return [month for month in await self.upkeep.drop_months() if month in MONTHS]

    async def book_months(self) -> None:
        """A charge in each of the last six months, with its hold, and an adjustment of the first in the last."""
        for month in MONTHS:
            moment = month.start + timedelta(days=3)
            await self.ledger.open_hold(make_hold(month.table, placed_at=moment))
            times = {"placed_at": moment, "booked_at": moment, "origin": Origin.GATE}
            await self.ledger.book(make_entry(month.table, **times))
        first = MONTHS[0]
        correction: dict[str, Any] = {
            "kind": EntryKind.ADJUSTMENT,
            "adjusts": f"entry-of-{first.table}",
            "placed_at": first.start + timedelta(days=3),
            "job": JobRef("acme-prod", f"job-of-{first.table}", "US"),
            "cost_nanos": -1,
        }
        await self.ledger.book(make_entry(None, id="adj", **correction))

    def end_holds_in_time(self) -> None:
        """As if each had been booked when it was placed."""
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE holds SET ended_at = placed_at WHERE ended_at IS NOT NULL")

    def count(self, table: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        return 0 if row is None else int(row[0])


@asynccontextmanager
async def opened(url: str, *, retention_months: int | None = 3, now: datetime = START) -> AsyncIterator[Stand]:
    clock, telemetry = HurriedClock(now), CountingTelemetry()
    ledger = await SqlLedger.open(url, clock)
    upkeep = LedgerUpkeep.open(url, clock, telemetry, retention_months=retention_months)
    yield Stand(url, ledger, upkeep, clock, telemetry)
    await upkeep.close()
    await ledger.close()


@pytest.fixture
async def stand(postgres_url: str) -> AsyncIterator[Stand]:
    """A ledger of six months, each in its partition."""
    async with opened(postgres_url) as made:
        await made.book_months()
        await made.upkeep.make_months()
        yield made


async def test_the_next_months_are_made_ahead(postgres_url: str) -> None:
    """This month and the four after it, each once."""
    async with opened(postgres_url, now=datetime(2031, 11, 5, tzinfo=UTC)) as stand:
        made = await stand.upkeep.make_months()
        assert [month.table for month in made] == [
            "entries_2031_11", "entries_2031_12", "entries_2032_01", "entries_2032_02", "entries_2032_03",
        ]  # fmt: skip
        assert await stand.upkeep.make_months() == []
        await stand.ledger.book(make_entry("h", booked_at=datetime(2032, 1, 1, tzinfo=UTC)))
        assert tables_of(postgres_url) == {"entries_2032_01": 1}


async def test_what_lay_in_the_net_is_moved_to_its_month(stand: Stand) -> None:
    """With all that is known of it, and no sum counts it twice; what no month takes stays."""
    assert tables_of(stand.url) == {month.table: 1 for month in MONTHS[:-1]} | {MONTHS[-1].table: 2}
    await stand.ledger.book(make_entry("far", booked_at=datetime(2090, 1, 1, tzinfo=UTC)))
    await stand.ledger.book(make_entry("late", booked_at=MONTHS[0].start - timedelta(days=1)))
    assert tables_of(stand.url)["entries_default"] == 2
    assert await stand.upkeep.make_months() == [MONTHS[0].after(-1)]
    assert tables_of(stand.url)["entries_default"] == 1
    assert await stand.ledger.fetch_entry("late") == make_entry("late", booked_at=MONTHS[0].start - timedelta(days=1))
    assert [fault for fault in await check_books(stand.url) if "entries" in fault.what or "rows" in fault.what] == []
    assert await stand.ledger.book(make_entry("late")) is Booking.HOLD_ALREADY_BOOKED


async def test_months_past_retention_are_dropped(stand: Stand) -> None:
    """The oldest first; three whole months stay beside the one that runs. Their sums stay, and the books agree."""
    wanted = SpendQuery(SpendPeriod.MONTH, SpendGroup.PRINCIPAL, date(2026, 1, 1))
    before = await stand.ledger.fetch_spending(wanted), await stand.ledger.fetch_costs(since=MONTHS[0].start)
    assert await stand.drop() == MONTHS[:2]
    assert sorted(tables_of(stand.url)) == [month.table for month in MONTHS[2:]]
    after = await stand.ledger.fetch_spending(wanted), await stand.ledger.fetch_costs(since=MONTHS[0].start)
    assert after == before
    assert await check_books(stand.url) == ()
    assert await stand.drop() == []
    assert ("ledger_months_dropped_total", {}) in stand.telemetry.counted


async def test_keys_holds_and_hours_of_what_was_dropped_go_afterwards(stand: Stand) -> None:
    """Once; open holds and those whose entry is kept stay; then a job of before can be booked again."""
    await stand.ledger.open_hold(make_hold("late", placed_at=MONTHS[1].end))
    stand.end_holds_in_time()
    await stand.drop()
    again = make_entry("again", job=JobRef("acme-prod", f"job-of-{MONTHS[0].table}", "US"))
    assert await stand.ledger.book(again) is Booking.JOB_ALREADY_BOOKED
    assert (stand.count("entry_keys"), stand.count("holds")) == (7, 8)
    assert await stand.upkeep.clear() == 6
    assert (stand.count("entry_keys"), stand.count("holds"), stand.count("spend_hours")) == (5, 6, 5)
    assert await stand.upkeep.clear() == 0
    assert await check_books(stand.url) == ()
    other = make_entry("other", job=JobRef("acme-prod", f"job-of-{MONTHS[0].table}", "US"))
    assert await stand.ledger.book(other) is Booking.BOOKED


async def test_without_retention_nothing_is_dropped(postgres_url: str) -> None:
    """Unless somebody asks for it, everything is kept."""
    async with opened(postgres_url, retention_months=None) as stand:
        await stand.book_months()
        await stand.upkeep.make_months()
        assert await stand.drop() == []
        assert await stand.upkeep.clear() == 0


async def test_a_month_with_an_open_hold_is_kept(stand: Stand) -> None:
    """And those after it, until the hold has ended."""
    await stand.ledger.open_hold(make_hold("open", placed_at=MONTHS[1].start))
    assert await stand.drop() == MONTHS[:1]
    await stand.ledger.close_hold("open")
    assert await stand.drop() == MONTHS[1:2]


async def test_a_month_that_the_mirror_has_not_taken_is_kept(stand: Stand) -> None:
    """A mirror that has not walked over what was there, or has it in its queue."""
    queue = SqlMirrorQueue.open(stand.url)
    assert await queue.begin("t", "e", seen=None)
    assert await stand.drop() == []
    while not await queue.fill(100):
        pass
    assert await stand.drop() == []
    batch = await queue.open_batch(100)
    assert batch is not None
    await queue.close_batch(batch)
    assert await stand.drop() == MONTHS[:2]
    await queue.close()


async def test_a_reader_that_takes_long_is_not_waited_for(stand: Stand) -> None:
    """A backup keeps a month from being dropped for now; that is told, and gates go on."""
    async with await psycopg.AsyncConnection.connect(stand.url) as connection:
        await connection.execute("SELECT count(*) FROM entries")
        with pytest.raises(LedgerUnavailable):
            await stand.drop()
        assert await stand.ledger.book(make_entry("meanwhile")) is Booking.BOOKED
    assert await stand.drop() == MONTHS[:2]


async def test_it_is_done_at_once_and_every_day(stand: Stand) -> None:
    """And again within the hour where it failed, which is counted."""
    failed = ("failures_total", {"system": "ledger", "step": "upkeep"})
    async with await psycopg.AsyncConnection.connect(stand.url) as connection:
        await connection.execute("SELECT count(*) FROM entries")
        task = asyncio.create_task(stand.upkeep.run())
        await stand.clock.wait_for_sleepers(1)
    assert failed in stand.telemetry.counted
    stand.clock.advance(3_600)
    await stand.clock.wait_for_sleepers(1)
    page = await stand.ledger.fetch_entries(EntryFilter())
    assert min(entry.booked_at for entry in page.entries) >= MONTHS[2].start
    stand.clock.advance_to(MONTHS[-1].after(1).start)
    await stand.clock.wait_for_sleepers(1)
    page = await stand.ledger.fetch_entries(EntryFilter())
    assert min(entry.booked_at for entry in page.entries) >= MONTHS[3].start
    task.cancel()
