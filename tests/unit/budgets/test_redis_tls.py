"""Redis over TLS with a certificate authority of one's own and a client certificate, by options in the URL.

The Redis that the tests bring along is built without TLS, so TLS ends before it; where redis-server on PATH has it,
that is tried too.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable
from tests.support.certificates import make_pair, write_pair
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import redis_servers
from tests.support.redis_topologies import start_sentinel_set
from tests.support.redis_usage import use_everything
from tests.support.spend_book import SpendBook


@dataclass(frozen=True)
class Files:
    """A server's certificate, which is its own authority, and a client's."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)

    @property
    def options(self) -> str:
        names = {"ssl_ca_certs": "redis.crt", "ssl_certfile": "gate.crt", "ssl_keyfile": "gate.key"}
        return "&".join(f"{option}={self.file(name)}" for option, name in names.items())

    @property
    def directives(self) -> dict[str, str]:
        """What a Redis that has TLS is told."""
        return {
            "tls-cert-file": self.file("redis.crt"),
            "tls-key-file": self.file("redis.key"),
            "tls-ca-cert-file": self.file("all.crt"),
            "tls-replication": "yes",
        }


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Both pairs, and a file with both certificates."""
    for name in ("redis", "gate"):
        write_pair(make_pair(name), tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    (tmp_path / "all.crt").write_bytes((tmp_path / "redis.crt").read_bytes() + (tmp_path / "gate.crt").read_bytes())
    return Files(tmp_path)


@asynccontextmanager
async def tls_before(port: int, files: Files) -> AsyncIterator[int]:
    """End TLS before a plain server; only who shows the client's certificate gets through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.file("redis.crt"), files.file("redis.key"))
    context.load_verify_locations(files.file("gate.crt"))
    context.verify_mode = ssl.CERT_REQUIRED

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # one end is gone
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def test_a_gate_does_all_over_tls(files: Files, redis_url: str) -> None:
    """Budgets, feed, breakers and rates take the authority and the client's certificate out of the URL."""
    plain_port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with tls_before(plain_port, files) as port:
        await use_everything(f"rediss://localhost:{port}/0?{files.options}")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("", "certificate verify failed"),
        ("ssl_ca_certs={redis}", "."),
        ("ssl_ca_certs={gate}&ssl_certfile={gate}&ssl_keyfile={key}", "certificate verify failed"),
    ],
    ids=["an authority nobody knows", "no client certificate", "another authority"],
)
async def test_who_cannot_prove_who_it_is_gets_nothing(files: Files, redis_url: str, options: str, why: str) -> None:
    """BudgetStoreUnavailable, in the library's words; nothing is written."""
    plain_port = int(redis_url.rpartition(":")[2].partition("/")[0])
    names = {"redis": files.file("redis.crt"), "gate": files.file("gate.crt"), "key": files.file("gate.key")}
    async with tls_before(plain_port, files) as port:
        url = f"rediss://localhost:{port}/0?{options.format(**names)}"
        store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=5)
        with pytest.raises(BudgetStoreUnavailable, match=why):
            await store.check()
        await store.close()


@pytest.fixture
def has_tls(files: Files) -> Iterator[None]:
    """Skip where redis-server cannot speak TLS itself."""
    with redis_servers() as make:
        try:
            make("--tls-port", "0", *(word for key, value in files.directives.items() for word in (f"--{key}", value)))
        except AssertionError:
            pytest.skip("this redis-server is built without TLS")
        yield


@pytest.mark.usefixtures("has_tls")
async def test_a_redis_that_speaks_tls_itself_behind_sentinels_that_do(files: Files) -> None:
    """rediss+sentinel:// speaks TLS with both kinds, with the same files."""
    words = [word for key, value in files.directives.items() for word in (f"--{key}", value)]
    config = "".join(f"{key} {value}\n" for key, value in files.directives.items())
    with redis_servers(tls=(files.file("all.crt"), files.file("gate.crt"), files.file("gate.key"))) as make:
        started = start_sentinel_set(make, *words, sentinel_config=config)
        url = started.url.replace("redis+", "rediss+")
        await use_everything(f"{url}?{files.options}&ssl_check_hostname=false")
