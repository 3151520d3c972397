"""Open a port as app does, with its connections watched by a clock that stands still, before a handler of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

from bqgate.app.listening import OwnPort, open_port
from bqgate.gate.http.connections import ConnectionLimits, Connections
from tests.support.manual_clock import ManualClock

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class DropCounts:
    """Telemetry that counts what was dropped."""

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        if name == "connections_dropped_total":
            self.dropped[labels["reason"]] = self.dropped.get(labels["reason"], 0) + amount

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Not kept."""

    def log(self, event: str, /, **fields: object) -> None:
        """Not kept."""


@dataclass
class WatchedPort:
    """A port. `answer` of a call to /wait is written when `may_answer` is set; /big is larger than any buffer."""

    url: str
    connections: Connections
    clock: ManualClock
    counts: DropCounts
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, sent: bytes = b"", *, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Pair:
        """A connection from an address of loopback on which this much was sent."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(source, 0), ssl=tls)
        self.opened.append(writer)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def until(
        self,
        *,
        heads: int | None = None,
        idle: int | None = None,
        bodies: int | None = None,
        stalled: int | None = None,
    ) -> None:
        """Return when the port knows so many of each kind that is asked for."""
        wanted = {"open_heads": heads, "idle": idle, "open_bodies": bodies, "stalled": stalled}
        async with asyncio.timeout(10):
            while any(most is not None and getattr(self.connections, name) != most for name, most in wanted.items()):
                await self.clock.sleep(0)

    async def until_dropped(self, count: int, reason: str) -> None:
        """Return when so many were dropped."""
        async with asyncio.timeout(10):
            while self.counts.dropped.get(reason, 0) < count:
                await self.clock.sleep(0)
        assert self.counts.dropped == {reason: count}


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, which must be soon."""
    text = bytearray()
    try:
        async with asyncio.timeout(5):
            while chunk := await reader.read(65_536):
                text += chunk
    except ConnectionResetError:
        pass
    return bytes(text)


async def asked(pair: Pair, path: str = "/", body: bytes = b"") -> bytes:
    """The answer to a request on a connection, which stays."""
    reader, writer = pair
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))


@asynccontextmanager
async def watched_port(
    limits: ConnectionLimits | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WatchedPort]:
    """A port that is open."""
    clock, counts = ManualClock(), DropCounts()
    connections = Connections(limits or ConnectionLimits(), clock, counts)
    app = web.Application(client_max_size=2**26)
    async with AsyncExitStack() as stack:

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path == "/wait":
                await port.may_answer.wait()
            if request.path == "/big":
                return web.Response(body=b"x" * 8 * 2**20)
            if request.path == "/refuse":
                return web.Response(status=401)
            return web.Response(body=str(len(await request.read())).encode())

        app.router.add_route("*", "/{tail:.*}", answer)
        url = await open_port(
            app,
            OwnPort("127.0.0.1", 0),
            tls,
            stack,
            telemetry=counts,
            connections=connections,
            shutdown_s=1,
        )
        port = WatchedPort(url, connections, clock, counts)
        try:
            yield port
        finally:
            for writer in port.opened:
                writer.transport.abort()
            await clock.sleep(0)
