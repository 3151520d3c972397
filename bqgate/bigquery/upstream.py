"""Carry calls to BigQuery and stream its answers back: the Upstream port over aiohttp.

Called by the gate's passthrough and forward steps and by jobs.py. What goes out is what came in, but for: Host, the
headers that belong to one connection (RFC 9110 section 7.6.1), Expect (the gate has answered it), and the credential
(credentials.py). Compression is not touched, redirects (among them 308, by which BigQuery asks for the next chunk of an
upload) are not followed, cookies are not kept, and the path keeps its percent-encoding.

Time limits, in seconds: 10 to be connected, 240 for the first byte and between bytes, because jobs.query and
getQueryResults wait up to about 200 (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults);
guarded_upstream.py, which app puts around this, has a shorter one for most calls.
What leaves: an Answer whose body is read as the caller takes it, or UpstreamUnavailable: UpstreamTimeout, and
UpstreamNotTried where there is no token or all connections are in use; a caller's body that breaks off ends the call
with the error of that body.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from bqgate.bigquery.credentials import UpstreamCredentials
from bqgate.domain.errors import BqgateError, UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.observe.causes import cause_of
from bqgate.wire.exchange import Answer, Body, Call, Headers, without

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 240.0
# Long polls hold a connection each; beyond this number calls wait for one until the connect timeout.
CONNECTIONS_MAX = 1_000
_LINE_BYTES_MAX = 32 * 1024
_PIECE_BYTES = 256 * 1024
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_SENT = frozenset({"expect", "host"})
_NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)


class HttpUpstream:
    """BigQuery at a base URL. Made inside a running event loop; close it there."""

    def __init__(
        self,
        base_url: str,
        credentials: UpstreamCredentials,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            trace_configs=[_trace_queue()],
        )

    async def exchange(self, call: Call, *, credential: Credential, read_timeout_s: float | None = None) -> Answer:
        """Send a call and return when its answer's headers are there; see ports.Upstream."""
        call = await self._credentials.applied_to(call, credential)
        body = _WatchedBody(call.body)
        queue = _Queue()
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=self._connect_timeout_s,
            sock_connect=self._connect_timeout_s,
            sock_read=self._read_timeout_s if read_timeout_s is None else read_timeout_s,
        )
        try:
            response = await self._session.request(
                call.method,
                URL(self._base_url + call.target, encoded=True),
                headers=CIMultiDict(_end_to_end(call)),
                data=body.data,
                skip_auto_headers=_NOT_ADDED,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=queue,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if body.failure is not None:
                raise body.failure from None
            if queue.is_waiting:
                raise UpstreamNotTried("All connections to BigQuery are in use.") from error
            raise _unavailable(error) from error
        return _answer(response)

    async def close(self) -> None:
        """Give back connections."""
        await self._session.close()


class AnswerBody:
    """The body of an answer, read from BigQuery as fast as it is asked for.

    Not a generator, because closing a generator that was never started does nothing, and the connection would stay.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._response.close()
            raise _unavailable(error) from error
        if not chunk:
            self._response.release()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back: for reuse when the body was read to its end, else closed."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _WatchedBody:
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


@dataclass(slots=True)
class _Queue:
    """Whether a call waits for a connection that others use, which is no fault of BigQuery's."""

    is_waiting: bool = False


def _trace_queue() -> aiohttp.TraceConfig:
    """Let aiohttp tell each call's _Queue when it begins and ends to wait. A wait that runs out has no end."""

    async def note_start(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.is_waiting = True

    async def note_end(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.is_waiting = False

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(note_start)
    trace.on_connection_queued_end.append(note_end)
    return trace


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """A large body bit by bit, so that others run in between; its length is in the headers."""
    for at in range(0, len(body), _PIECE_BYTES):
        yield body[at : at + _PIECE_BYTES]


def _answer(response: aiohttp.ClientResponse) -> Answer:
    pairs = tuple(response.headers.items())
    dropped = _HOP_BY_HOP | _named_by_connection(pairs)
    headers = tuple((key, value) for key, value in pairs if key.lower() not in dropped)
    return Answer(response.status, headers, AnswerBody(response))


def _end_to_end(call: Call) -> Headers:
    headers = without(call.headers, _HOP_BY_HOP | _NOT_SENT | _named_by_connection(call.headers))
    if not isinstance(call.body, bytes):
        return headers
    # Bytes have a length of their own; the one that the caller gave may be that of another body.
    length = (("Content-Length", str(len(call.body))),) if call.body else ()
    return (*without(headers, {"content-length"}), *length)


def _named_by_connection(headers: Headers) -> frozenset[str]:
    """Headers that the sender declared to be for this connection only; never those that frame the body."""
    lines = (value for key, value in headers if key.lower() == "connection")
    names = {name.strip().lower() for line in lines for name in line.split(",")}
    return frozenset(names - {"content-length", "authorization", "host"})


def _unavailable(error: Exception) -> UpstreamUnavailable:
    message = f"BigQuery is not answering ({cause_of(error)})."
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return UpstreamUnavailable(message, may_have_worked=False)
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(message)
    return UpstreamUnavailable(message)
