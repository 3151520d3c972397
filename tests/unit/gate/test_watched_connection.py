import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import pytest
from aiohttp import ClientSession

from bqgate.app.tls import load_certificate
from bqgate.gate.http.connections import ConnectionLimits
from bqgate.gate.http.watched_connection import AHEAD_BYTES_MAX, HEAD_BYTES_MAX
from tests.support.certificates import make_pair, write_pair
from tests.support.tiny_chunks import TINY_CHUNKS, ran_in_turns
from tests.support.watched_port import Pair, WatchedPort, asked, ended, watched_port

HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "
# What begins a TLS handshake, and half of what it says.
HALF_HELLO = bytes.fromhex("1603010200010001fc0303") + b"\x00" * 40


@pytest.fixture
def server_tls(tmp_path: Path) -> ssl.SSLContext:
    """A certificate for localhost."""
    cert_file, key_file = tmp_path / "tls.crt", tmp_path / "tls.key"
    write_pair(make_pair("localhost"), cert_file, key_file)
    return load_certificate(cert_file, key_file)


@pytest.fixture
def client_tls() -> ssl.SSLContext:
    """A client that looks at no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("first", [b"", b"\r\n\r\n\r\n"], ids=["", "breaks before it"])
@pytest.mark.parametrize("step", [7, 1_000, 100_000])
async def test_a_head_has_its_size(first: bytes, step: int) -> None:
    """Many headers of a size that each may have are too much together, in whatever pieces they come."""
    lines = b"".join(b"X-%d: " % number + b"h" * 20_000 + b"\r\n" for number in range(6))
    async with watched_port() as port:
        reader, writer = await port.connect(first + b"GET / HTTP/1.1\r\n")
        for start in range(0, len(lines), step):
            if port.counts.dropped:
                break
            writer.write(lines[start : start + step])
            await port.clock.sleep(0)
        assert await ended(reader) == b""
        assert port.counts.dropped == {"head_too_large": 1}


async def test_line_breaks_for_ever_are_no_head() -> None:
    """What the parser passes over counts, too."""
    async with watched_port() as port:
        reader, writer = await port.connect()
        for _ in range(HEAD_BYTES_MAX // 1_000 + 2):
            writer.write(b"\r\n" * 500)
            await port.clock.sleep(0)
        assert await ended(reader) == b""


async def test_a_long_url_and_long_headers_are_a_head() -> None:
    """As long as BigQuery takes them, and a token of 16 KiB beside; then the next one on the same connection."""
    async with watched_port() as port:
        reader, writer = await port.connect()
        for _ in range(3):
            head = b"GET /" + b"u" * 16_000 + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + b"t" * 16_000 + b"\r\n\r\n"
            for start in range(0, len(head), 5_000):
                writer.write(head[start : start + 5_000])
                await port.clock.sleep(0)
            async with asyncio.timeout(5):
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(1) == b"0"
        assert port.counts.dropped == {}


@pytest.mark.parametrize("headers", [b"Content-Length: %d", b"Transfer-Encoding: chunked"])
async def test_a_body_is_no_head(headers: bytes) -> None:
    """However fast it comes behind its head, and whatever is in it."""
    body = b"\r\n\r\n" * 500_000
    framed = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" if b"chunked" in headers else body
    head = b"POST / HTTP/1.1\r\nHost: x\r\n" + (headers % len(body) if b"%" in headers else headers) + b"\r\n\r\n"
    async with watched_port() as port:
        reader, writer = await port.connect()
        for _ in range(2):
            writer.write(head + framed)
            async with asyncio.timeout(10):
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(7) == b"2000000"
            await port.until(idle=1)
        assert port.counts.dropped == {}


async def test_a_refused_upload_may_read_its_answer() -> None:
    """The rest of its body is neither a head nor counted; then the connection is used again, and is watched again."""
    body = b"x" * 400_000
    async with watched_port() as port:
        reader, writer = await port.connect()
        writer.write(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + body[:100])
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 5)
        await port.until(heads=0, idle=0)
        writer.write(body[100:])
        await port.until(idle=1)
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
        await asked((reader, writer))
        writer.write(HALF)
        await port.until(heads=1)
        assert port.counts.dropped == {}


async def test_others_run_while_a_refused_body_of_tiny_chunks_is_read() -> None:
    """It is read only so that its sender gets to its answer."""
    async with watched_port() as port:
        reader, writer = await port.connect()
        writer.write(b"POST /refuse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY_CHUNKS)

        async def answered() -> bytes:
            line = await reader.readline()
            await port.until(idle=1)
            return line

        assert b" 401 " in await ran_in_turns(answered())


async def test_what_is_sent_ahead_is_bounded() -> None:
    """Behind a request that is being answered nobody piles up megabytes."""
    async with watched_port() as port:
        reader, writer = await port.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await port.until(heads=0)
        for _ in range(AHEAD_BYTES_MAX // 20_000 + 1):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n")
            await port.clock.sleep(0)
        assert await ended(reader) == b""
        assert port.counts.dropped == {"head_too_large": 1}


async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    """A client that pipelines is served as before."""
    async with watched_port() as port:
        reader, _ = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nz" * 20)
        for _ in range(20):
            async with asyncio.timeout(5):
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(1) == b"1"
        await port.until(heads=0, idle=1)


async def test_tls_works_as_before(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """With many callers at once, bodies both ways, and connections that are used again."""
    async with watched_port(tls=server_tls) as port, ClientSession() as http:

        async def call(size: int) -> str:
            async with http.post(port.url, data=b"x" * size, ssl=client_tls) as answer:
                return await answer.text()

        for _ in range(2):
            assert await asyncio.gather(*(call(size) for size in range(0, 400_000, 20_000))) == [
                str(size) for size in range(0, 400_000, 20_000)
            ]
        async with http.get(f"{port.url}/big", ssl=client_tls) as answer:
            assert len(await answer.read()) == 8 * 2**20
        assert port.counts.dropped == {}


@pytest.mark.parametrize("sent", [b"", HALF_HELLO], ids=["nothing", "half a hello"])
async def test_a_handshake_has_the_time_of_a_head(
    sent: bytes, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """It counts as a half-sent head, in number and time, and what was used for it does not begin anew behind it."""
    async with watched_port(ConnectionLimits(head_timeout_s=30, heads_max=10), tls=server_tls) as port:
        pairs = [await port.connect(sent) for _ in range(30)]
        await port.until(heads=10)
        assert await ended(pairs[0][0]) == b""
        slow = await port.connect(HALF, tls=client_tls)
        await port.until(heads=10)
        await asked(await port.connect(tls=client_tls))
        port.clock.advance(30)
        port.connections.sweep()
        assert await ended(pairs[-1][0]) == b""
        assert await ended(slow[0]) == b""
        assert port.connections.open_heads == 0


async def test_what_is_no_tls_ends_quietly(server_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture) -> None:
    """Any open port hears it."""
    async with watched_port(tls=server_tls) as port:
        for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100):
            reader, _ = await port.connect(sent)
            await ended(reader)
        reader, writer = await port.connect(HALF_HELLO)
        writer.close()
        await ended(reader)
        await port.until(heads=0)
    assert caplog.records == []


@pytest.fixture
async def flooded() -> AsyncIterator[tuple[WatchedPort, Pair]]:
    """A port with its default bounds, a neighbour that is connected, and 1,500 half heads from the same address."""
    async with watched_port() as port:
        neighbour = await port.connect()
        await asked(neighbour)
        for _ in range(15):
            await asyncio.gather(*(port.connect(HALF) for _ in range(100)))
        await port.until(heads=1_000)
        yield port, neighbour


async def test_1500_half_heads_slow_no_neighbour_down(flooded: tuple[WatchedPort, Pair]) -> None:
    """Who was there before goes on, who comes is answered, in some milliseconds; a second later 200 are left."""
    port, neighbour = flooded
    longest_s = 0.0
    for _ in range(20):
        begun_s = perf_counter()
        await asked(neighbour)
        await asked(await port.connect())
        await port.connect(HALF)
        longest_s = max(longest_s, perf_counter() - begun_s)
    assert longest_s < 0.5, "two calls on a machine that others use, too"
    port.clock.advance(2)
    port.connections.sweep()
    assert port.connections.open_heads <= 220
    await asked(neighbour)
