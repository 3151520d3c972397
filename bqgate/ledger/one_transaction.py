"""Open one transaction on a connection of its own, for what changes or reads a whole database.

Called by migrate, backup and restore, in a thread; a gate's own reads and writes go through connections. A transaction
that reads sees one snapshot, however long it takes and whatever gates write meanwhile: on SQLite by its write-ahead
log, on PostgreSQL as REPEATABLE READ. What leaves: a connection, and LedgerUnavailable for whatever the database says.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.causes import cause_of, remedy_of
from bqgate.ledger.connections import connect_args, prepare_sqlite, read_url
from bqgate.ledger.sqlite_files import existing_sqlite


@contextmanager
def one_transaction(url: str, *, timeout_s: float, may_write: bool = True) -> Iterator[sa.Connection]:
    """One transaction, committed at the end; without `may_write` no file of SQLite's is made and none is changed.

    Raises:
        LedgerUnavailable: the database did not answer, or refused; nothing was changed.
        ValueError: the URL is not one of SQLite or PostgreSQL.
    """
    parsed = read_url(url, is_async=False)
    is_kept = not may_write and parsed.get_backend_name() == "sqlite"
    opened = existing_sqlite(parsed) if is_kept else parsed
    try:
        with _engine(opened, timeout_s, may_write=may_write) as engine, engine.begin() as connection:
            yield connection
    except (SQLAlchemyError, OSError, ImportError) as error:
        said = f"The ledger's tables could not be read or changed: {cause_of(error)}."
        raise LedgerUnavailable(said, remedy=remedy_of(error, parsed)) from error


@contextmanager
def _engine(url: sa.URL, timeout_s: float, *, may_write: bool) -> Iterator[sa.Engine]:
    engine = sa.create_engine(
        url, connect_args=connect_args(url, timeout_s=timeout_s), poolclass=sa.NullPool, hide_parameters=True
    )
    if url.get_backend_name() != "sqlite":
        if not may_write:
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    elif may_write:
        prepare_sqlite(engine, begin="BEGIN IMMEDIATE")
    else:
        _begin_plainly(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def _begin_plainly(engine: sa.Engine) -> None:
    """Have reads begin a transaction, which sqlite3 by itself does for writes alone."""

    def leave_transactions_alone(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    sa.event.listen(engine, "connect", leave_transactions_alone)
    sa.event.listen(engine, "begin", begin)
