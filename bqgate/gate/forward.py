"""Send an admitted query to BigQuery and stream the answer to the caller, keeping a copy of its beginning.

Called by the handler; calls the Upstream port. The answer's bytes are never changed. The first MiB is copied: the job
reference is at its beginning, and a small answer tells the whole cost. The attempt learns when sending begins, and ends
with what the answer proves: when all of it is here or has passed, the caller has left, or BigQuery broke off. Raises
UpstreamUnavailable or AttemptEnded.
"""

from collections.abc import AsyncIterator, Callable

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList
from bqgate.domain.statements import is_single
from bqgate.gate.body import UNPACKED_BYTES_MAX, chunks_of, close_body, decoded
from bqgate.gate.holds import Attempt
from bqgate.gate.outcome import Seen, classify_response
from bqgate.gate.request_context import RequestContext
from bqgate.ports import Upstream
from bqgate.settlement.evidence import NotSent
from bqgate.wire.accept_encoding import ACCEPT_ENCODING, accepts_gzip
from bqgate.wire.http_message import HttpRequest, HttpResponse, headers_of, replaced
from bqgate.wire.query_response import job_ref_in, read_members

# Large enough for any job and for the totals of a usual result; for a larger answer the poller asks.
COPY_BYTES = UNPACKED_BYTES_MAX


async def forward(
    upstream: Upstream, call: HttpRequest, ctx: RequestContext, attempt: Attempt, *, prices: PriceList
) -> HttpResponse:
    """Send the call of an attempt.

    Raises:
        UpstreamUnavailable: no answer; the attempt knows whether anything was sent.
        AttemptEnded: nothing was sent, or not all of it, because its hold may have ended.
    """
    call = readable(call)
    attempt.begin_to_send()
    if not isinstance(call.body, bytes):
        call = call.changed(body=_while_covered(call.body, attempt))
    try:
        answer = await upstream.send(call, credential=ctx.principal.credential)
    except UpstreamUnavailable as failure:
        if not failure.may_have_worked:
            attempt.end(NotSent())
        raise

    def tell(seen: Seen) -> None:
        try:
            evidence = classify_response(
                seen,
                method=ctx.query.method,
                hold=attempt.hold,
                is_script=not is_single(ctx.estimate.statement_type),
                prices=prices,
            )
            attempt.end(evidence)
        finally:
            attempt.end()  # a bug in the reading of an answer leaves no query under way for ever

    attempt.is_answering = True
    return observed(answer, tell)


async def _while_covered(body: AsyncIterator[bytes], attempt: Attempt) -> AsyncIterator[bytes]:
    """An upload, whose query runs once its end has come: that may be long after its beginning was sent."""
    async for chunk in body:
        attempt.check_cover()
        yield chunk
    attempt.check_cover()


def with_job_noted(answer: HttpResponse, note_job: Callable[[JobRef], None]) -> HttpResponse:
    """The same answer; once it has passed, `note_job` is told of the job that it names."""

    def tell(seen: Seen) -> None:
        job = job_ref_in(read_members(seen.text)) if 200 <= seen.status < 300 else None
        if job is not None:
            note_job(job)

    return observed(answer, tell)


def observed(answer: HttpResponse, tell: Callable[[Seen], None]) -> HttpResponse:
    """The same answer, of which `tell` hears once: now, where all of it is here, or when it has passed."""
    if not isinstance(answer.body, bytes):
        return HttpResponse(answer.status, answer.headers, ObservedBody(answer, tell))
    text, is_whole = decoded(answer.body, answer.header("content-encoding"))
    tell(Seen(answer.status, text, is_whole))
    return answer


class ObservedBody:
    """An answer's body on its way to the caller. Calls `tell` once: at its end, when it breaks off, or when closed.

    A class, because a generator that was never started does not notice that it is closed.
    """

    def __init__(self, answer: HttpResponse, tell: Callable[[Seen], None]) -> None:
        self._answer = answer
        self._tell = tell
        self._chunks = chunks_of(answer.body)
        self._copy = bytearray()
        self._size = 0
        self._is_told = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._finish(is_whole=self._size <= COPY_BYTES)
            raise
        except BaseException:  # broken off or cancelled: what was seen so far is all there is
            self._finish(is_whole=False)
            raise
        self._size += len(chunk)
        self._copy += chunk[: COPY_BYTES - len(self._copy)]
        return chunk

    async def aclose(self) -> None:
        """Stop reading and free the connection to BigQuery."""
        try:
            self._finish(is_whole=False)
        finally:
            await close_body(self._answer.body)

    def _finish(self, *, is_whole: bool) -> None:
        if self._is_told:
            return
        self._is_told = True
        text, is_decoded = decoded(bytes(self._copy), self._answer.header("content-encoding"))
        self._tell(Seen(self._answer.status, text, is_whole and is_decoded))


def readable(call: HttpRequest) -> HttpRequest:
    """The call, asking only for encodings that the gate can read too: gzip where the caller takes it, else none."""
    encoding = "gzip" if accepts_gzip(call.headers) else "identity"
    if headers_of(call.headers, ACCEPT_ENCODING) == [encoding]:
        return call
    return call.changed(headers=replaced(call.headers, ACCEPT_ENCODING, ("Accept-Encoding", encoding)))
