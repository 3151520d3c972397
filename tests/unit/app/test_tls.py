import asyncio
import io
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web
from cryptography import x509
from cryptography.x509.oid import NameOID

from bqgate.app.tls import WATCH_S, CertificateUnusable, TlsContext
from bqgate.observe.logs import LogFormat, make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.certificates import make_pair, write_pair
from tests.support.manual_clock import ManualClock


class Stand:
    """A pair of files and what serves with it."""

    def __init__(self, folder: Path) -> None:
        self.cert_file, self.key_file = folder / "tls.crt", folder / "tls.key"
        self.clock, self.metrics, self.log = ManualClock(), Metrics(), io.StringIO()
        logger = make_logger(self.log, self.clock, level=logging.INFO, log_format=LogFormat.JSON)
        self.telemetry = PrometheusTelemetry(self.metrics, logger)
        self.url = ""

    def write(self, pair: tuple[bytes, bytes]) -> None:
        write_pair(pair, self.cert_file, self.key_file)

    def open(self) -> TlsContext:
        return TlsContext(self.cert_file, self.key_file, clock=self.clock, telemetry=self.telemetry)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """An aiohttp server with the context, and its watch at the first sleep."""

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(text="here")

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        tls = self.open()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
        self.url = f"https://localhost:{runner.addresses[0][1]}/"
        watching = asyncio.ensure_future(tls.watch())
        await self.clock.wait_for_sleepers()
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await runner.cleanup()

    async def look_again(self) -> None:
        """Let the watch look once."""
        self.clock.advance(WATCH_S)
        await self.clock.wait_for_sleepers()

    async def shown_name(self, *, server_name: str | None = "localhost") -> str:
        """The common name in the certificate that a new connection is shown. None: the client names no server."""
        port = int(self.url.rstrip("/").rpartition(":")[2])
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname=server_name or "127.0.0.1"
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        name = x509.load_der_x509_certificate(shown).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return str(name)

    def reloads(self, result: str) -> float:
        return self.metrics.value("bqgate_tls_reloads_total", result=result)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    """A good pair of files, named first."""
    stand = Stand(tmp_path)
    stand.write(make_pair("first"))
    return stand


async def test_a_client_that_trusts_the_certificate_is_served(stand: Stand) -> None:
    """A verifying client gets its answer over TLS."""
    async with stand.serving():
        trusting = ssl.create_default_context(cafile=stand.cert_file)
        async with ClientSession(connector=TCPConnector(ssl=trusting)) as session, session.get(stand.url) as answer:
            assert (answer.status, await answer.text()) == (200, "here")


def test_the_oldest_tls_is_1_2(stand: Stand) -> None:
    """The context is made for TLS 1.2 and later, whatever the machine's OpenSSL would allow."""
    assert stand.open().context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("server_name", ["localhost", None], ids=["named", "unnamed"])
async def test_new_connections_get_the_new_certificate(stand: Stand, server_name: str | None) -> None:
    """Files that are written anew are served from the next look on, also to clients that name no server."""
    async with stand.serving():
        assert await stand.shown_name(server_name=server_name) == "first"
        stand.write(make_pair("second"))
        await stand.look_again()
        assert await stand.shown_name(server_name=server_name) == "second"
    assert stand.reloads("loaded") == 1


async def test_a_connection_that_stands_lives_on(stand: Stand) -> None:
    """A client keeps its connection over a change of the certificate, without a new handshake."""
    async with stand.serving():
        trusting = ssl.create_default_context(cafile=stand.cert_file)
        async with ClientSession(connector=TCPConnector(ssl=trusting, limit=1)) as session:
            async with session.get(stand.url) as answer:
                assert answer.status == 200
            stand.write(make_pair("second"))
            await stand.look_again()
            async with session.get(stand.url) as answer:  # a new connection would not be trusted
                assert answer.status == 200
        assert await stand.shown_name() == "second"


async def test_a_moved_link_is_noticed(tmp_path: Path) -> None:
    """A mounted secret: the files are links through a folder link, and the folder link moves."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Stand(tmp_path / name).write(make_pair(name))
    (tmp_path / "..data").symlink_to("first")
    stand = Stand(tmp_path)
    stand.cert_file.symlink_to("..data/tls.crt")
    stand.key_file.symlink_to("..data/tls.key")
    async with stand.serving():
        assert await stand.shown_name() == "first"
        (tmp_path / "..next").symlink_to("second")
        (tmp_path / "..next").replace(tmp_path / "..data")
        await stand.look_again()
        assert await stand.shown_name() == "second"


async def test_a_half_written_pair_changes_nothing_until_it_is_whole(stand: Stand) -> None:
    """A new certificate beside the old key is told and counted once; the old pair is served until the key follows."""
    certificate, key = make_pair("second")
    async with stand.serving():
        stand.cert_file.write_bytes(certificate)
        await stand.look_again()
        await stand.look_again()
        assert await stand.shown_name() == "first"
        assert (stand.reloads("failed"), stand.reloads("loaded")) == (1, 0)
        assert "the key is not this certificate's" in stand.log.getvalue()
        stand.key_file.write_bytes(key)
        await stand.look_again()
        assert await stand.shown_name() == "second"
        assert stand.reloads("loaded") == 1


@pytest.mark.parametrize("content", [b"", b"no certificate at all"])
async def test_what_is_no_certificate_changes_nothing(stand: Stand, content: bytes) -> None:
    """An emptied or overwritten file leaves the gate with the certificate that it has."""
    async with stand.serving():
        stand.cert_file.write_bytes(content)
        await stand.look_again()
        assert await stand.shown_name() == "first"
    assert stand.reloads("failed") == 1


async def test_a_deleted_file_changes_nothing_and_is_looked_for_again(stand: Stand) -> None:
    """Between the deletion and the return of a file the old certificate is served."""
    key = stand.key_file.read_bytes()
    async with stand.serving():
        stand.key_file.unlink()
        await stand.look_again()
        assert await stand.shown_name() == "first"
        assert stand.reloads("failed") == 1
        stand.key_file.write_bytes(key)
        await stand.look_again()
        assert stand.reloads("loaded") == 1


async def test_files_that_do_not_change_are_not_read_again(stand: Stand) -> None:
    """Looking is not loading."""
    async with stand.serving():
        await stand.look_again()
        await stand.look_again()
    assert (stand.reloads("failed"), stand.reloads("loaded")) == (0, 0)


def test_a_gate_does_not_start_without_a_usable_pair(stand: Stand) -> None:
    """At the start a bad pair is an error that names the files and the reason, and nothing of the key."""
    stand.key_file.write_bytes(make_pair("other")[1])
    with pytest.raises(CertificateUnusable, match="the key is not this certificate's") as mismatched:
        stand.open()
    assert str(stand.cert_file) in str(mismatched.value)
    stand.write(make_pair("locked", password=b"hunter2"))
    with pytest.raises(CertificateUnusable, match="the key is encrypted"):
        stand.open()
    stand.key_file.unlink()
    with pytest.raises(CertificateUnusable, match=os.strerror(2)):
        stand.open()
