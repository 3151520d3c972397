"""Tests of bqgate.ledger.partitions and of keys: one job is one charge, whichever month it was booked in."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from bqgate.clock import SystemClock
from bqgate.domain.entry import Booking, Entry, EntryKind
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger
from bqgate.ledger.check_books import check_books
from bqgate.ledger.partitions import Month
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START, ManualClock

LOST_KEY = "entries whose key is gone, so that they may be booked again"
LATER = START + timedelta(days=40)


def tables_of(url: str) -> dict[str, int]:
    """The partitions that have entries, and how many."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tableoid::regclass::text, count(*) FROM entries GROUP BY 1").fetchall()
    return dict(rows)


def test_a_month_knows_its_bounds_and_its_table() -> None:
    """Months are UTC's, over the new year too."""
    december = Month.of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert (december.table, december.after(1).table) == ("entries_2026_12", "entries_2027_01")
    assert (december.start, december.end) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (make_entry("other", job=JobRef("acme-prod", "j", None), booked_at=LATER), Booking.JOB_ALREADY_BOOKED),
        (make_entry("other", job=JobRef("acme-prod", "j", "eu"), booked_at=LATER), Booking.BOOKED),
        (make_entry("h", booked_at=LATER), Booking.HOLD_ALREADY_BOOKED),
        (
            make_entry("other", kind=EntryKind.ADJUSTMENT, job=JobRef("acme-prod", "j", "US"), booked_at=LATER),
            Booking.BOOKED,
        ),
    ],
)
async def test_what_is_one_is_one_in_any_month(postgres_url: str, second: Entry, expected: Booking) -> None:
    """By its id, its hold and its job, though the two would lie in different partitions."""
    ledger = await SqlLedger.open(postgres_url, ManualClock())
    assert await ledger.book(make_entry("h", job=JobRef("acme-prod", "j", "US"))) is Booking.BOOKED
    assert await ledger.book(second) is expected
    await ledger.close()
    count = 2 if expected is Booking.BOOKED else 1
    assert sum(tables_of(postgres_url).values()) == count


async def test_two_gates_that_book_one_job_book_it_once(postgres_url: str) -> None:
    """At the same moment, over many jobs, in different months; and nobody's booking fails."""
    gates = [await SqlLedger.open(postgres_url, ManualClock()) for _ in range(2)]
    charges = [
        [
            make_entry(f"h{gate}-{number}", job=JobRef("acme-prod", f"j{number}", "US"), booked_at=booked_at)
            for number in range(200)
        ]
        for gate, booked_at in enumerate((START, LATER))
    ]
    booked = await asyncio.gather(
        *(gate.book(entry) for gate, entries in zip(gates, charges, strict=True) for entry in entries)
    )
    for gate in gates:
        await gate.close()
    assert booked.count(Booking.BOOKED) == booked.count(Booking.JOB_ALREADY_BOOKED) == 200
    assert await check_books(postgres_url) == ()


async def test_a_lost_key_is_told(postgres_url: str) -> None:
    """An entry without its key might be booked again."""
    ledger = await SqlLedger.open(postgres_url, ManualClock())
    await ledger.book(make_entry("h"))
    await ledger.close()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DELETE FROM entry_keys")
    (fault,) = await check_books(postgres_url)
    assert (fault.what, fault.examples) == (LOST_KEY, ("entry-of-h",))


@pytest.mark.parametrize("statement", ["UPDATE {} SET cost_nanos = 0", "DELETE FROM {}", "TRUNCATE {}"])
async def test_a_month_that_is_named_directly_is_append_only(postgres_url: str, statement: str) -> None:
    """As the table as a whole is; and a month without its guard is told."""
    this_month = Month.of(SystemClock().now()).table
    for table in (this_month, "entries_default"):
        with psycopg.connect(postgres_url) as connection, pytest.raises(psycopg.Error, match="append-only"):
            connection.execute(statement.format(table).encode())
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"DROP TRIGGER entries_no_change ON {this_month}".encode())
    (fault,) = await check_books(postgres_url)
    assert fault.examples == (this_month,)


async def test_what_fits_no_month_is_booked_all_the_same(postgres_url: str) -> None:
    """The net takes it; nobody's booking waits for a partition to be made."""
    ledger = await SqlLedger.open(postgres_url, ManualClock())
    assert await ledger.book(make_entry("h", booked_at=datetime(2040, 1, 1, tzinfo=UTC))) is Booking.BOOKED
    await ledger.close()
    assert tables_of(postgres_url) == {"entries_default": 1}
