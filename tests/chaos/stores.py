"""Run Redis and the ledger's database in processes of their own, and break them in the ways in which they break.

Each gate reaches them through a proxy of its own, so that answers can be lost on the way to one gate.
"""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql
from psycopg.rows import dict_row

from bqgate.clock import SystemClock
from tests.chaos.auditor import Redis
from tests.support.free_ports import free_port
from tests.support.postgres_server import PostgresProcess, PostgresServer, postgres_process
from tests.support.redis_server import find_redis_server
from tests.support.tcp_fault_proxy import TcpFaultProxy

# A crash of the server must lose nothing that it said was written. The machine itself does not crash here.
_CRASH_SAFE = ("fsync=off", "max_connections=60")
_ROLE = "gate"
_DATABASE = "chaos"
_KEPT_S = 5
_READY_S_MAX = 15


class RedisProcess:
    """A Redis at one port, that can be killed and started again with nothing, or with what it had some time ago."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it with what lies in its folder.

        Raises:
            AssertionError: it does not start, or there is none.
        """
        executable = find_redis_server()
        assert executable is not None, "no redis-server here: chaos needs one (see tests/support/redis_server.py)"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        options += ["--maxmemory-policy", "noeviction", "--dir", str(self._folder), "--logfile", "redis.log"]
        self._process = subprocess.Popen(
            [executable, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder
        )
        self._wait_until_ready(self._process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        pause = threading.Event()
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            for _ in range(_READY_S_MAX * 50):
                assert process.poll() is None, f"Redis ended: {(self._folder / 'redis.log').read_text()[-2000:]}"
                try:
                    if client.info("server")["process_id"] == process.pid:
                        return
                except redis.RedisError:
                    pause.wait(0.02)
        raise AssertionError(f"Redis did not answer within {_READY_S_MAX} s")

    def kill(self) -> None:
        """End it at once; twice is once."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def restart_empty(self) -> None:
        """Start it with nothing."""
        with suppress(FileNotFoundError):
            (self._folder / "dump.rdb").unlink()
        self.start()

    def take_snapshot(self) -> None:
        """Keep what it has now."""
        self._call("SAVE")
        shutil.copy(self._folder / "dump.rdb", self._folder / "kept.rdb")

    def restart_from_snapshot(self) -> None:
        """Start it with what it had when the snapshot was taken."""
        with suppress(FileNotFoundError):
            shutil.copy(self._folder / "kept.rdb", self._folder / "dump.rdb")
        self.start()

    def flush(self) -> None:
        """Let it lose everything."""
        self._call("FLUSHALL")

    def fill_up(self, *, is_full: bool) -> None:
        """Let it take nothing more, or as much as it likes."""
        self._call("CONFIG", "SET", "maxmemory", "1" if is_full else "0")

    def stall(self, *, is_stalled: bool) -> None:
        """Let it stand still, or go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP if is_stalled else signal.SIGCONT)

    def contents(self) -> Redis:
        """All that the gates have in it."""
        with redis.Redis(port=self.port, decode_responses=True, socket_timeout=_KEPT_S) as client:
            hashes, ended = {}, {}
            for key in client.scan_iter("bqgate:{*", count=1000):
                kind = client.type(key)
                if kind == "hash":
                    hashes[key] = client.hgetall(key)
                elif "}:ended:" in key:
                    ended[key.partition("}:ended:")[2]] = str(client.get(key))
        return Redis(hashes, ended)

    def _call(self, *words: str) -> None:
        with redis.Redis(port=self.port, socket_timeout=_KEPT_S) as client:
            client.execute_command(*words)


class SqliteFile:
    """A ledger in a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ledger.db"
        self.url = f"sqlite:///{self._file}"

    async def lock(self, seconds: float) -> None:
        """Let nobody write for a while."""
        connection = sqlite3.connect(self._file, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN EXCLUSIVE")
            await SystemClock().sleep(seconds)
        finally:
            connection.close()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table."""
        connection = sqlite3.connect(self._file, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
        finally:
            connection.close()


class PostgresDatabase:
    """A ledger in a PostgreSQL of its own, as its superuser sees it; gates come as another role, by way of proxies."""

    def __init__(self, process: PostgresProcess, server: PostgresServer) -> None:
        self._process, self._server = process, server
        self.url = server.url(_DATABASE)

    def prepare(self) -> None:
        """Make the database, and the role of the gates."""
        self._server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(_ROLE)))
        name, role = sql.Identifier(_DATABASE), sql.Identifier(_ROLE)
        self._server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, role))

    def url_by(self, port: int) -> str:
        """As a gate reaches it through a proxy."""
        return f"postgresql://{_ROLE}@127.0.0.1:{port}/{_DATABASE}"

    async def stop(self, seconds: float, *, is_crash: bool) -> None:
        """Stop it for a while, in order or not."""
        await asyncio.to_thread(self._process.stop, signal.SIGQUIT if is_crash else signal.SIGINT)
        try:
            await SystemClock().sleep(seconds)
        finally:
            await asyncio.to_thread(self._process.start)

    async def lock(self, seconds: float) -> None:
        """Hold both tables for a while."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute("SET lock_timeout = '1s'")
            with suppress(psycopg.errors.LockNotAvailable):
                await connection.execute("LOCK TABLE holds, entries IN ACCESS EXCLUSIVE MODE")
                await SystemClock().sleep(seconds)
            await connection.rollback()

    async def crowd(self, seconds: float) -> None:
        """Send the gates away, and let none of them come back for a while."""
        role = sql.Identifier(_ROLE)
        await asyncio.to_thread(self._server.execute, sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(role))
        try:
            away = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}")
            await asyncio.to_thread(self._server.execute, away.format(sql.Literal(_ROLE)))
            await SystemClock().sleep(seconds)
        finally:
            await asyncio.to_thread(self._server.execute, sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(role))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return list(connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))))


@contextmanager
def running_redis_process(folder: Path) -> Iterator[RedisProcess]:
    """A Redis that is ended by its own process handle."""
    folder.mkdir()
    process = RedisProcess(folder)
    try:
        process.start()
        yield process
    finally:
        process.kill()


@contextmanager
def running_database() -> Iterator[tuple[PostgresDatabase, Path]]:
    """A PostgreSQL, and the socket at which it listens."""
    with postgres_process(_CRASH_SAFE) as (process, server):
        database = PostgresDatabase(process, server)
        database.prepare()
        yield database, Path(database.url.partition("host=")[2]) / ".s.PGSQL.5432"


@asynccontextmanager
async def proxies(count: int, *, socket: Path | None = None, port: int = 0) -> AsyncIterator[list[TcpFaultProxy]]:
    """One proxy for each gate."""
    async with AsyncExitStack() as stack:
        made = [
            TcpFaultProxy("127.0.0.1", port) if socket is None else TcpFaultProxy.before_socket(socket)
            for _ in range(count)
        ]
        for proxy in made:
            await stack.enter_async_context(proxy)
        yield made
