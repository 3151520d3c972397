"""Tests of bqgate.ledger.migrate on both databases."""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import bqgate
from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger import SqlLedger, SqlRegistry, migrate
from bqgate.ledger.connections import read_url
from bqgate.ledger.migrate import NEW_SQLITE, VERSION_TABLE, alembic_config, known_revisions
from bqgate.ledger.partition_schema import POSTGRESQL_METADATA
from bqgate.ledger.rows import entry_row, hold_row
from bqgate.ledger.schema import METADATA
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock
from tests.support.new_sqlite import statements_of, written


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with no tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


def connect(url: str) -> sa.Engine:
    return sa.create_engine(read_url(url, is_async=False), poolclass=sa.NullPool)


@pytest.fixture
def engine(empty_url: str) -> Iterator[sa.Engine]:
    """A look from outside."""
    engine = connect(empty_url)
    yield engine
    engine.dispose()


def declared_of(engine: sa.Engine) -> list[sa.MetaData]:
    """The tables that a database of this kind has."""
    return [METADATA, POSTGRESQL_METADATA] if engine.dialect.name == "postgresql" else [METADATA]


def is_no_partition(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions are made of their table and have no declaration of their own."""
    return kind != "table" or name is None or not name.startswith("entries_")


async def test_migrating_from_nothing_gives_the_tables_of_the_schema(empty_url: str, engine: sa.Engine) -> None:
    """After a migration Alembic finds no difference between the database and the declared tables."""
    await migrate(empty_url)
    with engine.connect() as connection:

        def is_of_this_kind(declared: object, *_rest: object) -> bool:
            ddl_if = getattr(declared, "_ddl_if", None)  # which Alembic does not look at
            return ddl_if is None or ddl_if.dialect == engine.dialect.name

        opts: dict[str, Any] = {"version_table": VERSION_TABLE, "compare_server_default": True}
        opts |= {"include_name": is_no_partition, "include_object": is_of_this_kind}
        context = MigrationContext.configure(connection, opts=opts)
        declared: Any = declared_of(engine)
        assert compare_metadata(context, declared) == []


async def test_the_partial_indexes_are_those_of_the_schema(empty_url: str, engine: sa.Engine) -> None:
    """Alembic does not compare an index's condition, so it is compared here by what a fresh create_all makes."""
    await migrate(empty_url)
    query = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes "
        "WHERE schemaname = 'public' AND tablename !~ '^entries_' ORDER BY indexname",
    }[engine.dialect.name]
    with engine.begin() as connection:
        migrated = connection.exec_driver_sql(query).all()
        connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
        for metadata in declared_of(engine):
            for table in metadata.tables:
                connection.exec_driver_sql(f"DROP TABLE {table}")
            metadata.create_all(connection)
        declared = connection.exec_driver_sql(query).all()
    assert [row for row in migrated if VERSION_TABLE not in row[0]] == declared


def test_the_versions_are_known_by_the_names_of_their_files() -> None:
    """A start that finds its tables up to date need not load Alembic to know what it would say."""
    walked = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert known_revisions() == [script.revision for script in walked][::-1]


async def test_a_new_file_of_sqlites_is_what_the_migrations_come_to(tmp_path: Path) -> None:
    """Tables, indexes, triggers and first rows; after a new migration: python -m tests.support.new_sqlite."""
    assert NEW_SQLITE.read_text() == written()
    await migrate(f"sqlite:///{tmp_path / 'new.db'}")
    assert "\n\n".join(statements_of(tmp_path / "new.db")) + "\n" == written()


async def test_migrating_twice_changes_nothing(empty_url: str, engine: sa.Engine) -> None:
    """The second migration finds the first one's work and leaves it."""
    await migrate(empty_url)
    await migrate(empty_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").all() == [("0013",)]


async def test_starters_at_once_do_not_collide(empty_url: str) -> None:
    """Processes that migrate an empty database at the same moment all succeed."""
    code = "import asyncio, sys; from bqgate.ledger import migrate; asyncio.run(migrate(sys.argv[1]))"
    checkout = Path(bqgate.__file__).parents[1]
    starters = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, empty_url, cwd=checkout) for _ in range(4)
    ]
    assert [await starter.wait() for starter in starters] == [0] * len(starters)


async def test_threads_at_once_do_not_collide(empty_url: str) -> None:
    """Migrations at the same moment in one process all succeed."""
    await asyncio.gather(*(migrate(empty_url) for _ in range(4)))


async def test_an_entry_is_neither_changed_nor_deleted(empty_url: str, engine: sa.Engine) -> None:
    """The database itself keeps entries append-only, whoever writes."""
    await migrate(empty_url)
    columns = {
        "id": "'e'", "kind": "'charge'", "customer": "'c'", "principal": "'p'", "project_id": "'p'",
        "booked_at": "0", "outcome": "'done'", "cost_nanos": "1", "hold_nanos": "0", "decision": "'forward'",
        "estimate_nanos": "0", "bytes_processed": "0", "bytes_billed": "0", "slot_ms": "0", "statement_type": "''",
        "cache_hit": "false", "labels": "'{}'",
    }  # fmt: skip
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO entries ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
    for statement in ("UPDATE entries SET cost_nanos = 0", "DELETE FROM entries"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


async def test_an_audit_record_is_neither_changed_nor_deleted(empty_url: str, engine: sa.Engine) -> None:
    """The database itself keeps the audit log append-only, whoever writes."""
    await migrate(empty_url)
    texts = ["action", "actor", "target", "role", "subject", "source", "request_id", "detail", "previous_hash", "hash"]
    columns, values = ["seq", "at", *texts], ["1", "0", *["''"] * len(texts)]
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO audit ({', '.join(columns)}) VALUES ({', '.join(values)})")
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


async def test_a_breaker_event_is_neither_changed_nor_deleted(empty_url: str, engine: sa.Engine) -> None:
    """The database itself keeps what became of breakers append-only, and numbers it."""
    await migrate(empty_url)
    columns = "customer, period, window_key, at, kind, actor"
    with engine.begin() as connection:
        for _ in range(2):
            connection.exec_driver_sql(
                f"INSERT INTO breaker_events ({columns}) VALUES ('c', 'day', '2026-11-24', 0, 'tripped', 'a')"
            )
        assert connection.exec_driver_sql("SELECT seq FROM breaker_events ORDER BY seq").all() == [(1,), (2,)]
    for statement in ("UPDATE breaker_events SET kind = 'reset'", "DELETE FROM breaker_events"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


async def test_a_price_list_is_neither_changed_nor_deleted(empty_url: str, engine: sa.Engine) -> None:
    """The database itself keeps the prices that holds were sized by as they were."""
    await migrate(empty_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO price_lists (id, document, first_used_at) VALUES ('p', '{}', 0)")
    for statement in ("UPDATE price_lists SET document = '{}'", "DELETE FROM price_lists"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


async def test_a_ledger_of_the_first_version_keeps_what_it_has(empty_url: str, engine: sa.Engine) -> None:
    """Holds and entries that were there before the registry's tables are there after them, and are still guarded."""
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, row in (("holds", hold_row(make_hold("h"))), ("entries", entry_row(make_entry("e")))):
            younger = {
                "holds": {"labels", "prices_id", "priced_as", "account"},
                "entries": {"placed_at", "origin", "adjusts", "reservation", "edition", "prices_id", "ended_at"},
            }[table]
            known = {name: row[name] for name in row.keys() - younger if not name.startswith("would_")}
            connection.execute(sa.insert(METADATA.tables[table]), known)
    await migrate(empty_url)
    ledger, registry = await SqlLedger.open(empty_url, ManualClock()), await SqlRegistry.open(empty_url)
    assert await ledger.fetch_open_holds() == (make_hold("h"),)
    assert await ledger.fetch_entry("e") == make_entry("e")
    assert await registry.fetch_revision() == 0
    await registry.close()
    await ledger.close()
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM entries")


async def test_opening_sqlite_makes_its_tables(tmp_path: Path) -> None:
    """An embedded ledger needs no step before its first start."""
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path / 'new.db'}", ManualClock())
    await ledger.check()
    await ledger.close()


async def test_opening_postgresql_without_tables_names_the_step(empty_postgres_url: str) -> None:
    """The gate does not change PostgreSQL's tables by itself; it says who does."""
    with pytest.raises(LedgerUnavailable) as caught:
        await SqlLedger.open(empty_postgres_url, ManualClock())
    assert "bqgate migrate" in caught.value.remedy


async def test_opening_a_later_versions_tables_is_refused(postgres_url: str) -> None:
    """Tables that this version does not know are not guessed at."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(LedgerUnavailable, match="later bqgate"):
        await SqlLedger.open(postgres_url, ManualClock())


async def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    """A path that leads nowhere, and a file that is no database, are outside failures."""
    with pytest.raises(LedgerUnavailable):
        await migrate(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    (tmp_path / "text.db").write_text("this is no database " * 100)
    with pytest.raises(LedgerUnavailable):
        await migrate(f"sqlite:///{tmp_path / 'text.db'}")


async def test_sqlite_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    """The journal mode is a property of the file and stays with it."""
    path = tmp_path / "ledger.db"
    await migrate(f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("sqlite://", "forgets"),
        ("sqlite:///:memory:", "forgets"),
        ("mysql://localhost/x", "not in mysql"),
        ("no url", "must look like"),
    ],
)
async def test_a_url_of_no_ledger_is_refused_with_its_reason(url: str, fault: str) -> None:
    """What could not keep a ledger is a mistake of the settings."""
    with pytest.raises(ValueError, match=fault):
        await SqlLedger.open(url, ManualClock())
