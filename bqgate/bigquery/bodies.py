"""Stream bodies between aiohttp and the gate: a caller's on its way to BigQuery, and an answer's on its way back.

Used by upstream.py. Nothing is kept: a chunk is read when somebody asks for the next one; only what came with the head
is there at once. A body that breaks off is an
error and never an end: of a caller's body its own, of an answer's UpstreamUnavailable.
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from bqgate.bigquery.exchange import Answer
from bqgate.bigquery.failures import unavailable
from bqgate.domain.errors import BqgateError
from bqgate.wire.http_message import Body

_PIECE_BYTES = 256 * 1024


def body_of(response: aiohttp.ClientResponse | Answer) -> Body:
    """The body of an answer: bytes where it came whole with its head, so that its connection is free; else a stream."""
    content = response.content
    if content.is_eof() and content.exception() is None and content.total_bytes:
        return content.read_nowait()
    return ResponseBody(response)


class ResponseBody:
    """The body of an answer, read from BigQuery as fast as it is asked for.

    Not a generator, because closing a generator that was never started does nothing, and the connection would stay.
    """

    def __init__(self, response: aiohttp.ClientResponse | Answer) -> None:
        self._response = response
        connection = response.connection  # None where the body is here already
        protocol = None if connection is None else connection.protocol
        self._closed = None if protocol is None else protocol.closed
        if self._closed is not None:
            self._closed.add_done_callback(self._notice_end)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError) as error:
            self._leave(is_whole=False)
            raise unavailable(error) from error
        if not chunk:
            self._leave(is_whole=True)
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back: for reuse when the body was read to its end, else closed."""
        self._leave(is_whole=self._response.content.at_eof())

    def _leave(self, *, is_whole: bool) -> None:
        if self._closed is not None:
            self._closed.remove_done_callback(self._notice_end)
        if is_whole:
            self._response.release()
        else:
            self._response.close()

    def _notice_end(self, closed: "asyncio.Future[None]") -> None:
        """Tell whoever reads that no more will come: after a malformed chunk aiohttp closes and does not say so."""
        if not closed.cancelled():
            closed.exception()
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection is closed"))


class CallerBody:
    """A request body that remembers why it broke off, which aiohttp would hide behind its own error."""

    def __init__(self, body: Body) -> None:
        self.failure: BqgateError | None = None
        self.data: bytes | AsyncIterator[bytes] | None
        if not isinstance(body, bytes):
            self.data = self._chunks(body)
        elif len(body) > _PIECE_BYTES:
            self.data = _pieces(body)
        else:
            self.data = body or None

    async def _chunks(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in body:
                yield chunk
        except BqgateError as error:
            self.failure = error
            raise


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """A large body bit by bit, so that others run in between; its length is in the headers."""
    for at in range(0, len(body), _PIECE_BYTES):
        yield body[at : at + _PIECE_BYTES]
