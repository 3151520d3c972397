"""Tests of bqgate.ledger.sql_ledger that only a real process, or a look at the tables, can make."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import sqlalchemy as sa

import bqgate
from bqgate.clock import SystemClock
from bqgate.domain.entry import Booking, EntryFilter, EntryKind
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger
from bqgate.ledger.connections import read_url
from bqgate.ledger.rows import to_micros
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock

# Eight callers open and book without end, and say on standard output what was acknowledged.
BOOKER = """
import asyncio, sys
from bqgate.ledger import SqlLedger
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock

async def call(ledger, caller):
    number = 0
    while True:
        hold_id = f"{caller}-{number}"
        await ledger.open_hold(make_hold(hold_id))
        print("opened", hold_id, flush=True)
        if number % 3:
            await ledger.book(make_entry(hold_id))
            print("booked", hold_id, flush=True)
        number += 1

async def main():
    ledger = await SqlLedger.open(sys.argv[1], ManualClock())
    await asyncio.gather(*(call(ledger, caller) for caller in range(8)))

asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Invariant 6: after kill -9 in the middle of booking every acknowledged hold and entry is there, and no halves."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BOOKER, url, stdout=asyncio.subprocess.PIPE, cwd=Path(bqgate.__file__).parents[1]
    )
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(400)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    words = [line.decode().split() for line in said if line.endswith(b"\n")]
    assert len(words) >= 400
    opened, booked = ({word[1] for word in words if word[0] == kind} for kind in ("opened", "booked"))

    ledger = await SqlLedger.open(url, ManualClock())
    open_now = {hold.id for hold in await ledger.fetch_open_holds()}
    entries = {entry.hold_id for entry in (await ledger.fetch_entries(EntryFilter(page_size=10**6))).entries}
    assert booked <= entries
    assert opened <= open_now | entries
    assert not open_now & entries
    await ledger.close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_how_a_hold_ended_is_kept(ledger: SqlLedger, ledger_url: str, ledger_clock: ManualClock) -> None:
    """A charge captures; a close, a covered job and anything that is no charge leave the hold void, with the moment."""
    for name in ("charged", "covered", "closed", "refused", "open"):
        await ledger.open_hold(make_hold(name))
    ledger_clock.advance(60)
    await ledger.book(make_entry("charged", job=JobRef("p", "j")))
    await ledger.book(make_entry("covered", job=JobRef("p", "j")))
    await ledger.book(make_entry("refused", kind=EntryKind.REFUSAL))
    await ledger.close_hold("closed")
    engine = sa.create_engine(read_url(ledger_url, is_async=False), poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, state, ended_at FROM holds").all()
    now = to_micros(ledger_clock.now())
    assert {tuple(row) for row in rows} == {
        ("charged", "captured", now),
        ("covered", "voided", now),
        ("refused", "voided", now),
        ("closed", "voided", now),
        ("open", "held", None),
    }


async def test_every_kind_of_write_shares_a_transaction(ledger: SqlLedger) -> None:
    """Opening, attaching, closing and booking at the same moment do what they would one after the other."""
    for name in "abcd":
        await ledger.open_hold(make_hold(name))
    job = JobRef("p", "j", "US")
    await asyncio.gather(
        ledger.book(make_entry("a")),
        ledger.open_hold(make_hold("e")),
        ledger.close_hold("b"),
        ledger.attach_job("c", job),
        ledger.book(make_entry("f")),
        ledger.open_hold(make_hold("g")),
    )
    assert {hold.id: hold.job for hold in await ledger.fetch_open_holds()} == {
        "c": job,
        "d": None,
        "e": None,
        "g": None,
    }


async def test_writes_on_one_hold_keep_their_order(ledger: SqlLedger) -> None:
    """Where a group has several writes on one hold they are done as they came."""
    job = JobRef("p", "j", "US")
    await asyncio.gather(
        ledger.open_hold(make_hold("before")),  # goes alone, so that the rest is one group
        ledger.book(make_entry("h", job=job)),
        ledger.open_hold(make_hold("h")),
        ledger.open_hold(make_hold("i")),
        ledger.close_hold("i"),
        ledger.open_hold(make_hold("k")),
        ledger.attach_job("k", job),
    )
    holds = {hold.id: hold.job for hold in await ledger.fetch_open_holds()}
    assert holds == {"before": None, "k": job}


async def test_two_ledgers_in_each_others_way_both_finish(postgres_url: str) -> None:
    """Groups that lock the same holds in opposite order end in a deadlock; every booking still has its outcome.

    Time is the system's: the database needs a second to see a deadlock, and who lost one waits before it goes again.
    """
    ledger, rival = [await SqlLedger.open(postgres_url, SystemClock()) for _ in range(2)]
    mine = [make_entry(f"h{number}", job=JobRef("p", f"j{number:03}")) for number in range(200)]
    theirs = [
        make_entry(f"h{number}", id=f"rival-{number}", job=JobRef("p", f"k{999 - number}")) for number in range(200)
    ]
    outcomes = await asyncio.gather(*map(ledger.book, mine), *map(rival.book, theirs))
    assert sorted(outcomes) == [Booking.BOOKED] * 200 + [Booking.HOLD_ALREADY_BOOKED] * 200
    await ledger.close()
    await rival.close()
