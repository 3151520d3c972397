"""Stand in for BigQuery on 127.0.0.1: record what arrives, byte for byte where it matters, and answer as told.

A real HTTP server, so that framing, compression and broken connections are those of the wire.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Received:
    """One request as it arrived. `target` is the raw request target, `headers` keep their case and order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class RecordingUpstream:
    """`url` to point at; `reply` may be replaced; `keeps_bodies` False leaves reading the body to the reply."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    reply: Reply | None = None
    keeps_bodies: bool = True
    has_call: asyncio.Event = field(default_factory=asyncio.Event)
    has_broken_body: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.has_call.set()
        body = b""
        if self.keeps_bodies:
            is_whole = False
            try:
                body = await request.read()
                is_whole = True
            finally:
                if not is_whole:
                    self.has_broken_body.set()
        headers = tuple((key.decode(), value.decode()) for key, value in request.raw_headers)
        self.received.append(Received(request.method, request.raw_path, headers, body))
        if self.reply is not None:
            return await self.reply(request)
        return web.json_response({"kind": "bigquery#recorded"})

    @property
    def last(self) -> Received:
        return self.received[-1]


@asynccontextmanager
async def recording_upstream() -> AsyncIterator[RecordingUpstream]:
    """A running recorder."""
    upstream = RecordingUpstream()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{tail:.*}", upstream.serve)
    async with served(app) as url:
        upstream.url = url
        yield upstream


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """An application on a free port of 127.0.0.1; its URL."""
    options: dict[str, Any] = {"auto_decompress": False, "max_line_size": 65536, "max_field_size": 65536}
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True, **options)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def replying(status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
    """A reply that is always the same."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return reply
