import asyncio
import logging
from urllib.parse import urlsplit

import pytest

from tests.support.gate_stand import GateStand

INSERT = "/bigquery/v2/projects/p/datasets/d/tables/t/insertAll"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
NEXT = b"GET /bigquery/v2/projects/smuggled HTTP/1.1\r\nHost: gate\r\n\r\n"


async def _all_that_comes_back(gate: GateStand, framing: bytes, body: bytes, version: str = "1.1") -> bytes:
    """The answers to a request that is framed so, and to what follows it on the same connection."""
    parts = urlsplit(gate.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"POST {INSERT} HTTP/{version}\r\nHost: gate\r\n".encode() + framing + b"\r\n\r\n" + body + NEXT)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: deflate,chunked",
    ],
)
async def test_no_transfer_coding_but_chunked_is_known(gate: GateStand, framing: bytes) -> None:
    """It is answered with 501 and the connection ends: what follows on it is no request of its own."""
    text = await _all_that_comes_back(gate, framing, CHUNKS)
    assert text.startswith(b"HTTP/1.1 501 ")
    assert b"\r\nConnection: close\r\n" in text
    assert b'"reason":"notImplemented"' in text.replace(b" ", b"")
    assert text.count(b"\r\nDate: ") == 1
    assert gate.upstream.received == []


@pytest.mark.parametrize("framing", [b"Transfer-Encoding:", b"Transfer-Encoding: \r\nContent-Length: 2"])
async def test_an_empty_transfer_coding_is_none_that_is_known(gate: GateStand, framing: bytes) -> None:
    """It stands beside a length, or in its place."""
    text = await _all_that_comes_back(gate, framing, b"{}" if b"Length" in framing else b"")
    assert text.startswith(b"HTTP/1.1 501 ")
    assert text.count(b"\r\nDate: ") == 1
    assert gate.upstream.received == []


async def test_old_http_has_no_chunks(gate: GateStand) -> None:
    """A proxy of HTTP/1.0 would read the body to the connection's end."""
    text = await _all_that_comes_back(gate, b"Transfer-Encoding: chunked", CHUNKS, version="1.0")
    assert text.startswith(b"HTTP/1.0 400 ")
    assert text.count(b"\r\nDate: ") == 1
    assert gate.upstream.received == []


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Transfer-Encoding: chunked, chunked", CHUNKS),
        (b"Transfer-Encoding: chunked, identity", CHUNKS),
        (b"Transfer-Encoding: chunked;q=1", CHUNKS),
        (b"Transfer-Encoding: identity", b"{}"),
        (b"Transfer-Encoding: gzip", CHUNKS),
        (b"Transfer-Encoding: xchunked", CHUNKS),
        (b"Transfer-Encoding: \x0bchunked", CHUNKS),
        (b"Transfer-Encoding:\r\n chunked", CHUNKS),
        (b"Transfer-Encoding : chunked", CHUNKS),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", CHUNKS),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2", CHUNKS),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked", CHUNKS),
        (b"Content-Length: 2\r\nContent-Length: 3", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 2", b"{}"),
        (b"Content-Length: 2, 2", b"{}"),
        (b"Content-Length: +2", b"{}"),
        (b"Content-Length: 0x2", b"{}"),
        (b"Content-Length: -1", b"{}"),
        (b"Content-Length: 99999999999999999999999", b"{}"),
        (b"Content-Length:", b"{}"),
        (b"Content-Length\x00: 2", b"{}"),
        (b"X-A: b\nContent-Length: 2", b"{}"),
        (b"X-A: b\rContent-Length: 2", b"{}"),
        (b"Host: other\r\nContent-Length: 2", b"{}"),
        (b"Transfer-Encoding: chunked", b"0x2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"+2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"2\n{}\n0\n\n"),
        (b"Transfer-Encoding: chunked", b"2;a\nb\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"fffffffffffffffff2\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
    ],
)
async def test_what_has_two_ends_is_refused(
    gate: GateStand, framing: bytes, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever shape it has: 400, the connection ends, and nothing that follows is taken for a request."""
    caplog.set_level(logging.CRITICAL, "aiohttp.server")
    text = await _all_that_comes_back(gate, framing, body)
    assert b" 400 " in text.splitlines()[0]
    assert text.count(b"\r\nDate: ") == 1
    assert [call.target for call in gate.upstream.received] == []


@pytest.mark.parametrize("name", ["chunked", "Chunked", "CHUNKED"])
async def test_chunks_are_a_body(gate: GateStand, name: str) -> None:
    """Every client that does not know its body's length sends it so; the case does not matter, the connection stays."""
    parts = urlsplit(gate.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for _ in range(2):
        writer.write(f"POST {INSERT} HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: {name}\r\n\r\n".encode() + CHUNKS)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b" 200 " in head
        await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
    writer.close()
    await writer.wait_closed()
    assert [call.body for call in gate.upstream.received] == [b"{}", b"{}"]
