"""Send a request whose body is at hand over a connection of aiohttp's, and return when the head of its answer is there.

Used by upstream.py for what every query sends: POSTs of a few kilobytes. Connecting, TLS and parser are aiohttp's. What
its session and its pool do besides is left out, for it takes as long again: cookies, redirects, proxies, default
headers, a task that writes the body, a parser for each answer. What leaves: an Answer, or aiohttp's errors.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from bqgate.wire.http_message import Headers

# What a connection takes at once, so that nobody has to wait for the other side while it is written.
BODY_BYTES_MAX = 32 * 1024
# How long a connection is kept for another request, as aiohttp's own pool does.
_KEPT_S = 15.0
_SWITCHING_PROTOCOLS = 101


class Answer:
    """The head of an answer, and its body as it comes. The connection is free again when the body is whole."""

    def __init__(
        self,
        message: RawResponseMessage,
        content: aiohttp.StreamReader,
        connection: Connection,
        give_back: Callable[[Connection], None],
    ) -> None:
        self.status = message.code
        self.headers = message.headers
        self.content = content
        self.connection: Connection | None = connection
        self._give_back = give_back
        content.on_eof(self.release)

    def release(self) -> None:
        """Give the connection back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._give_back(connection)

    def close(self) -> None:
        """Close the connection; what did not come by now does not come."""
        if not self.content.is_eof() and self.content.exception() is None:
            self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
        if self.connection is not None:
            self.connection.close()
        self.release()

    def __del__(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.release()


class Exchanges:
    """Requests to one server. Made inside a running event loop; close it before its session."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        *,
        connect_timeout_s: float,
        line_bytes_max: int,
        on_free: Callable[[], None],
    ) -> None:
        """Open no connection yet.

        Args:
            session: which connects.
            base_url: where the server is; its path stands before every target.
            connect_timeout_s: how long a connection may take.
            line_bytes_max: how long a line of an answer's head may be.
            on_free: called once for each request, when its connection is given back, closed or not made.
        """
        assert session.connector is not None, "the session is open"
        self._connector = session.connector
        self._loop = asyncio.get_running_loop()
        url = URL(base_url, encoded=True)
        # Says to whom a connection leads, and bears nothing of any request.
        self._server = aiohttp.ClientRequest("POST", url, loop=self._loop, session=session)
        self._host = self._server.headers[hdrs.HOST]
        self._path = url.raw_path.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(connect=connect_timeout_s, sock_connect=connect_timeout_s)
        self._line_bytes_max = line_bytes_max
        self._on_free = on_free
        self._kept: deque[tuple[Connection, float]] = deque()  # and since when; the last is used first
        self._timer: asyncio.TimerHandle | None = None

    async def post(self, target: str, headers: Headers, body: bytes, *, read_timeout_s: float) -> Answer:
        """Post a body.

        Args:
            target: the path and query.
            headers: all but Host, with the body's length.
            body: at most BODY_BYTES_MAX.
            read_timeout_s: how long the head of the answer may take, and each byte behind it.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: there is no answer.
            ValueError: a header would end before its end.
        """
        connection = self._kept_connection() or await self._connected()
        protocol = connection.protocol
        assert protocol is not None, "it is in use"
        # One timer for the head. aiohttp's own begins anew with all that comes, which is for bodies that take long.
        timer = self._loop.call_later(read_timeout_s, _give_up, protocol)
        try:
            head = _head(f"POST {self._path}{target} HTTP/1.1\r\nHost: {self._host}", headers)
            _open_transport(protocol).write(head + body)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:  # the server is at work
                message, content = await protocol.read()
            if not content.is_eof():
                protocol.read_timeout = read_timeout_s
                protocol.start_timeout()
            return Answer(message, content, connection, self._give_back)
        except HttpProcessingError as error:
            self._drop(connection)
            raise aiohttp.ClientResponseError(
                self._server.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            self._drop(connection)
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close what is kept."""
        if self._timer is not None:
            self._timer.cancel()
        while self._kept:
            self._kept.pop()[0].close()

    async def _connected(self) -> Connection:
        """A new connection, which reads every answer with the same parser."""
        try:
            connection = await self._connector.connect(self._server, [], self._timeout)
        except BaseException as error:
            self._on_free()
            if isinstance(error, TimeoutError):
                raise aiohttp.ConnectionTimeoutError(f"Connection timeout to {self._host}") from error
            raise
        assert connection.protocol is not None, "it was given a moment ago"
        connection.protocol.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=self._line_bytes_max,
            max_field_size=self._line_bytes_max,
        )
        return connection

    def _kept_connection(self) -> Connection | None:
        """The connection that was given back last, where it can be used again."""
        while self._kept:
            connection, since_s = self._kept.pop()
            if _is_usable(connection.protocol) and self._loop.time() - since_s <= _KEPT_S:
                return connection
            connection.close()
        return None

    def _drop(self, connection: Connection) -> None:
        """Close a connection that bears an answer of which nobody will hear."""
        connection.close()
        self._on_free()

    def _give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer is whole; one that was closed, or cannot be used again, is let go."""
        if (protocol := connection.protocol) is not None and _is_usable(protocol):
            protocol.read_timeout = None
            self._kept.append((connection, self._loop.time()))
            if self._timer is None:
                self._timer = self._loop.call_later(_KEPT_S, self._let_go)
        else:
            connection.close()
        self._on_free()

    def _let_go(self) -> None:
        """Close what nobody used for long."""
        now_s = self._loop.time()
        while self._kept and now_s - self._kept[0][1] >= _KEPT_S:
            self._kept.popleft()[0].close()
        left_s = self._kept[0][1] + _KEPT_S - now_s if self._kept else 0.0
        self._timer = self._loop.call_later(left_s, self._let_go) if self._kept else None


def _is_usable(protocol: ResponseHandler | None) -> bool:
    """Whether another answer can come: nothing is left of the last one, and nothing came that nobody asked for."""
    return protocol is not None and protocol.is_connected() and not protocol.should_close


def _give_up(protocol: ResponseHandler) -> None:
    protocol.set_exception(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))


def _open_transport(protocol: ResponseHandler) -> asyncio.Transport:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    return transport


def _head(beginning: str, headers: Headers) -> bytes:
    head = "\r\n".join([beginning, *map(": ".join, headers)])
    lines = len(headers) + 1
    if head.count("\n") != lines or head.count("\r") != lines or "\0" in head:
        raise ValueError("A line break or a zero in a header.")
    return f"{head}\r\n\r\n".encode(errors="ignore")  # what is no text was no text when it came
