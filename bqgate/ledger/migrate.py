"""Bring a database to the tables of this version, from nothing or from an older one.

`migrate` is what `bqgate migrate` calls for PostgreSQL: there, tables are changed by a person or a deployment's step,
once, with rights that the gate itself need not have. SqlLedger.open calls it for SQLite, where the gate's own process
is all there is, and calls `check_revision` for PostgreSQL, which refuses a database that is behind or ahead.

It makes the next months' partitions too (partitions), for gates whose user may not.

Any number of starters may call at once: on PostgreSQL an advisory lock, on SQLite the write lock lets one work, and the
others find the work done. One transaction: a migration that fails leaves the tables as they were. Alembic keeps its
state in module globals, so within a process one thread at a time; it is loaded where tables are to be changed, because
that takes longer than to look, and longer than to make them all: a new file of SQLite's gets them in one go, from
migrations/new_sqlite.sql, which is what the migrations come to (tests/support/new_sqlite.py writes it). Errors:
LedgerUnavailable, ValueError for a bad URL.
"""

import asyncio
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.causes import NO_FOLDER
from bqgate.ledger.connections import read_url
from bqgate.ledger.one_transaction import one_transaction
from bqgate.ledger.partitions import MONTHS_AHEAD, fetch_this_month, make_months
from bqgate.ledger.sqlite_files import sqlite_file

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "ledger_revision"

# How long a starter waits for another one's migration. Changing a table of many rows takes its time.
_PATIENCE_S = 60.0
# Any number that nobody else in the database locks; these are the letters of "bqgate".
ADVISORY_LOCK = int.from_bytes(b"bqgate", "big")
_MIGRATIONS = Path(__file__).parent / "migrations"
NEW_SQLITE = _MIGRATIONS / "new_sqlite.sql"

_one_at_a_time = Lock()


async def migrate(url: str) -> None:
    """Create or upgrade the ledger's tables; nothing happens where they are up to date.

    Raises:
        LedgerUnavailable: the database did not answer, refused, or is of a later version; nothing was changed.
        ValueError: the URL is not one of SQLite or PostgreSQL.
    """
    await asyncio.to_thread(migrate_now, url)


async def check_revision(url: str, *, timeout_s: float) -> None:
    """Return when the tables are those of this version. Only reads: on SQLite no file is made and none is changed.

    Raises:
        LedgerUnavailable: they are not, or the database did not answer.
    """
    await asyncio.to_thread(check_revision_now, url, timeout_s)


def alembic_config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - see the module's docstring

    config = Config()
    config.set_main_option("script_location", _MIGRATIONS.as_posix().replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate_now(url: str) -> None:
    """The same, in this thread."""
    with _one_at_a_time, one_transaction(url, timeout_s=_PATIENCE_S) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        found = read_revision(connection)
        _refuse_later(found)
        if found is None and connection.dialect.name == "sqlite":
            for statement in NEW_SQLITE.read_text(encoding="utf-8").split("\n\n"):
                connection.exec_driver_sql(statement)
        elif found != head_revision():
            upgrade(connection)
        if connection.dialect.name == "postgresql":
            this_month = fetch_this_month(connection)
            make_months(connection, (this_month.after(each) for each in range(MONTHS_AHEAD + 1)))


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that are missing, on a connection of the caller's and in its transaction."""
    from alembic import command  # noqa: PLC0415 - see the module's docstring

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check_revision_now(url: str, timeout_s: float = _PATIENCE_S) -> None:
    """The same as check_revision, in this thread."""
    file = sqlite_file(read_url(url, is_async=False))
    if file is not None and not file.exists():
        made = "`bqgate serve` makes it, or `bqgate migrate`; is this the path that the gate uses?"
        remedy = made if file.parent.is_dir() else NO_FOLDER
        raise LedgerUnavailable(f"There is no ledger: {file} is not there.", remedy=remedy)
    with one_transaction(url, timeout_s=timeout_s, may_write=False) as connection:
        found = read_revision(connection)
    if found == head_revision():
        return
    if found is None:
        raise LedgerUnavailable(
            "There is no ledger: this database has no tables of bqgate.", remedy="Run `bqgate migrate` first."
        )
    _refuse_later(found)
    raise LedgerUnavailable(f"The ledger's tables are of version {found}.", remedy="Run `bqgate migrate` first.")


def read_revision(connection: sa.Connection) -> str | None:
    """Of which version the tables are; None: there are none."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a name of our own
    return found


def known_revisions() -> list[str]:
    """Every version of the tables that this one knows, the oldest first, by the names of their files: v0001_….py."""
    return [file.name[1:5] for file in sorted((_MIGRATIONS / "versions").glob("v*.py"))]


def head_revision() -> str:
    """The version of this one's tables."""
    return known_revisions()[-1]


def _refuse_later(found: str | None) -> None:
    """Refuse tables that this version knows nothing of."""
    if found is None or found in known_revisions():
        return
    raise LedgerUnavailable(
        f"The ledger's tables are of version {found}, made by a later bqgate than this one.",
        remedy="Install that version again, or name another database in ledger.url.",
    )
