"""Send a request whose body is at hand over a connection of aiohttp's, and return when the head of its answer is there.

Used by upstream.py for what every query sends: POSTs of a few kilobytes. Connections, TLS, writer and parser are
aiohttp's. What its session does besides is left out, for it takes as long again: cookies, redirects, proxies, default
headers, a task that writes the body. What leaves: an Answer, or aiohttp's errors.
"""

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from bqgate.wire.http_message import Headers

# What a connection takes at once, so that nobody has to wait for the other side while it is written.
BODY_BYTES_MAX = 32 * 1024
_SWITCHING_PROTOCOLS = 101
_TOO_LATE = "Timeout on reading data from socket"


class Answer:
    """The head of an answer, and its body as it comes. The connection is free again when the body is whole."""

    def __init__(self, message: RawResponseMessage, content: aiohttp.StreamReader, connection: Connection) -> None:
        self.status = message.code
        self.headers = message.headers
        self.content = content
        self.connection: Connection | None = connection
        content.on_eof(self.release)

    def release(self) -> None:
        """Give the connection back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def close(self) -> None:
        """Close the connection; what did not come by now does not come."""
        if not self.content.is_eof() and self.content.exception() is None:
            self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        if self.connection is not None:
            self.connection.close()


class Exchanges:
    """Requests to one server. Made inside a running event loop."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, *, connect_timeout_s: float, line_bytes_max: int
    ) -> None:
        """Open no connection yet.

        Args:
            session: whose connections are used.
            base_url: where the server is; its path stands before every target.
            connect_timeout_s: how long a connection may take.
            line_bytes_max: how long a line of an answer's head may be.
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

    async def post(
        self, target: str, headers: Headers, body: bytes, *, read_timeout_s: float, on_free: Callable[[], None]
    ) -> Answer:
        """Post a body.

        Args:
            target: the path and query.
            headers: all but Host, with the body's length.
            body: at most BODY_BYTES_MAX.
            read_timeout_s: how long the head of the answer may take, and each byte behind it.
            on_free: called once, when the connection is given back or closed.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: there is no answer.
        """
        try:
            connection = await self._connector.connect(self._server, [], self._timeout)
        except BaseException as error:
            on_free()
            if isinstance(error, TimeoutError):
                raise aiohttp.ConnectionTimeoutError(f"Connection timeout to {self._host}") from error
            raise
        connection.add_callback(on_free)
        protocol = connection.protocol
        assert protocol is not None, "it was given a moment ago"
        # One timer for the head. aiohttp's own begins anew with all that comes, which is for bodies that take long.
        timer = self._loop.call_later(read_timeout_s, protocol.set_exception, aiohttp.SocketTimeoutError(_TOO_LATE))
        try:
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=self._line_bytes_max,
                max_field_size=self._line_bytes_max,
            )
            writer = StreamWriter(protocol, self._loop)
            line = f"POST {self._path}{target} HTTP/1.1"
            await writer.write_headers(line, CIMultiDict(((hdrs.HOST, self._host), *headers)))
            await writer.write_eof(body)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:  # the server is at work
                message, content = await protocol.read()
            if not content.is_eof():
                protocol.read_timeout = read_timeout_s
                protocol.start_timeout()
            return Answer(message, content, connection)
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._server.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            connection.close()
            raise
        finally:
            timer.cancel()
