"""Tests of bqgate.ledger.connections: databases that do not answer, and what a connection is set to."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger import SqlLedger
from bqgate.ledger.connections import Connections
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import ManualClock

SHORT_S = 1.0
# Whatever the machine is busy with, and less than the 5 s that sqlite3 waits by itself.
IN_TIME_S = 4


async def failure_time_s(ledger: SqlLedger) -> float:
    """How long a hold takes to fail, by the loop's clock."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    with pytest.raises(LedgerUnavailable):
        await ledger.open_hold(make_hold("stuck"))
    return loop.time() - started_s


async def test_a_locked_sqlite_fails_in_time_and_works_again(tmp_path: Path) -> None:
    """Another process that keeps the lock costs a time limit, no more, and reads go on."""
    path = tmp_path / "ledger.db"
    ledger = await SqlLedger.open(f"sqlite:///{path}", ManualClock(), timeout_s=SHORT_S)
    rival = sqlite3.connect(path, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    assert await failure_time_s(ledger) < IN_TIME_S
    with pytest.raises(LedgerUnavailable):
        await ledger.check()
    assert await ledger.fetch_open_holds() == ()
    rival.execute("ROLLBACK")
    rival.close()
    await ledger.check()
    await ledger.open_hold(make_hold("h"))
    assert await ledger.fetch_open_holds() == (make_hold("h"),)
    await ledger.close()


async def test_a_locked_postgresql_fails_in_time_and_works_again(postgres_url: str) -> None:
    """A table lock that somebody forgot fails writes and reads in time; afterwards both work."""
    ledger = await SqlLedger.open(postgres_url, ManualClock(), timeout_s=SHORT_S)
    with psycopg.connect(postgres_url) as rival:
        rival.execute("LOCK TABLE holds, entries IN ACCESS EXCLUSIVE MODE")
        assert await failure_time_s(ledger) < IN_TIME_S
        with pytest.raises(LedgerUnavailable):
            await ledger.fetch_open_holds()
        rival.rollback()
    await ledger.open_hold(make_hold("h"))
    assert await ledger.fetch_open_holds() == (make_hold("h"),)
    await ledger.close()


async def test_a_server_that_never_answers_fails_in_time() -> None:
    """A socket that takes the connection and says nothing is an outside failure."""
    held: list[asyncio.StreamWriter] = []

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    connections = Connections(f"postgresql://u@127.0.0.1:{port}/x", timeout_s=SHORT_S)

    async def ask(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("SELECT 1"))

    with pytest.raises(LedgerUnavailable):
        await connections.read(ask)
    assert loop.time() - started_s < IN_TIME_S
    await connections.close()
    for writer in held:
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_nobody_there_is_unavailable() -> None:
    """A refused connection is an outside failure, and the password in the URL is not in the error."""
    with pytest.raises(LedgerUnavailable) as caught:
        await SqlLedger.open("postgresql://u:hunter2@127.0.0.1:1/x", ManualClock())
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"


async def test_cut_connections_are_replaced(postgres_url: str) -> None:
    """After the server ended every connection the next call works."""
    ledger = await SqlLedger.open(postgres_url, ManualClock())
    await ledger.open_hold(make_hold("h"))
    await ledger.fetch_open_holds()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await ledger.book(make_entry("h"))
    assert await ledger.fetch_open_holds() == ()
    await ledger.close()


async def test_a_standby_can_not_be_written(postgres_url: str) -> None:
    """Check fails where reads work and writes do not."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
            psycopg.sql.Identifier(name)
        ))  # fmt: skip
    ledger = await SqlLedger.open(postgres_url, ManualClock())
    assert await ledger.fetch_open_holds() == ()
    with pytest.raises(LedgerUnavailable):
        await ledger.check()
    await ledger.close()


async def test_sqlite_flushes_at_every_commit(tmp_path: Path) -> None:
    """Both pools flush fully, keep the write-ahead log, and wait for other processes' locks."""
    connections = Connections(f"sqlite:///{tmp_path / 'ledger.db'}", timeout_s=5)

    async def settings(connection: AsyncConnection) -> list[object]:
        names = ("synchronous", "journal_mode", "busy_timeout")
        return [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]

    assert await connections.write(settings) == [2, "wal", 4_000]
    assert await connections.read(settings) == [2, "wal", 4_000]
    await connections.close()


async def test_a_caller_that_leaves_takes_its_read_along(postgres_url: str) -> None:
    """A cancelled read is cancelled at the server's side of the pool too, and its connection is not lost."""
    connections = Connections(postgres_url, timeout_s=5)
    begun = asyncio.Event()

    async def hang(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("SELECT 1"))
        begun.set()
        await asyncio.Event().wait()

    readers = [asyncio.create_task(connections.read(hang)) for _ in range(4)]
    await begun.wait()
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)

    async def one(connection: AsyncConnection) -> int:
        return int((await connection.execute(sa.text("SELECT 1"))).scalar_one())

    assert [await connections.read(one) for _ in range(5)] == [1] * 5
    await connections.close()


@pytest.mark.parametrize("steps", range(12))
def test_what_is_given_up_while_it_connects_to_sqlite_is_closed(tmp_path: Path, steps: int) -> None:
    """A caller who leaves at any step of the first read leaves no thread to a loop that is gone."""

    async def leave() -> None:
        connections = Connections(f"sqlite:///{tmp_path / 'ledger.db'}", timeout_s=SHORT_S)
        reading = asyncio.create_task(connections.read(lambda connection: connection.execute(sa.text("SELECT 1"))))
        for _ in range(steps):
            await asyncio.wait({reading}, timeout=0)
        reading.cancel()
        await asyncio.wait({reading})
        await connections.close()

    before = set(threading.enumerate())
    asyncio.run(leave())
    for thread in set(threading.enumerate()) - before:
        thread.join(IN_TIME_S)
        assert not thread.is_alive()
