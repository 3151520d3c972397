"""Send calls to BigQuery and stream its answers back: the Upstream port over aiohttp.

Called by the gate's passthrough and forward steps and by jobs.py; HttpUpstream.send lists what happens to a call.
What goes out is what came in, but for the headers of one connection (end_to_end.py) and the credential
(credentials.py). Compression is not touched, redirects (among them 308, by which BigQuery asks for the next chunk of an
upload) are not followed, cookies are not kept, and the path keeps its percent-encoding.

Returns an HttpResponse whose body is read as the caller takes it. Raises UpstreamUnavailable (UpstreamTimeout;
UpstreamNotTried where there is no token, all connections are in use, or the breaker is open), or, when the caller's
body breaks off, the error of that body.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from bqgate.bigquery.bodies import CallerBody, ResponseBody, body_of
from bqgate.bigquery.credentials import UpstreamCredentials
from bqgate.bigquery.end_to_end import headers_answered, headers_sent, malformed
from bqgate.bigquery.exchange import BODY_BYTES_MAX, Answer, Exchanges
from bqgate.bigquery.failures import end_by_error, end_by_status, fault_in, left_alone, unavailable
from bqgate.bigquery.places import Places
from bqgate.bigquery.retrying import Retries
from bqgate.bigquery.timeouts import Timeouts, is_named_insert, operation_of
from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.domain.errors import UpstreamNotTried, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.observe.upstream import tell_answer, tell_failure
from bqgate.ports import Telemetry
from bqgate.wire.http_message import HttpRequest, HttpResponse

CONNECT_TIMEOUT_S = 10.0
# jobs.query and getQueryResults wait up to about 200
# (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults).
READ_TIMEOUT_S = 240.0
# Long polls hold a connection each; beyond this number calls wait for one until the connect timeout.
CONNECTIONS_MAX = 1_000
# A connection that is refused is refused at once; after half of this nobody tries again.
_INSERT_AGAIN_WITHIN_S = 4.0
_LINE_BYTES_MAX = 32 * 1024
_NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)


@dataclass(frozen=True, slots=True)
class Guards:
    """What all calls to one BigQuery share, whatever their credentials."""

    timeouts: Timeouts
    telemetry: Telemetry
    retries: Retries
    breaker: CircuitBreaker


class HttpUpstream:
    """BigQuery at a base URL. Made inside a running event loop; close it there."""

    def __init__(
        self,
        base_url: str,
        credentials: UpstreamCredentials,
        guards: Guards | None = None,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """Open no connection yet.

        Args:
            base_url: where BigQuery is; may have a path.
            credentials: in whose name calls go out.
            guards: None: each call is sent once, counted nowhere, as for a tool that tries whether BigQuery answers.
            connect_timeout_s: how long a connection may take, and a call may wait for a free one.
            read_timeout_s: without guards, for the head of an answer and between bytes.
            connections_max: how many calls may be under way at once.
        """
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._guards = guards
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._places = Places(connections_max)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # _places has it
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            skip_auto_headers=_NOT_ADDED,
        )
        self._exchanges = Exchanges(
            self._session,
            self._base_url,
            connect_timeout_s=connect_timeout_s,
            line_bytes_max=_LINE_BYTES_MAX,
            on_free=self._places.release,
        )

    async def send(
        self, call: HttpRequest, *, credential: Credential, read_timeout_s: float | None = None
    ) -> HttpResponse:
        """Send a call and return when its answer's headers are there; see ports.Upstream.

        What happens to it, outermost first:

            time limit    that of its operation; the gate's own calls bring theirs
            metrics       one count, and a line where it failed
            retry         of an insert that names its job, while nothing was sent; jobs.py retries the gate's own calls
            breaker       counts each attempt, for the customer who pays
            credentials   the caller's, the gate's own, or none; a 401 to the gate's own is no answer to the caller
            aiohttp       the wire
        """
        if (guards := self._guards) is None:
            sent = await self._credentials.applied_to(call, credential)
            return await self._send(sent, self._read_timeout_s if read_timeout_s is None else read_timeout_s)
        limit_s = guards.timeouts.read_timeout_s(call) if read_timeout_s is None else read_timeout_s
        attempt = partial(self._attempt, guards, call, credential, limit_s)
        try:
            if read_timeout_s is None and is_named_insert(call):
                answer = await guards.retries.ask(
                    "jobs.insert", lambda _left_s: attempt(), within_s=_INSERT_AGAIN_WITHIN_S, is_unsent_only=True
                )
            else:
                answer = await attempt()
        except UpstreamUnavailable as error:
            tell_failure(guards.telemetry, call, error)
            raise
        tell_answer(guards.telemetry, call, answer.status, fault_in(answer.status))
        return answer

    async def _attempt(self, guards: Guards, call: HttpRequest, credential: Credential, limit_s: float) -> HttpResponse:
        permit = guards.breaker.take(credential.customer)
        if permit is None:
            raise left_alone(guards.breaker)
        try:
            sent = await self._credentials.applied_to(call, credential)
            answer = await self._send(sent, limit_s)
        except UpstreamUnavailable as error:
            end_by_error(permit, error, is_wait=operation_of(call).is_wait)
            raise
        except BaseException:
            permit.leave()  # the caller left, or its body broke off
            raise
        end_by_status(permit, answer.status)
        if answer.status == 401 and self._credentials.drop_refused(credential):
            if isinstance(answer.body, ResponseBody):
                await answer.body.aclose()
            raise UpstreamNotTried("BigQuery refuses the gate's token.")
        return answer

    async def _send(self, call: HttpRequest, limit_s: float) -> HttpResponse:
        if not self._places.take():
            await self._wait_for_place()
        try:
            if call.method == "POST" and isinstance(call.body, bytes) and 0 < len(call.body) <= BODY_BYTES_MAX:
                response: Answer | aiohttp.ClientResponse = await self._exchanges.post(
                    call.target, headers_sent(call), call.body, read_timeout_s=limit_s
                )
            else:
                response = await self._requested(call, limit_s)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unavailable(error) from error
        headers = headers_answered(tuple(response.headers.items()))
        if fault := malformed(response.status, headers):
            response.close()
            raise UpstreamUnavailable(f"BigQuery is not answering ({fault}).")
        return HttpResponse(response.status, headers, body_of(response))

    async def _requested(self, call: HttpRequest, limit_s: float) -> aiohttp.ClientResponse:
        """What is large, streamed, or done again by aiohttp where a connection had ended meanwhile."""
        connection: Connection | None = None
        body = CallerBody(call.body)
        try:
            response = await self._session.request(
                call.method,
                URL(self._base_url + call.target, encoded=True),
                headers=CIMultiDict(headers_sent(call)),
                data=body.data,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=self._connect_timeout_s, sock_connect=self._connect_timeout_s, sock_read=limit_s
                ),
                allow_redirects=False,
            )
            connection = response.connection
        except (aiohttp.ClientError, OSError, TimeoutError):
            if body.failure is not None:
                raise body.failure from None
            raise
        finally:
            if connection is None:  # there is no answer, or all of it is here
                self._places.release()
        if connection is not None:
            connection.add_callback(self._places.release)
        return response

    async def _wait_for_place(self) -> None:
        """Return when there may be one connection more.

        Raises:
            UpstreamNotTried: all are in use by others, which is no fault of BigQuery's.
        """
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._places.wait()
        except TimeoutError:
            raise UpstreamNotTried("All connections to BigQuery are in use.") from None

    async def close(self) -> None:
        """Give back connections."""
        self._exchanges.close()
        await self._session.close()
