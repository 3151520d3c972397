"""Stand between a connection and aiohttp's server, and tell connections.py where it is in its requests.

aiohttp has no time limit for a head and no bound on its size but those of a line and of the number of lines, which are
megabytes together. Made for every connection that is accepted; hands on what comes, unchanged. TLS is begun here and
not by the listening socket, so that a handshake that stands still counts, too.

The end of a head is found as RFC 9112 section 2.2 has it: line breaks before the request line are none, and the first
empty line ends it. aiohttp's parser is as strict and refuses what could be read in another way.
"""

import asyncio
import ssl
from enum import Enum, auto
from functools import partial
from typing import cast

from aiohttp import web

from bqgate.gate.http.connections import Connections, Pool
from bqgate.wire.source_address import source_of

# Google's front end takes 16 KiB; tokens have up to 12, and tools add headers of their own.
HEAD_BYTES_MAX = 96 * 1024
# What may be sent behind a request that is not answered yet. No client of BigQuery's sends any.
AHEAD_BYTES_MAX = 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"


class _Stage(Enum):
    HEAD = auto()
    ANSWERING = auto()
    LINGERING = auto()  # answered, and the rest of its body has not come in time: aiohttp closes it
    IDLE = auto()


class WatchedConnection(asyncio.Protocol):
    """One connection. `http` is aiohttp's protocol for it."""

    def __init__(self, connections: Connections, http: asyncio.Protocol, tls: ssl.SSLContext | None) -> None:
        self.source = ""
        self.since_s = 0.0
        self.place: Pool | None = None
        self.stalled_since_s: float | None = None
        self._connections = connections
        self._http = http
        self._tls = tls
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None  # what aiohttp writes to, once it has been told
        self._handshake: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._stage = _Stage.HEAD
        self._is_gone = False
        self._request: web.Request | None = None
        self._last = b""  # the end of all that has come
        self._begin_head(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.source = source_of(str(peer[0])) if isinstance(peer, tuple) else ""
        self._connections.opened(self, self._http)
        if self._is_gone:  # there were too many already, and this was the oldest of whoever has most
            return
        if self._tls is None:
            self._hand_over(self._raw)
        else:
            self._raw.pause_reading()
            self._handshake = asyncio.get_running_loop().create_task(self._shake_hands(self._raw, self._tls))

    async def _shake_hands(self, raw: asyncio.Transport, tls: ssl.SSLContext) -> None:
        """Begin TLS. Whoever speaks something else, or leaves meanwhile, is gone without a word."""
        timeout_s = self._connections.limits.head_timeout_s
        secured: asyncio.Transport | None = None
        try:
            secured = await asyncio.get_running_loop().start_tls(
                raw, self, tls, server_side=True, ssl_handshake_timeout=timeout_s
            )
        except OSError:  # an ssl.SSLError is one, and so is a handshake's end before its time
            pass
        finally:
            if secured is None:
                self._leave()
                raw.abort()
        if secured is not None and not self._is_gone:
            self._hand_over(secured)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._http.connection_made(transport)
        for data in self._early:
            self.data_received(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._is_gone:
            return
        if self._transport is None:  # TLS has begun a moment ago, and _shake_hands has not heard of it yet
            self._early.append(data)
            return
        was_idle = self._stage is _Stage.IDLE
        if was_idle:
            self._begin_head(0)
        self._received += len(data)
        is_too_much = self._is_too_much(data)
        self._last = (self._last + data[-len(_END_OF_HEAD) :])[-len(_END_OF_HEAD) :]
        if is_too_much:
            self._connections.drop(self, "head_too_large")
            return
        if self._stage is _Stage.HEAD and self._head_bytes is not None:
            self._connections.head_ends(self)
        elif was_idle:
            self._connections.head_begins(self)
        if self._request is not None and not self._request.content.is_eof():
            self._connections.body_goes_on(self)
        self._http.data_received(data)
        if self._stage is _Stage.LINGERING:
            self._end_request()

    def _begin_head(self, received: int) -> None:
        self._stage = _Stage.HEAD
        self._received = received  # since the head began
        self._head_bytes: int | None = None  # how long it is, once its end is seen
        self._tail = b""
        self._ahead = 0

    def _is_too_much(self, data: bytes) -> bool:
        if self._stage is _Stage.ANSWERING and self._request is not None and self._request.content.is_eof():
            self._ahead += len(data)
            return self._ahead > AHEAD_BYTES_MAX
        if self._stage is not _Stage.HEAD or self._head_bytes is not None:
            return False
        # Line breaks before the request line count as bytes and end nothing.
        text = (self._tail + data).lstrip(b"\r\n") if not self._tail else self._tail + data
        end = text.find(_END_OF_HEAD)
        if end < 0:
            # At least one byte stays, to tell that the request line has begun.
            self._tail = text[-len(_END_OF_HEAD) + 1 :]
            return self._received > HEAD_BYTES_MAX
        self._head_bytes = self._received - (len(text) - end - len(_END_OF_HEAD))
        return self._head_bytes > HEAD_BYTES_MAX

    def begin(self, request: web.Request) -> None:
        """A request's head is whole."""
        self._stage = _Stage.ANSWERING
        self._request = request
        self._connections.answering(self)
        if not request.content.is_eof():
            self._connections.body_begins(self)
            request.content.on_eof(partial(self._connections.body_ends, self))

    def end(self, _request: web.Request) -> None:
        """Its answer is written."""
        if not self._is_gone:
            self._end_request()

    def _end_request(self) -> None:
        """Wait for the rest of a refused body, for the rest of another request's head, or for nothing."""
        request = self._request
        assert request is not None, "one has been answered"
        if not request.content.is_eof():
            self._stage = _Stage.LINGERING
            return
        self._request = None
        if behind := self._behind(request):
            self._begin_head(behind)
            self._connections.head_begins(self)
        else:
            self._stage = _Stage.IDLE
            self._connections.rests(self)

    def _behind(self, request: web.Request) -> int:
        """How many bytes of half a head came behind a request; more rather than less. What is whole begins at once."""
        if self._last == _END_OF_HEAD:
            return 0
        if "Transfer-Encoding" in request.headers:  # how long the framing was, nobody knows
            return self._received
        head_bytes = self._head_bytes or _size_of_head(request)
        return max(0, self._received - head_bytes - request.content.total_bytes)

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._connections.stalls(self)
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._connections.goes_on(self)
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self._transport is not None:
            self._http.connection_lost(exc)

    def drop(self) -> None:
        """Close the connection now; nothing is waited for."""
        self._is_gone = True
        if self._handshake is not None:
            self._handshake.cancel()
        if self._raw is not None:
            self._raw.abort()

    def _leave(self) -> None:
        self._is_gone = True
        self._connections.closed(self, self._http)


def _size_of_head(request: web.Request) -> int:
    """How long a head was that came behind another request, as clients write it."""
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers) + len("\r\n")
