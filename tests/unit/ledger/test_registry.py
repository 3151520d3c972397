"""Tests of bqgate.ledger.registry against databases that are away, locked, or not of this version."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from bqgate.domain.audit import AuditFilter
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from tests.support.manual_clock import START
from tests.support.registries import make_event, make_key

SHORT_S = 1.0
# Whatever the machine is busy with, and less than the 5 s that sqlite3 waits by itself.
IN_TIME_S = 4

READS: tuple[Callable[[SqlRegistry], Awaitable[object]], ...] = (
    SqlRegistry.fetch_revision,
    SqlRegistry.fetch_policies,
    SqlRegistry.fetch_keys,
    lambda registry: registry.fetch_audit(AuditFilter()),
    SqlRegistry.verify_audit,
)
WRITES: tuple[Callable[[SqlRegistry], Awaitable[object]], ...] = (
    lambda registry: registry.write_policy(PolicyKind.TIER, "t", {}, expected_version=0, event=make_event()),
    lambda registry: registry.delete_policy(PolicyKind.TIER, "t", expected_version=1, event=make_event()),
    lambda registry: registry.add_key(make_key("k"), make_event()),
    lambda registry: registry.end_key("k", ends_at=START, is_revoked=True, event=make_event()),
    lambda registry: registry.append_audit([make_event()]),
)


async def test_a_database_that_went_away_is_unavailable(postgres_url: str) -> None:
    """Every method says LedgerUnavailable, nothing else, when the database refuses connections; later it works."""
    registry = await SqlRegistry.open(postgres_url, timeout_s=SHORT_S)
    name = psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"]
    database = psycopg.sql.Identifier(str(name))
    elsewhere = postgres_url.replace(f"/{name}?", "/postgres?")
    with psycopg.connect(elsewhere, autocommit=True) as admin:
        admin.execute(psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        for call in (*READS, *WRITES):
            with pytest.raises(LedgerUnavailable):
                await call(registry)
        admin.execute(psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))
    await registry.append_audit([make_event()])
    assert (await registry.verify_audit()).records == 1
    await registry.close()


async def test_a_locked_sqlite_keeps_writers_out_in_time_and_readers_reading(tmp_path: Path) -> None:
    """Another process that keeps the lock costs each change a time limit; nothing of it is written."""
    path = tmp_path / "ledger.db"
    registry = await SqlRegistry.open(f"sqlite:///{path}", timeout_s=SHORT_S)
    rival = sqlite3.connect(path, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    loop = asyncio.get_running_loop()
    for call in WRITES:
        started_s = loop.time()
        with pytest.raises(LedgerUnavailable):
            await call(registry)
        assert loop.time() - started_s < IN_TIME_S
    for call in READS:
        await call(registry)
    rival.execute("ROLLBACK")
    rival.close()
    assert await registry.fetch_revision() == (await registry.verify_audit()).records == 0
    await registry.close()


async def test_a_writer_that_hangs_keeps_others_out_in_time(postgres_url: str) -> None:
    """A process that dies slowly with the registry's lock costs others a time limit; afterwards they go on."""
    registry = await SqlRegistry.open(postgres_url, timeout_s=SHORT_S)
    with psycopg.connect(postgres_url) as rival:
        rival.execute("SELECT revision FROM registry_revision FOR UPDATE")
        with pytest.raises(LedgerUnavailable):
            await registry.append_audit([make_event()])
        assert await registry.fetch_revision() == 0
        rival.rollback()
    await registry.append_audit([make_event()])
    assert (await registry.verify_audit()).records == 1
    await registry.close()


async def test_opening_sqlite_makes_its_tables(tmp_path: Path) -> None:
    """An embedded registry needs no step before its first start, in a file that a ledger may share."""
    registry = await SqlRegistry.open(f"sqlite:///{tmp_path / 'new.db'}")
    assert await registry.fetch_revision() == 0
    await registry.close()


async def test_opening_postgresql_without_tables_names_the_step(empty_postgres_url: str) -> None:
    """The gate does not change PostgreSQL's tables by itself; it says who does."""
    with pytest.raises(LedgerUnavailable) as caught:
        await SqlRegistry.open(empty_postgres_url)
    assert "bqgate migrate" in caught.value.remedy


async def test_nobody_there_is_unavailable_and_no_password_is_told() -> None:
    """A refused connection is an outside failure; the URL's password is in no error."""
    with pytest.raises(LedgerUnavailable) as caught:
        await SqlRegistry.open("postgresql://u:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
