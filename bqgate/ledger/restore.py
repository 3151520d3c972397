"""Fill an empty ledger from a backup, of either database: `bqgate ledger restore`.

Called by cli, in a thread. The file is read twice: once to its end, so that one that was cut or changed is refused
before anything is written, and once to write its rows. That is one transaction: it locks the tables, finds them empty,
inserts, reads all rows again, and commits only where they add up to what the file says. So a restore is whole and
equal, or nothing has happened.

A file of an older version has fewer columns, which stay empty, as in rows that were there when a migration added them.
No gate may run on the database meanwhile; on PostgreSQL it would wait, on SQLite too, until it gives up.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.backup import PATIENCE_S, backed_up_tables, read_rows
from bqgate.ledger.backup_file import (
    BackupHeader,
    BackupReader,
    BackupUnusable,
    Row,
    RowSum,
    TableStart,
    TableSum,
    row_line,
)
from bqgate.ledger.connections import read_url
from bqgate.ledger.migrate import ADVISORY_LOCK, head_revision, known_revisions, migrate_now, read_revision
from bqgate.ledger.one_transaction import one_transaction
from bqgate.ledger.partitions import fetch_this_month, make_months, months_of
from bqgate.ledger.registry_schema import registry_revision
from bqgate.ledger.rollup_schema import spend_days, spend_hours
from bqgate.ledger.schema import entries

_ROWS_AT_ONCE = 1_000
# A migration writes the one, triggers fill the others when entries are restored, which come first in a file. What the
# file has of them goes over that: sums of months that were dropped are in no entry.
_FILLED_BY_OTHERS = frozenset({registry_revision.name, spend_days.name, spend_hours.name})
_MIGRATE_FIRST = "Run `bqgate migrate` first."


def restore_backup(
    url: str, path: Path, *, on_rows: Callable[[str, int], None] | None = None
) -> tuple[BackupHeader, dict[str, TableSum]]:
    """Restore a file into a ledger that has this version's tables and nothing in them. SQLite's are made.

    Args:
        url: of the ledger.
        path: of the backup.
        on_rows: is told what is done ("reading", "writing", "comparing") and with how many rows so far.

    Returns:
        What the file says of itself, and what each table adds up to.

    Raises:
        LedgerUnavailable: the database did not answer, or its tables are of another version; nothing was written.
        BackupUnusable: the file is not whole or fits nowhere, or the database is not empty; nothing was written.
    """
    tell = on_rows or (lambda _what, _count: None)
    reader = BackupReader(path)
    _refuse_unknown(reader)
    for count, _ in enumerate(reader.read(), 1):
        if count % _ROWS_AT_ONCE == 0:
            tell("reading", count)
    if read_url(url, is_async=False).get_backend_name() == "sqlite":
        migrate_now(url)
    with one_transaction(url, timeout_s=PATIENCE_S) as connection:
        _lock(connection)
        _refuse_filled(connection)
        expected = _write(connection, reader, tell)
        _continue_sequences(connection)
        _compare(connection, expected, tell)
    return reader.header, {name: total for name, (_, total) in expected.items()}


def _refuse_unknown(reader: BackupReader) -> None:
    """Refuse a file of tables that this version does not know."""
    if reader.header.revision not in known_revisions():
        raise BackupUnusable(
            f"The backup is of tables of version {reader.header.revision}, made by a later bqgate than this one. "
            "Restore it with that version."
        )


def _lock(connection: sa.Connection) -> None:
    """Keep everybody else from writing until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    if read_revision(connection) != head_revision():
        raise LedgerUnavailable("The database does not have this version's tables.", remedy=_MIGRATE_FIRST)
    if connection.dialect.name == "postgresql":
        names = ", ".join(table.name for table in backed_up_tables())
        connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")


def _refuse_filled(connection: sa.Connection) -> None:
    for table in backed_up_tables():
        rows = sa.select(sa.literal(1)).select_from(table).limit(1)
        if table is registry_revision:
            rows = rows.where(registry_revision.c.revision != 0)
        if connection.execute(rows).first() is not None:
            raise BackupUnusable(
                f"The database is not empty: there are rows in {table.name}. Restore into a database of its own: a new "
                "file in ledger.url, or a new PostgreSQL database after `bqgate migrate`."
            )


def _write(
    connection: sa.Connection, reader: BackupReader, tell: Callable[[str, int], None]
) -> dict[str, tuple[tuple[str, ...], TableSum]]:
    """Insert all rows; what each table has to add up to, in which columns."""
    tables = {table.name: table for table in backed_up_tables()}
    expected: dict[str, tuple[tuple[str, ...], TableSum]] = {}
    start = TableStart("", ())
    waiting: list[Row] = []
    count = 0

    def flush() -> None:
        nonlocal count
        if waiting:
            if start.name == entries.name and connection.dialect.name == "postgresql":
                place = start.columns.index(entries.c.booked_at.name)
                booked_at = (int(row[place] or 0) for row in waiting)
                make_months(connection, months_of(booked_at, last=fetch_this_month(connection)))
            _insert(connection, tables[start.name], start.columns, waiting)
            count += len(waiting)
            waiting.clear()
            tell("writing", count)

    for item in reader.read():
        match item:
            case TableStart():
                start = item
                _check_known(start, tables)
                if start.name in _FILLED_BY_OTHERS:
                    connection.execute(sa.delete(tables[start.name]))
            case TableSum():
                flush()
                expected[start.name] = (start.columns, item)
            case _:
                waiting.append(item)
                if len(waiting) == _ROWS_AT_ONCE:
                    flush()
    return expected


def _check_known(start: TableStart, tables: dict[str, sa.Table]) -> None:
    table = tables.get(start.name)
    unknown = [] if table is None else [name for name in start.columns if name not in table.c]
    if table is None or unknown:
        what = start.name if table is None else f"{start.name}.{unknown[0]}"
        raise BackupUnusable(f"The backup has {what}, which this bqgate does not know. Restore it with a later one.")


def _insert(connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql and any(isinstance(value, str) and "\x00" in value for row in rows for value in row):
        raise BackupUnusable(f"A text in {table.name} has a zero byte, which PostgreSQL cannot keep. Use SQLite.")
    values: dict[str, Any] = {}
    for name in columns:
        value: sa.ColumnElement[Any] = sa.bindparam(name, type_=_kept_as(table.c[name]))
        is_json = isinstance(table.c[name].type, sa.JSON)
        values[name] = sa.cast(value, sa.JSON) if is_json and is_postgresql else value
    target = sa.table(table.name, *(sa.column(name, _kept_as(table.c[name])) for name in columns))
    try:
        connection.execute(sa.insert(target).values(values), [dict(zip(columns, row, strict=True)) for row in rows])
    except sa.exc.IntegrityError as error:
        raise BackupUnusable(f"A row of {table.name} does not fit its table: {type(error.orig).__name__}.") from error


def _kept_as(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    """JSON goes back as the text that it was, word for word."""
    return sa.Text() if isinstance(column.type, sa.JSON) else column.type


def _continue_sequences(connection: sa.Connection) -> None:
    """Have PostgreSQL number the next row behind those that were restored. SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in backed_up_tables():
        counted = table.autoincrement_column
        if counted is None:
            continue
        last = sa.select(sa.func.max(counted)).scalar_subquery()
        sequence = sa.func.pg_get_serial_sequence(table.name, counted.name)
        connection.execute(sa.select(sa.func.setval(sequence, last)).where(last.is_not(None)))


def _compare(
    connection: sa.Connection,
    expected: dict[str, tuple[tuple[str, ...], TableSum]],
    tell: Callable[[str, int], None],
) -> None:
    """Read everything again, and take it all back where it does not add up to the same."""
    tables = {table.name: table for table in backed_up_tables()}
    count = 0
    for name, (columns, total) in expected.items():
        added = RowSum()
        for row in read_rows(connection, tables[name], columns):
            added.add(row_line(row))
            count += 1
            if count % _ROWS_AT_ONCE == 0:
                tell("comparing", count)
        if added.total != total:
            raise BackupUnusable(f"What the database kept of {name} is not what the backup has. Nothing was restored.")
