"""Hold the connections to the ledger's database, with every setting that durability and time limits rest on.

Used by sql_ledger and migrate. Two pools: one connection that writes, so that a ledger has one writer and a flood of
reads never keeps it waiting; a few that read. What leaves: results, or LedgerUnavailable within `timeout_s`, whatever
the database does.

SQLite: write-ahead log, so that readers and the writer do not wait for each other, and synchronous=FULL, because with
NORMAL the last commits may be lost with the power (https://www.sqlite.org/pragma.html#pragma_synchronous). Writers of
other processes are waited for (busy_timeout); a transaction that writes takes the lock at its start (BEGIN IMMEDIATE),
since one that asks for it later is refused without waiting (https://www.sqlite.org/lang_transaction.html).

PostgreSQL: the server's own durability, READ COMMITTED, and limits on the server's side too, so that what the gate gave
up is given up there. They travel as startup options, which a pooler in transaction mode refuses loudly.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.causes import cause_of, remedy_of

ResultT = TypeVar("ResultT")

# How long a database may take where nobody says. A gate's settings do.
TIMEOUT_S = 60.0

_READERS = 4
# The database gives up a little before the gate does: a connection that answered "too late" can be used again, one
# that was cut off in the middle can not.
_DATABASE_SHARE = 0.8


def read_url(url: str, *, is_async: bool) -> sa.URL:
    """A settings' URL ("sqlite:///bqgate.db", "postgresql://…") with the driver that is used for it.

    Raises:
        ValueError: neither of the two, or a database that would be forgotten at the end.
    """
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError('the ledger\'s url must look like "sqlite:///bqgate.db" or "postgresql://…"') from None
    if "@" in (parsed.host or ""):
        raise ValueError("the ledger's url holds a password with an @ in it; percent-encode it as %40")
    match parsed.get_backend_name():
        case "sqlite":
            if parsed.database in {None, "", ":memory:"} or "mode=memory" in url:
                raise ValueError("a ledger in memory forgets what was booked; give SQLite a file: sqlite:///bqgate.db")
            return parsed.set(drivername="sqlite+aiosqlite" if is_async else "sqlite+pysqlite")
        case "postgresql":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise ValueError(f"the ledger keeps its entries in sqlite or postgresql, not in {other}")


def connect_args(url: sa.URL, *, timeout_s: float) -> dict[str, Any]:
    """What the driver is told about patience."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": timeout_s}
    timeout_ms = int(timeout_s * 1000)
    limits = {"statement_timeout": timeout_ms, "idle_in_transaction_session_timeout": 2 * timeout_ms}
    return {
        "connect_timeout": max(2, int(timeout_s)),  # libpq takes whole seconds, from 2 on
        "tcp_user_timeout": timeout_ms,
        "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        "application_name": "bqgate",
    }


def prepare_sqlite(engine: sa.Engine, *, begin: str) -> None:
    """Have each new connection keep a write-ahead log, flush at every commit, and begin transactions as told."""

    def set_pragmas(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 shall not begin transactions by itself
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.close()
        except Exception:  # of a file that is no database; the pool never hears of this connection
            connection.close()
            raise

    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", set_pragmas)
    sa.event.listen(engine, "begin", begin_transaction)


def open_engine(url: str, *, timeout_s: float) -> sa.Engine:
    """One connection that writes, for a thread. Errors are SQLAlchemy's.

    Raises:
        ValueError: as read_url.
    """
    parsed = read_url(url, is_async=False)
    settings: dict[str, Any] = {}
    if parsed.get_backend_name() == "postgresql":
        settings = {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}
    arguments = connect_args(parsed, timeout_s=timeout_s * _DATABASE_SHARE)
    if parsed.get_backend_name() == "sqlite":
        arguments["check_same_thread"] = False  # it is opened at the start, and used in the thread
    engine = sa.create_engine(
        parsed,
        connect_args=arguments,
        hide_parameters=True,
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=0,
        **settings,
    )
    if parsed.get_backend_name() == "sqlite":
        prepare_sqlite(engine, begin="BEGIN IMMEDIATE")
    return engine


class Connections:
    """Two pools of connections to one database.

    Args:
        url: as in the settings.
        timeout_s: the longest a read or a transaction may take, waiting included.

    Raises:
        LedgerUnavailable: no connection can be made at all.
        ValueError: as read_url.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._url = read_url(url, is_async=True)
        self._writing = self._connect(begin="BEGIN IMMEDIATE", size=1)
        self._reading = self._connect(begin="BEGIN", size=_READERS)
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def dialect(self) -> str:
        return self._url.get_backend_name()

    async def read(self, work: Callable[[AsyncConnection], Awaitable[ResultT]]) -> ResultT:
        """Do work that only reads, on one snapshot of SQLite, on the newest rows of PostgreSQL.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        return await self._in_time(self._transact(self._reading, work))

    async def fetch_rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a question.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

        async def fetch(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
            rows: Sequence[sa.Row[Any]] = (await connection.execute(statement)).all()
            return rows

        return await self.read(fetch)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[ResultT]]) -> ResultT:
        """Do work in one transaction: when this returns it is committed, durably.

        Raises:
            LedgerUnavailable: not committed, or unknown.
        """
        return await self._in_time(self._transact(self._writing, work))

    async def close(self) -> None:
        """Close the connections; work that was given up and still hangs is left to end by itself."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._timeout_s)
        await self._writing.dispose()
        await self._reading.dispose()

    def _connect(self, *, begin: str, size: int) -> AsyncEngine:
        patience_s = self._timeout_s * _DATABASE_SHARE
        settings: dict[str, Any] = {"pool_size": size, "max_overflow": 0, "pool_timeout": self._timeout_s}
        if self.dialect == "postgresql":
            settings |= {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}
        try:
            engine = create_async_engine(
                self._url,
                connect_args=connect_args(self._url, timeout_s=patience_s),
                hide_parameters=True,  # errors are logged; customers' names and labels are not
                **settings,
            )
        except (ImportError, OSError, SQLAlchemyError) as error:
            # No driver; a relative path, and the working directory is gone; a URL of another form.
            said = f"The ledger's database cannot be opened: {cause_of(error)}."
            raise LedgerUnavailable(said, remedy=remedy_of(error, self._url)) from error
        if self.dialect == "sqlite":
            prepare_sqlite(engine.sync_engine, begin=begin)
        return engine

    async def _transact(self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[ResultT]]) -> ResultT:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except (SQLAlchemyError, OSError, UnicodeError, OverflowError) as error:
            raise LedgerUnavailable(f"The ledger's database failed: {cause_of(error)}.") from error

    async def _in_time(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Wait for work as long as is allowed, and no longer even where it can not be stopped."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            self._give_up(task)
            raise
        if not done:
            self._give_up(task)
            raise LedgerUnavailable(f"The ledger's database did not answer within {self._timeout_s} s.")
        return task.result()

    def _give_up(self, task: "asyncio.Task[Any]") -> None:
        """Stop work that nobody waits for.

        What a thread of SQLite's does goes on anyway. It is let end, since nobody closes a connection that is left
        while it is made.
        """
        if self.dialect != "sqlite":
            task.cancel()

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # of work given up: its caller was told already
