"""Write everything in the ledger's database into a file, while gates go on: `bqgate ledger backup`.

Called by cli, in a thread. One transaction reads all tables, so that the file shows one moment: no entry without its
hold, no audit record without the one before it. JSON is taken as the text that is stored, so that nothing in it is
rewritten. Left out (NOT_BACKED_UP) is what belongs to running gates and not to the books: leases, and how far journals
and the mirror at BigQuery are, which a restored ledger must not believe.

What this asks of gates: nothing, but that no `bqgate migrate` runs meanwhile, which would wait for its end and keep the
gates waiting with it. On SQLite the write-ahead log grows while it runs, and shrinks again afterwards.
"""

from collections.abc import Callable, Iterator
from typing import IO

import sqlalchemy as sa

from bqgate.ledger.backup_file import BackupHeader, BackupWriter, Row, TableSum
from bqgate.ledger.migrate import check_revision_now, read_revision
from bqgate.ledger.mirror_schema import mirror, mirror_queue
from bqgate.ledger.one_transaction import one_transaction
from bqgate.ledger.registry_schema import registry_revision
from bqgate.ledger.schema import METADATA

# How long one question may take: whole tables are counted.
PATIENCE_S = 3_600.0
NOT_BACKED_UP = frozenset({"leases", "journal_positions", "ledger_identity", mirror.name, mirror_queue.name})
_ROWS_AT_ONCE = 1_000


def backed_up_tables() -> list[sa.Table]:
    """The tables in the order in which they are written and restored; the registry's revision comes first."""
    assert registry_revision.metadata is METADATA
    return sorted(
        (table for name, table in METADATA.tables.items() if name not in NOT_BACKED_UP), key=lambda table: table.name
    )


def write_backup(
    url: str, file: IO[bytes], *, made_at: str, on_rows: Callable[[int, int], None] | None = None
) -> dict[str, TableSum]:
    """Write a backup of a ledger whose tables are of this version; what each table added up to.

    Args:
        url: of the ledger.
        file: an open one, written from where it stands.
        made_at: the moment, for whoever reads the file.
        on_rows: is told how many rows were written, and of how many.

    Raises:
        LedgerUnavailable: the database did not answer.
        BackupUnusable: the file cannot be written.
    """
    check_revision_now(url)
    tables = backed_up_tables()
    with one_transaction(url, timeout_s=PATIENCE_S, may_write=False) as connection:
        revision = read_revision(connection)
        assert revision is not None, "it was there a moment ago"
        total = sum(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in tables)
        writer = BackupWriter(file, BackupHeader(revision, made_at, connection.dialect.name))
        written = 0

        def told(rows: Iterator[Row]) -> Iterator[Row]:
            nonlocal written
            for row in rows:
                yield row
                written += 1
                if on_rows is not None and written % _ROWS_AT_ONCE == 0:
                    on_rows(written, total)

        sums = {
            table.name: writer.write_table(
                table.name, [column.name for column in table.columns], told(read_rows(connection, table))
            )
            for table in tables
        }
        writer.finish()
    if on_rows is not None:
        on_rows(written, total)
    return sums


def read_rows(connection: sa.Connection, table: sa.Table, columns: tuple[str, ...] | None = None) -> Iterator[Row]:
    """All rows of a table, some at a time, with their JSON as the text that is stored."""
    wanted = [table.c[name] for name in columns] if columns is not None else list(table.columns)
    as_kept = [sa.cast(each, sa.Text) if isinstance(each.type, sa.JSON) else each for each in wanted]
    streaming = connection.execution_options(yield_per=_ROWS_AT_ONCE)
    for row in streaming.execute(sa.select(*as_kept)):
        yield tuple(row)
