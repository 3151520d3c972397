"""Tests of backup and restore: every row, from either database into either, or nothing at all."""

import asyncio
import gzip
import io
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger import SqlLedger, SqlRegistry, migrate
from bqgate.ledger.backup import NOT_BACKED_UP, backed_up_tables, write_backup
from bqgate.ledger.backup_file import BackupHeader, BackupReader, BackupUnusable, BackupWriter, TableStart, TableSum
from bqgate.ledger.connections import read_url
from bqgate.ledger.restore import restore_backup
from bqgate.ledger.schema import METADATA
from tests.support.full_ledger import ODD_LABELS, fill_ledger, stored_rows
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START, ManualClock
from tests.support.registries import make_event, tamper

MADE_AT = "2026-11-24T12:00:00+00:00"


def back_up(url: str, path: Path) -> dict[str, TableSum]:
    with path.open("wb") as file:
        return write_backup(url, file, made_at=MADE_AT)


@pytest.fixture(params=["sqlite", "postgresql"])
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database to restore into: a file that is not there yet, or PostgreSQL's with its tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'other.db'}"
    return str(request.getfixturevalue("other_postgres_url"))


def empty(url: str) -> None:
    """A PostgreSQL ledger as after its migration, the guards of its append-only tables put aside."""
    tamper(url, "ALTER TABLE entries DISABLE TRIGGER ALL", "DELETE FROM entries", "DELETE FROM registry_revision")
    tamper(url, "DELETE FROM spend_hours", "DELETE FROM spend_days", "DELETE FROM entry_keys")
    tamper(url, "INSERT INTO registry_revision (id, revision) VALUES (1, 0)")


def of_books(rows: dict[str, set[tuple[Any, ...]]]) -> dict[str, set[tuple[Any, ...]]]:
    return {name: found for name, found in rows.items() if name not in NOT_BACKED_UP}


async def test_a_restored_ledger_is_the_one_that_was_backed_up(ledger_url: str, other_url: str, tmp_path: Path) -> None:
    """Every row of every table, from each database into each, with its JSON word for word; the audit chain verifies."""
    await fill_ledger(ledger_url)
    before = of_books(stored_rows(ledger_url))
    empty = {name for name, rows in before.items() if not rows}
    assert empty <= {"price_lists", "retention", "sweep_marks", "sweep_pending"}
    back_up(ledger_url, tmp_path / "backup")
    header, sums = restore_backup(other_url, tmp_path / "backup")
    assert header.made_at == MADE_AT
    assert {name: each.rows for name, each in sums.items()} == {name: len(rows) for name, rows in before.items()}
    assert of_books(stored_rows(other_url)) == before
    registry = await SqlRegistry.open(other_url)
    verdict = await registry.verify_audit()
    assert (verdict.records, verdict.broken) == (5, None)
    await registry.close()


async def test_a_backup_of_what_was_restored_adds_up_to_the_same(
    ledger_url: str, other_url: str, tmp_path: Path
) -> None:
    """The sums that the command prints are the same for the same rows in whichever database."""
    await fill_ledger(ledger_url)
    first = back_up(ledger_url, tmp_path / "backup")
    restore_backup(other_url, tmp_path / "backup")
    assert write_backup(other_url, io.BytesIO(), made_at="later") == first


async def test_a_restored_ledger_goes_on(ledger_url: str, other_url: str, tmp_path: Path) -> None:
    """Numbers go on behind the last one, repeats are known, and what is append-only still is."""
    await fill_ledger(ledger_url)
    back_up(ledger_url, tmp_path / "backup")
    restore_backup(other_url, tmp_path / "backup")
    ledger, registry = await SqlLedger.open(other_url, ManualClock()), await SqlRegistry.open(other_url)
    event = BreakerEvent("acme", Period.DAY, "2026-11-25", START, BreakerEventKind.TRIPPED, "ann")
    await ledger.record_breaker_event(event)
    assert (await ledger.book(make_entry("charged"))).value == "hold_already_booked"
    await ledger.book(make_entry("open"))
    records = await registry.append_audit([make_event()])
    assert records[0].seq == 6
    assert (await registry.verify_audit()).broken is None
    await registry.close()
    await ledger.close()
    engine = sa.create_engine(read_url(other_url, is_async=False), poolclass=sa.NullPool)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT max(seq) FROM breaker_events").scalar_one() == 3
    for table in ("entries", "audit", "breaker_events"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM {table}")
    engine.dispose()


async def test_a_backup_shows_one_moment(ledger_url: str, tmp_path: Path) -> None:
    """What gates write while it is taken is not in it: no entry whose hold it has as open."""
    await fill_ledger(ledger_url)
    ledger = await SqlLedger.open(ledger_url, ManualClock())
    await asyncio.gather(*(ledger.open_hold(make_hold(f"h{number:04}")) for number in range(1_500)))
    before = of_books(stored_rows(ledger_url))
    loop, is_written = asyncio.get_running_loop(), threading.Event()

    def write_meanwhile(_written: int, _total: int) -> None:
        if not is_written.is_set():
            asyncio.run_coroutine_threadsafe(ledger.book(make_entry("open")), loop).result(10)
            is_written.set()

    path = tmp_path / "backup"
    with path.open("wb") as file:
        await asyncio.to_thread(write_backup, ledger_url, file, made_at=MADE_AT, on_rows=write_meanwhile)
    await ledger.close()
    assert is_written.is_set()
    counts = [item.rows for item in BackupReader(path).read() if isinstance(item, TableSum)]
    names = [item.name for item in BackupReader(path).read() if isinstance(item, TableStart)]
    assert dict(zip(names, counts, strict=True)) == {name: len(rows) for name, rows in before.items()}


def test_every_table_is_backed_up_or_said_not_to_be() -> None:
    """A table that a migration adds is in the backup without anybody thinking of it."""
    assert {table.name for table in backed_up_tables()} | NOT_BACKED_UP == set(METADATA.tables)
    assert NOT_BACKED_UP <= set(METADATA.tables)


def cut(data: bytes) -> bytes:
    return data[:-9]


def cut_in_the_middle(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _text(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda data: gzip.compress(b"".join(change(gzip.decompress(data).splitlines(keepends=True))))


def change_a_cost(lines: list[bytes]) -> list[bytes]:
    assert any(b"-699999999" in line for line in lines)
    return [line.replace(b"-699999999", b"-699999998") for line in lines]


def leave_out_a_row(lines: list[bytes]) -> list[bytes]:
    at = next(number for number, line in enumerate(lines) if b'"correction"' in line)
    return lines[:at] + lines[at + 1 :]


def leave_out_the_end(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def leave_out_a_table(lines: list[bytes]) -> list[bytes]:
    start = next(number for number, line in enumerate(lines) if line.startswith(b'{"table":"keys"'))
    end = next(number for number, line in enumerate(lines) if line.startswith(b'{"end":"keys"'))
    return lines[:start] + lines[end + 1 :]


def add_behind_the_end(lines: list[bytes]) -> list[bytes]:
    return [*lines, b"{}\n"]


def other_version(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]]


DAMAGES = [
    cut, cut_in_the_middle, flip, lambda _: b"", lambda _: b"no backup", lambda _: gzip.compress(b"{}\n"),
    lambda _: gzip.compress(b"\xff\n"), lambda _: gzip.compress(b"[" * 100_000 + b"\n"),
    *map(_text, [change_a_cost, leave_out_a_row, leave_out_the_end, leave_out_a_table, add_behind_the_end]),
    _text(other_version), _text(lambda lines: lines[::-1]), _text(lambda lines: [*lines[:3], b"\n", *lines[3:]]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(DAMAGES)))
async def test_a_damaged_file_is_refused_before_anything_is_written(tmp_path: Path, number: int) -> None:
    """Cut, changed, something missing or added, or no backup at all: refused, and no database is made."""
    url, path, other = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "backup", tmp_path / "other.db"
    await fill_ledger(url)
    back_up(url, path)
    damaged = DAMAGES[number](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(BackupUnusable):
        restore_backup(f"sqlite:///{other}", path)
    assert not other.exists()


async def test_a_database_with_rows_is_not_restored_into(ledger_url: str, tmp_path: Path) -> None:
    """It stays as it is."""
    await fill_ledger(ledger_url)
    before = stored_rows(ledger_url)
    back_up(ledger_url, tmp_path / "backup")
    with pytest.raises(BackupUnusable, match="is not empty"):
        restore_backup(ledger_url, tmp_path / "backup")
    assert stored_rows(ledger_url) == before


async def test_a_row_that_does_not_fit_takes_back_all_others(other_url: str, tmp_path: Path) -> None:
    """A file that is whole, with a key that lacks what a key has: nothing of it is kept."""
    path = tmp_path / "backup"
    with path.open("wb") as file:
        writer = BackupWriter(file, BackupHeader("0009", MADE_AT, "sqlite"))
        writer.write_table("sweep_marks", ["project_id", "region", "swept_until"], iter([("a", "", 1), ("b", "", 1)]))
        writer.write_table("keys", ["id"], iter([("k",)]))
        writer.finish()
    await migrate(other_url)
    before = stored_rows(other_url)
    with pytest.raises(BackupUnusable, match="A row of keys does not fit"):
        restore_backup(other_url, path)
    assert stored_rows(other_url) == before


# What v0004 had not: the columns and tables that later versions added.
YOUNGER = {
    "holds": {"labels", "prices_id", "priced_as", "account"},
    "entries": {"placed_at", "origin", "adjusts", "reservation", "edition", "prices_id", "ended_at"},
    "price_lists": None,
    "sweep_marks": None,
    "sweep_pending": None,
}


async def test_a_backup_of_fewer_columns_is_restored(other_url: str, ledger_url: str, tmp_path: Path) -> None:
    """A file of an older version: what it has not is empty, as in rows that were there when the columns came."""
    await fill_ledger(ledger_url)
    path, old = tmp_path / "backup", tmp_path / "old"
    back_up(ledger_url, path)
    _without(path, old, revision="0004", younger=YOUNGER)
    restore_backup(other_url, old)
    ledger = await SqlLedger.open(other_url, ManualClock())
    assert await ledger.fetch_entry("charged") == make_entry("charged", labels=ODD_LABELS)
    assert await ledger.fetch_open_holds() == (make_hold("open"),)
    await ledger.close()


def _without(path: Path, old: Path, *, revision: str, younger: Mapping[str, set[str] | None]) -> None:
    """The backup as another version would have written it."""
    rows: dict[TableStart, list[Any]] = {}
    start = TableStart("", ())
    for item in BackupReader(path).read():
        if isinstance(item, TableStart):
            start = item
            rows[start] = []
        elif not isinstance(item, TableSum):
            rows[start].append(item)
    with old.open("wb") as file:
        writer = BackupWriter(file, BackupHeader(revision, MADE_AT, "sqlite"))
        for table, found in rows.items():
            gone = younger.get(table.name, set())
            if gone is None:
                continue
            kept = [at for at, name in enumerate(table.columns) if name not in gone]
            writer.write_table(
                table.name, [table.columns[at] for at in kept], iter([[row[at] for at in kept] for row in found])
            )
        writer.finish()


async def test_a_backup_of_a_later_version_is_refused(ledger_url: str, other_url: str, tmp_path: Path) -> None:
    """Tables that this version does not know are not guessed at."""
    await fill_ledger(ledger_url)
    back_up(ledger_url, tmp_path / "backup")
    _without(tmp_path / "backup", tmp_path / "later", revision="9999", younger={})
    with pytest.raises(BackupUnusable, match="later bqgate"):
        restore_backup(other_url, tmp_path / "later")


async def test_postgresql_without_tables_is_told_to_migrate(tmp_path: Path, empty_postgres_url: str) -> None:
    """As everywhere, the tables of PostgreSQL are made by `bqgate migrate`."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await fill_ledger(url)
    back_up(url, tmp_path / "backup")
    with pytest.raises(LedgerUnavailable) as refused:
        restore_backup(empty_postgres_url, tmp_path / "backup")
    assert "bqgate migrate" in refused.value.remedy


async def test_what_postgresql_cannot_keep_is_said(tmp_path: Path, postgres_url: str) -> None:
    """SQLite keeps a text with a zero byte, PostgreSQL does not: the restore says so and does nothing."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = await SqlLedger.open(url, ManualClock())
    await ledger.open_hold(make_hold("h"))
    await ledger.close()
    tamper(url, "UPDATE holds SET workload = 'a' || char(0) || 'b'")  # as an earlier version wrote it
    back_up(url, tmp_path / "backup")
    with pytest.raises(BackupUnusable, match="zero byte"):
        restore_backup(postgres_url, tmp_path / "backup")
    restore_backup(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "backup")
    assert stored_rows(f"sqlite:///{tmp_path / 'other.db'}")["holds"] == stored_rows(url)["holds"]


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
BIGINTS = st.integers(-(2**63), 2**63 - 1)


# Few examples of many rows: what takes time is the moving, three databases for each.
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(TEXTS, st.none() | TEXTS, BIGINTS, st.none() | BIGINTS, st.booleans(), JSON), min_size=8, max_size=24
    )
)
async def test_odd_values_come_back(tmp_path: Path, postgres_url: str, rows: Any) -> None:
    """Any text, number, NULL and JSON goes from SQLite to PostgreSQL and back to SQLite unchanged."""
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    first, last = f"sqlite:///{folder / 'first.db'}", f"sqlite:///{folder / 'last.db'}"
    await migrate(first)
    await asyncio.to_thread(_put_entries, first, rows)
    before = stored_rows(first)
    back_up(first, folder / "one")
    empty(postgres_url)
    restore_backup(postgres_url, folder / "one")
    back_up(postgres_url, folder / "two")
    restore_backup(last, folder / "two")
    assert stored_rows(last) == before


def _put_entries(url: str, rows: Any) -> None:
    """Entries of which every column has something odd."""
    engine = sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for number, (text, maybe, count, maybe_count, flag, document) in enumerate(rows):
            values = {
                "id": f"{number}{text}", "kind": "refusal", "customer": text, "principal": text, "project_id": text,
                "booked_at": count, "outcome": text, "cost_nanos": count, "hold_id": None, "hold_nanos": count,
                "workload": maybe, "decision": text, "estimate_bytes": maybe_count, "estimate_nanos": count,
                "bytes_processed": count, "bytes_billed": count, "slot_ms": count, "statement_type": text,
                "cache_hit": flag, "labels": document,
            }  # fmt: skip
            connection.execute(sa.insert(METADATA.tables["entries"]), values)
    engine.dispose()


def test_the_format_is_readable_by_others(tmp_path: Path) -> None:
    """A file is gzip around lines of JSON, as the module says."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    asyncio.run(fill_ledger(url))
    back_up(url, tmp_path / "backup")
    lines = [json.loads(line) for line in gzip.decompress((tmp_path / "backup").read_bytes()).splitlines()]
    assert lines[0]["format"] == "bqgate ledger backup"
    assert lines[-1]["end"] == "backup"
    assert lines[-1]["rows"] == sum(1 for line in lines if isinstance(line, list))
