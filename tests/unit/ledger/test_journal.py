"""Tests of bqgate.ledger.journal: what is posted is in the database in the end, once, whatever dies or is away."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

import bqgate
from bqgate.domain.entry import Booking, EntryFilter, EntryKind
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.job import JobRef
from bqgate.domain.units import MIB
from bqgate.ledger import JournalPlace, SqlLedger, migrate
from bqgate.ledger.connections import read_url
from bqgate.ledger.journal import journal as journal_module
from bqgate.ledger.journal.journal_file import JournalFile, files_in, head_of
from bqgate.ledger.journal.record import HEAD, record_of
from bqgate.ledger.writes import Write, WriteKind, book, open_hold
from bqgate.ports.turns import let_others_run
from tests.support.gate_stand import ListTelemetry
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START, ManualClock
from tests.support.redis_server import wait_until

# Opens holds and books every second one as fast as it can, and says which, until it is killed.
WRITER = """
import asyncio, sys
from pathlib import Path
from bqgate.ledger import JournalPlace, SqlLedger
from bqgate.ports.turns import let_others_run
from tests.support.gate_stand import ListTelemetry
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock

async def main():
    place = JournalPlace(Path(sys.argv[2]), 2**30, ListTelemetry())
    ledger = await SqlLedger.open(sys.argv[1], ManualClock(), journal=place)
    booking = set()
    for number in range(10**6):
        name = f"h{number}"
        await ledger.open_hold(make_hold(name))
        if number % 2:
            task = asyncio.create_task(ledger.book(make_entry(name)))
            booking.add(task)
            task.add_done_callback(booking.discard)
        await asyncio.sleep(0)
        print("booked" if number % 2 else "opened", name, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def telemetry() -> ListTelemetry:
    return ListTelemetry()


@pytest.fixture
def place(tmp_path: Path, telemetry: ListTelemetry) -> JournalPlace:
    return JournalPlace(tmp_path / "journal", 64 * MIB, telemetry)


@pytest.fixture
async def journaled(ledger_url: str, place: JournalPlace) -> AsyncIterator[SqlLedger]:
    """A ledger on each database, with a journal before it."""
    opened = await SqlLedger.open(ledger_url, ManualClock(), timeout_s=5, journal=place)
    yield opened
    await opened.close()


FULL = "The ledger's journal is full: its database has been away for too long."


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    async with asyncio.timeout(20):
        await asyncio.to_thread(wait_until, is_so, "the journal did not get there")


def do(url: str, statement: str) -> None:
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def rows_of(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


async def ledger_id_of(url: str) -> str:
    """The name of a ledger, which it has from here on."""
    if not url.startswith("postgresql"):
        await migrate(url)
    do(url, f"INSERT INTO ledger_identity (seq, id) VALUES (1, '{'0' * 32}') ON CONFLICT DO NOTHING")
    ((ledger_id,),) = rows_of(url, "SELECT id FROM ledger_identity")
    return str(ledger_id)


async def left_behind(place: JournalPlace, url: str, *writes: Write) -> Path:
    """The journal of a process that is gone."""
    place.folder.mkdir(exist_ok=True)
    file = JournalFile.create(place.folder, await ledger_id_of(url))
    for write in writes:
        file.append(record_of(write))
    file.close()
    return file.path


async def holds_and_entries(ledger: SqlLedger) -> tuple[set[str], set[str | None]]:
    entries = (await ledger.fetch_entries(EntryFilter(page_size=10**6))).entries
    return {hold.id for hold in await ledger.fetch_open_holds()}, {entry.hold_id for entry in entries}


async def test_what_was_posted_is_read(journaled: SqlLedger, place: JournalPlace) -> None:
    """Whoever asks this ledger meets what it was told before; a booking has its outcome."""
    await journaled.open_hold(make_hold("a"))
    await journaled.open_hold(make_hold("b"))
    await journaled.attach_job("b", JobRef("p", "j", "US"))
    assert await journaled.fetch_open_hold("a") == make_hold("a")
    assert await journaled.fetch_open_hold("b") == make_hold("b", job=JobRef("p", "j", "US"))
    assert await journaled.book(make_entry("a")) is Booking.BOOKED
    assert await journaled.book(make_entry("a", id="again")) is Booking.HOLD_ALREADY_BOOKED
    assert await journaled.book(make_entry("b", job=make_entry("a").job)) is Booking.JOB_ALREADY_BOOKED
    assert await holds_and_entries(journaled) == (set(), {"a"})
    assert len(files_in(place.folder)) == 1


async def test_a_stop_leaves_nothing(ledger_url: str, place: JournalPlace) -> None:
    """A ledger that is closed has written everything, and its file and its row are gone."""
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    for number in range(500):
        await ledger.open_hold(make_hold(f"h{number}"))
    await ledger.close()
    assert list(place.folder.iterdir()) == []
    assert rows_of(ledger_url, "SELECT * FROM journal_positions") == []
    assert rows_of(ledger_url, "SELECT count(*) FROM holds") == [(500,)]


async def test_a_killed_process_loses_nothing(tmp_path: Path, place: JournalPlace) -> None:
    """After kill -9 all that was acknowledged is there once another process has taken the journal over, and once."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        url,
        str(place.folder),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(bqgate.__file__).parents[1],
    )
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(2_000)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    words = [line.decode().split() for line in said if line.endswith(b"\n")]
    opened, booked = ({word[1] for word in words if word[0] == kind} for kind in ("opened", "booked"))
    assert len(files_in(place.folder)) == 1

    ledger = await SqlLedger.open(url, ManualClock(), journal=place)
    open_now, entries = await holds_and_entries(ledger)
    assert booked <= entries
    assert opened <= open_now
    assert not open_now & entries
    assert len(files_in(place.folder)) == 1  # its own; the other is done
    await ledger.close()
    assert rows_of(url, "SELECT count(*) FROM entries") == [(len(entries),)]


async def test_queries_go_on_while_the_database_is_away(
    journaled: SqlLedger, ledger_url: str, telemetry: ListTelemetry
) -> None:
    """Nobody is refused: holds, jobs, refusals and ends are taken, and are in the database once that is back."""
    do(ledger_url, "ALTER TABLE holds RENAME TO holds_away")
    for number in range(50):
        await journaled.open_hold(make_hold(f"h{number}"))
    assert await journaled.book(make_entry(None, id="no", job=None, kind=EntryKind.REFUSAL)) is Booking.BOOKED
    await journaled.close_hold("h0")
    booking = asyncio.create_task(journaled.book(make_entry("h1")))
    mark = journaled.mark()
    await until(lambda: bool(telemetry.notes))
    assert not journaled.is_written(mark)
    assert not booking.done()
    do(ledger_url, "ALTER TABLE holds_away RENAME TO holds")
    assert await booking is Booking.BOOKED
    assert journaled.is_written(mark)
    open_now, entries = await holds_and_entries(journaled)
    assert open_now == {f"h{number}" for number in range(2, 50)}
    assert entries == {None, "h1"}
    assert [event for event, _ in telemetry.notes] == ["journal_waits"]


async def test_a_booking_that_gave_up_waiting_is_there_once(ledger_url: str, place: JournalPlace) -> None:
    """Who comes again after LedgerUnavailable hears what became of the first try; nothing is appended twice."""
    ledger = await SqlLedger.open(ledger_url, ManualClock(), timeout_s=0.2, journal=place)
    await ledger.open_hold(make_hold("h"))
    assert await ledger.fetch_open_hold("h")
    do(ledger_url, "ALTER TABLE holds RENAME TO holds_away")
    for _ in range(3):
        with pytest.raises(LedgerUnavailable):
            await ledger.book(make_entry("h"))
    assert ledger.mark() == 2
    do(ledger_url, "ALTER TABLE holds_away RENAME TO holds")
    booking = None
    while booking is None:
        try:
            booking = await ledger.book(make_entry("h", id="another"))
        except LedgerUnavailable:
            continue
    assert booking is Booking.BOOKED
    assert ledger.mark() == 2
    await ledger.close()


async def test_one_of_two_bookings_of_a_hold_is_the_one(journaled: SqlLedger, ledger_url: str) -> None:
    """Two who book a hold at once, at other costs, hear whose entry is written: the other has to look."""
    await journaled.open_hold(make_hold("h"))
    bookings = [journaled.book(make_entry("h", id=f"e{cost}", cost_nanos=cost)) for cost in (1, 2, 1)]
    outcomes = await asyncio.gather(*bookings)
    assert outcomes == [Booking.BOOKED, Booking.HOLD_ALREADY_BOOKED, Booking.HOLD_ALREADY_BOOKED]
    assert rows_of(ledger_url, "SELECT id, cost_nanos FROM entries") == [("e1", 1)]


async def test_a_full_journal_refuses(ledger_url: str, tmp_path: Path) -> None:
    """Past its bound the journal takes nothing, and says why; once the database is back it takes more."""
    place = JournalPlace(tmp_path / "journal", 100_000, ListTelemetry())
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    do(ledger_url, "ALTER TABLE holds RENAME TO holds_away")
    holds = (ledger.open_hold(make_hold(f"h{number}")) for number in range(1_000))
    results = await asyncio.gather(*holds, return_exceptions=True)
    taken = results.count(None)
    assert {str(result) for result in results[taken:]} == {FULL}
    do(ledger_url, "ALTER TABLE holds_away RENAME TO holds")
    assert len(await ledger.fetch_open_holds()) == taken > 50
    await ledger.open_hold(make_hold("later"))
    await ledger.close()


async def test_a_restart_replays_what_is_done_already(ledger_url: str, place: JournalPlace) -> None:
    """A journal of which nobody knows how far it is done changes nothing of what the database has."""
    await left_behind(
        place, ledger_url, open_hold(make_hold("a")), open_hold(make_hold("b")), book(make_entry("a"), START)
    )
    plain = await SqlLedger.open(ledger_url, ManualClock())
    await plain.open_hold(make_hold("a"))
    await plain.open_hold(make_hold("b"))
    await plain.book(make_entry("a"))
    await plain.close_hold("b")
    before = rows_of(ledger_url, "SELECT * FROM holds ORDER BY id"), rows_of(ledger_url, "SELECT * FROM entries")
    await plain.close()
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    assert before == (
        rows_of(ledger_url, "SELECT * FROM holds ORDER BY id"),
        rows_of(ledger_url, "SELECT * FROM entries"),
    )
    await ledger.close()


async def test_a_sibling_takes_over(
    journaled: SqlLedger, ledger_url: str, place: JournalPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of a process that dies beside this one is written by this one; that of one that lives is not."""
    monkeypatch.setattr("bqgate.ledger.journal.follower.LOOK_EVERY_S", 0.05)
    await journaled.open_hold(make_hold("own"))  # its thread looks at the clock anew
    lives = JournalFile.create(place.folder, await ledger_id_of(ledger_url))
    lives.append(record_of(open_hold(make_hold("of one that lives"))))
    await left_behind(place, ledger_url, open_hold(make_hold("of one that is gone")))
    await until(lambda: len(files_in(place.folder)) == 2)
    assert {hold.id for hold in await journaled.fetch_open_holds()} == {"own", "of one that is gone"}
    lives.close()
    await until(lambda: len(files_in(place.folder)) == 1)
    assert len(await journaled.fetch_open_holds()) == 3


async def test_a_sibling_takes_over_while_it_is_busy(
    journaled: SqlLedger, ledger_url: str, place: JournalPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that always has something to write looks for journals of those that are gone all the same."""
    monkeypatch.setattr("bqgate.ledger.journal.follower.LOOK_EVERY_S", 0.1)
    path = await left_behind(place, ledger_url, open_hold(make_hold("of one that is gone")))
    number = 0
    while path.exists():
        number += 1
        await journaled.open_hold(make_hold(f"h{number}"))
        await let_others_run()
    assert await journaled.fetch_open_hold("of one that is gone") is not None


async def test_another_ledgers_journal_is_left_alone(ledger_url: str, place: JournalPlace, tmp_path: Path) -> None:
    """A folder may hold journals of several ledgers: each takes over its own."""
    other = f"sqlite:///{tmp_path / 'other.db'}"
    await migrate(other)
    do(other, f"INSERT INTO ledger_identity (seq, id) VALUES (1, '{'1' * 32}')")
    path = await left_behind(place, other, open_hold(make_hold("not here")))
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    assert await ledger.fetch_open_holds() == ()
    assert path.exists()
    await ledger.close()
    theirs = await SqlLedger.open(other, ManualClock(), journal=place)
    assert {hold.id for hold in await theirs.fetch_open_holds()} == {"not here"}
    await theirs.close()


async def test_a_record_that_no_database_takes_is_set_aside(
    ledger_url: str, place: JournalPlace, telemetry: ListTelemetry
) -> None:
    """It stands in nobody's way, is kept beside the journal, and is told."""
    odd = open_hold(make_hold("odd"))
    odd = Write(odd.kind, {**odd.row, "amount_nanos": -1})
    writes = [open_hold(make_hold(f"h{number}")) for number in range(50)]
    path = await left_behind(place, ledger_url, *writes[:20], odd, Write(WriteKind.OPEN_HOLD, {}), *writes[20:])
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    assert {hold.id for hold in await ledger.fetch_open_holds()} == {f"h{number}" for number in range(50)}
    assert path.with_suffix(".refused").read_bytes() == record_of(odd) + record_of(Write(WriteKind.OPEN_HOLD, {}))
    assert not path.exists()
    assert [event for event, _ in telemetry.notes] == ["journal_record_refused"] * 2
    await ledger.close()


@pytest.mark.parametrize("damage", ["cut off", "changed", "of a later version"])
async def test_a_damaged_journal_is_kept(
    ledger_url: str, place: JournalPlace, telemetry: ListTelemetry, damage: str
) -> None:
    """What comes before the damage is written; the file stays under another name, and is told."""
    path = await left_behind(place, ledger_url, open_hold(make_hold("a")), open_hold(make_hold("b")))
    data = path.read_bytes()
    first = len(head_of("0" * 32)) + len(record_of(open_hold(make_hold("a"))))
    body = b'["foretell",{}]'
    later = HEAD.pack(len(body), zlib.crc32(body)) + body
    damaged = {"cut off": data[:-3], "changed": data[:-3] + b"???", "of a later version": data[:first] + later}
    path.write_bytes(damaged[damage])
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    assert {hold.id for hold in await ledger.fetch_open_holds()} == {"a"}
    assert not path.exists()
    assert path.with_suffix(".damaged").exists()
    assert [event for event, _ in telemetry.notes] == ["journal_damaged"]
    await ledger.close()


async def test_files_are_small_and_go(ledger_url: str, place: JournalPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has grown is followed by another one, in order, and is deleted once it is written."""
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 20_000)
    ledger = await SqlLedger.open(ledger_url, ManualClock(), journal=place)
    for number in range(200):
        await ledger.open_hold(make_hold(f"h{number}"))
        await ledger.close_hold(f"h{number}")
    assert await ledger.fetch_open_holds() == ()
    await until(lambda: len(files_in(place.folder)) == 1)
    assert rows_of(ledger_url, "SELECT count(*) FROM holds") == [(200,)]
    await ledger.close()


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, telemetry: ListTelemetry) -> None:
    """A gate that cannot keep a journal does not start, and says what to do."""
    (tmp_path / "file").touch()
    place = JournalPlace(tmp_path / "file" / "journal", MIB, telemetry)
    with pytest.raises(LedgerUnavailable, match="No journal can be kept") as refused:
        await SqlLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}", ManualClock(), journal=place)
    assert "ledger.journal_folder" in refused.value.remedy


async def test_what_no_database_takes_is_refused_at_once(journaled: SqlLedger) -> None:
    """Half a character, a NUL and a number of 70 bits never reach the journal."""
    for odd in (
        make_hold("h", customer="\ud800"),
        make_hold("h", workload="a\x00"),
        make_hold("h", amount_nanos=2**70),
    ):
        with pytest.raises(LedgerUnavailable, match="cannot write this"):
            await journaled.open_hold(odd)
    await journaled.open_hold(make_hold("h", workload="\\u0000"))
    assert await journaled.fetch_open_hold("h") == make_hold("h", workload="\\u0000")
