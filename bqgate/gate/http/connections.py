"""Bound the connections that wait for their callers: for the rest of a head or body, to take an answer, and idle ones.

Made by app, one for each port; counts the connections that watched_connection.py tells of. A head, with the TLS
handshake before it, has a time limit from the connection's first moment, or from its first byte on a connection that
was idle; no byte renews it. Beyond a number of unfinished heads the oldest of whoever has most goes, so that the others
get in: a head that is honest is whole within one round trip. Of bodies that are not whole, and of answers that are not
taken, the one goes that has stood still longest: what is honest moves on. Idle connections are counted apart, so that
half-sent heads close none of them. An answer of which the caller takes nothing for minutes is broken off.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from bqgate.ports import Clock, Telemetry
from bqgate.ports.turns import let_others_run

SWEEP_S = 1.0
# A crowd of honest callers may connect in one moment; what has not asked a second later is a half-sent head.
YOUNG_S = 1.0
# BigQuery's longest answer has 20 MB; who takes nothing of it for so long reads no more.
STALLED_ANSWER_S = 300.0
# How long the rest of a body is taken that nobody wants.
REFUSED_BODY_S = 10.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a head may take, and how many there may be of what is unfinished.

    Of heads in all and of one source; of bodies, and as many answers that are not taken; of idle connections.
    """

    head_timeout_s: float = 30
    heads_max: int = 1_000
    heads_per_source: int = 200
    bodies_max: int = 1_000
    idle_max: int = 2_000


class Watched(Protocol):
    """A connection: whose it is, since when it is as it is, and how to end it.

    `place` is kept by Connections: where it waits for a head, or between two requests.
    """

    source: str
    since_s: float
    place: "Pool | None"
    stalled_since_s: float | None

    def drop(self) -> None:
        """Close it now."""

    def begin(self, request: web.Request) -> None:
        """A request's head is whole."""

    def end(self, request: web.Request) -> None:
        """Its answer is written."""


class Pool:
    """Connections by source, of each the oldest first: the one that is there, or stands still, for longest."""

    def __init__(self) -> None:
        self._by_source: dict[str, dict[Watched, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Watched]:
        for each in tuple(self._by_source.values()):
            yield from tuple(each)

    def add(self, connection: Watched) -> None:
        self._by_source.setdefault(connection.source, {})[connection] = None
        self._size += 1

    def discard(self, connection: Watched) -> None:
        ones = self._by_source.get(connection.source)
        if ones is None or connection not in ones:
            return
        del ones[connection]
        self._size -= 1
        if not ones:
            del self._by_source[connection.source]

    def renew(self, connection: Watched) -> None:
        """It is the newest now."""
        if connection in self._by_source.get(connection.source, {}):
            self.discard(connection)
            self.add(connection)

    def oldest_of_most(self) -> Watched:
        """The oldest of the source that has most."""
        most = max(map(len, self._by_source.values()))
        return next(next(iter(ones)) for ones in self._by_source.values() if len(ones) == most)

    def surplus(self, most: int, *, before_s: float) -> Iterator[Watched]:
        """Of sources that have more than `most`, the oldest that are too many and were there before a moment."""
        for ones in tuple(self._by_source.values()):
            for connection in tuple(ones)[: max(0, len(ones) - most)]:
                if connection.since_s < before_s:
                    yield connection


class Connections:
    """The connections of a port that wait for their callers."""

    def __init__(self, limits: ConnectionLimits, clock: Clock, telemetry: Telemetry) -> None:
        self.limits = limits
        self.clock = clock
        self._telemetry = telemetry
        self._heads = Pool()
        self._whole = Pool()  # heads that are whole, and of whose requests aiohttp has not told yet
        self._bodies = Pool()
        self._stalled = Pool()
        self._idle = Pool()
        self._by_http: dict[object, Watched] = {}

    @property
    def open_count(self) -> int:
        """How many there are, whatever they do."""
        return len(self._by_http)

    @property
    def open_heads(self) -> int:
        """How many connections have not sent a whole head, or have just done so."""
        return len(self._heads) + len(self._whole)

    @property
    def open_bodies(self) -> int:
        """How many connections have not sent a whole body."""
        return len(self._bodies)

    @property
    def stalled(self) -> int:
        """How many connections do not take their answer as fast as it comes."""
        return len(self._stalled)

    @property
    def idle(self) -> int:
        """How many connections wait between two requests."""
        return len(self._idle)

    def install(self, app: web.Application) -> None:
        """Be told of an application's requests, around everything else."""

        @web.middleware
        async def noted(request: web.Request, handler: _Handler) -> web.StreamResponse:
            connection = self._by_http.get(request.protocol)
            if connection is None:
                return await handler(request)
            connection.begin(request)
            try:
                response = await handler(request)
            except web.HTTPException as refused:
                await _read_over(request, refused)
                raise
            else:
                if not request.content.is_eof():
                    await _read_over(request, response)
                return response
            finally:
                connection.end(request)

        app.middlewares.insert(0, noted)

    def opened(self, connection: Watched, http: object) -> None:
        """A connection is there; `http` is what aiohttp knows it by."""
        self._by_http[http] = connection
        self.head_begins(connection)

    def head_begins(self, connection: Watched) -> None:
        """A head is waited for."""
        connection.since_s = self.clock.monotonic_s()
        self._count_head(connection)

    def _count_head(self, connection: Watched) -> None:
        self._move(connection, self._heads)
        if len(self._heads) > self.limits.heads_max:
            self.drop(self._heads.oldest_of_most(), "too_many_heads")

    def head_ends(self, connection: Watched) -> None:
        """A head is whole, so that its request begins in a moment: of a crowd that asks at once none is half-sent."""
        connection.since_s = self.clock.monotonic_s()
        self._move(connection, self._whole)

    def answering(self, connection: Watched) -> None:
        """A request has begun."""
        self._move(connection, None)

    def _move(self, connection: Watched, place: Pool | None) -> None:
        if connection.place is not None:
            connection.place.discard(connection)
        connection.place = place
        if place is not None:
            place.add(connection)

    def body_begins(self, connection: Watched) -> None:
        """A head is whole, and its body is not."""
        self._bodies.add(connection)
        if len(self._bodies) > self.limits.bodies_max:
            self.drop(self._bodies.oldest_of_most(), "too_many_bodies")

    def body_goes_on(self, connection: Watched) -> None:
        """Some of a body has come."""
        self._bodies.renew(connection)

    def body_ends(self, connection: Watched) -> None:
        """A body is whole."""
        self._bodies.discard(connection)

    def rests(self, connection: Watched) -> None:
        """A connection may be used again."""
        connection.since_s = self.clock.monotonic_s()
        self._move(connection, self._idle)
        if len(self._idle) > self.limits.idle_max:
            self.drop(self._idle.oldest_of_most(), "too_many_idle")

    def stalls(self, connection: Watched) -> None:
        """A caller does not take its answer as fast as it comes."""
        connection.stalled_since_s = self.clock.monotonic_s()
        self._stalled.add(connection)
        if len(self._stalled) > self.limits.bodies_max:
            self.drop(self._stalled.oldest_of_most(), "answer_not_taken")

    def goes_on(self, connection: Watched) -> None:
        """It took some of it."""
        connection.stalled_since_s = None
        self._stalled.discard(connection)

    def closed(self, connection: Watched, http: object) -> None:
        """A connection is gone."""
        self._by_http.pop(http, None)
        self._forget(connection)

    def drop(self, connection: Watched, reason: str) -> None:
        """Close a connection and count it."""
        self._forget(connection)
        self._telemetry.count("connections_dropped_total", reason=reason)
        connection.drop()

    def _forget(self, connection: Watched) -> None:
        self._move(connection, None)
        self._bodies.discard(connection)
        self._stalled.discard(connection)

    async def run(self) -> None:
        """Look for what has taken too long, for ever."""
        while True:
            self.sweep()
            await self.clock.sleep(SWEEP_S)

    def sweep(self) -> None:
        """Close what has taken too long, and what one source has too many of."""
        now_s = self.clock.monotonic_s()
        for connection in self._whole:
            if now_s - connection.since_s >= YOUNG_S:  # none that aiohttp knows: behind a change of protocols
                self._count_head(connection)
        for connection in self._heads:
            if now_s - connection.since_s >= self.limits.head_timeout_s:
                self.drop(connection, "head_timeout")
        for connection in self._heads.surplus(self.limits.heads_per_source, before_s=now_s - YOUNG_S):
            self.drop(connection, "too_many_heads")
        for connection in self._stalled:
            since_s = connection.stalled_since_s
            if since_s is not None and now_s - since_s >= STALLED_ANSWER_S:
                self.drop(connection, "answer_not_taken")

    def close(self) -> None:
        """Close what has asked nothing: the port closes."""
        for connection in self._heads:
            self._forget(connection)
            connection.drop()


async def _read_over(request: web.Request, response: web.StreamResponse) -> None:
    """Answer, and take what still comes of a body that nobody wants, or its sender might not read the answer.

    aiohttp would do the same without a pause, and so keep others waiting who sends a byte in each chunk.
    """
    if request.content.is_eof() or request.transport is None or request.transport.is_closing():
        return
    with suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
        await response.prepare(request)
        await response.write_eof()
        async with asyncio.timeout(REFUSED_BODY_S):
            while not request.content.is_eof():
                await request.content.readany()
                await let_others_run()
    if not request.content.is_eof():
        request.protocol.force_close()
