r"""Stand in for BigQuery with bytes: what no HTTP server would send, and connections that end where they should not.

    async with raw_upstream() as upstream:
        upstream.reply = sending(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

A reply is written for each request; then the connection is closed, unless the reply has not come to its end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

RawReply = Callable[["RawUpstream", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawUpstream:
    """`url` to point at; `heads` of the requests as they came; `open_count` connections that the gate keeps open.

    `heard`: set by the test when the caller has read the beginning of an answer.
    """

    reply: RawReply
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    open_count: int = 0
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replying: asyncio.Future[None] | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.open_count += 1
            self.all_closed.clear()
            self.connected.set()
            self.heads.append(head)
            replying = asyncio.ensure_future(self.reply(self, writer))
            hearing = asyncio.ensure_future(_end_of(reader))
            await asyncio.wait({replying, hearing}, return_when=asyncio.FIRST_COMPLETED)
            hearing.cancel()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the gate left, which is what some tests are about
        finally:
            writer.close()
            if replying is not None:
                replying.cancel()
                self.open_count -= 1
            if not self.open_count:
                self.all_closed.set()


async def _end_of(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(65536):
            pass


def sending(text: bytes, *, then: RawReply | None = None) -> RawReply:
    """A reply of these bytes, and of what `then` does."""

    async def reply(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        with suppress(OSError):
            await writer.drain()
        if then is not None:
            await then(upstream, writer)

    return reply


def when_heard(then: RawReply) -> RawReply:
    """Go on when the caller has read what was sent so far."""

    async def reply(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        await upstream.heard.wait()
        await then(upstream, writer)

    return reply


async def reset(_upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
    """Break the connection instead of ending it."""
    writer.transport.abort()


async def silence(_upstream: RawUpstream, _writer: asyncio.StreamWriter) -> None:
    """Say nothing more, for ever."""
    await asyncio.Event().wait()


async def without_end(_upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
    """Chunk after chunk, as fast as they are taken."""
    with suppress(OSError):
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()


@asynccontextmanager
async def raw_upstream(reply: RawReply | None = None) -> AsyncIterator[RawUpstream]:
    """A running one."""
    upstream = RawUpstream(reply or sending(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
