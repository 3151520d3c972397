"""Send an admitted query to BigQuery and stream the answer to the caller, watching it pass (step 9).

Called by the handler; calls the Upstream port. The answer's bytes are never changed; a copy of its first MiB is kept,
because the job reference stands at its beginning and a small answer bears the whole cost. The attempt is told when
sending begins, and ends with what the answer proved: when all of it has passed, the caller has left, or BigQuery broke
off. What leaves: an HttpResponse, UpstreamUnavailable or AttemptEnded.
"""

import zlib
from collections.abc import AsyncIterator, Callable

from bqgate.admission.estimate import DRY_RUN_REFUSED
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.pricing import PriceList
from bqgate.gate.holds import Attempt
from bqgate.gate.outcome import Seen, classify_response
from bqgate.gate.request_context import RequestContext
from bqgate.ports import Upstream
from bqgate.settlement.evidence import NotSent
from bqgate.wire.accept_encoding import accepts_gzip
from bqgate.wire.http_message import Headers, HttpRequest, HttpResponse, without

# Large enough for any job and for the totals of a usual result; past it the job is asked after.
COPY_BYTES = 2**20


async def forward(
    upstream: Upstream, call: HttpRequest, ctx: RequestContext, attempt: Attempt, *, prices: PriceList
) -> HttpResponse:
    """Send the call of an attempt.

    Raises:
        UpstreamUnavailable: no answer; the attempt knows whether anything was sent.
        AttemptEnded: nothing was sent, because its hold may have ended.
    """
    call = HttpRequest(call.method, call.path, call.query, _readable(call.headers), call.body)
    attempt.begin_to_send()
    try:
        answer = await upstream.send(call, credential=ctx.principal.credential)
    except UpstreamUnavailable as failure:
        if not failure.may_have_worked:
            attempt.end(NotSent())
        raise

    def tell(seen: Seen) -> None:
        evidence = classify_response(
            seen,
            method=ctx.query.method,
            hold=attempt.hold,
            is_script=ctx.estimate.unknown_because in {"script", DRY_RUN_REFUSED},
            prices=prices,
        )
        attempt.end(evidence)

    attempt.is_answering = True
    return HttpResponse(answer.status, answer.headers, WatchedBody(answer, tell))


class WatchedBody:
    """An answer's body on its way to the caller. Tells once what it saw: at the end, at a break, or when closed.

    A class and no generator, because a generator that was never begun does not notice that it is closed.
    """

    def __init__(self, answer: HttpResponse, tell: Callable[[Seen], None]) -> None:
        self._answer = answer
        self._tell = tell
        self._chunks = _chunks_of(answer)
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
        """Stop reading; BigQuery's connection is given back."""
        self._finish(is_whole=False)
        close = getattr(self._answer.body, "aclose", None)
        if close is not None:
            await close()

    def _finish(self, *, is_whole: bool) -> None:
        if self._is_told:
            return
        self._is_told = True
        text, is_decoded = decoded(bytes(self._copy), self._answer.header("content-encoding"))
        self._tell(Seen(self._answer.status, text, is_whole and is_decoded))


async def _chunks_of(answer: HttpResponse) -> AsyncIterator[bytes]:
    if isinstance(answer.body, bytes):
        yield answer.body
        return
    async for chunk in answer.body:
        yield chunk


def _readable(headers: Headers) -> Headers:
    """Ask only for encodings that the gate can read in passing: gzip where the caller takes it, else none."""
    encoding = "gzip" if accepts_gzip(headers) else "identity"
    return (*without(headers, ("accept-encoding",)), ("Accept-Encoding", encoding))


def decoded(copy: bytes, encoding: str | None) -> tuple[str, bool]:
    """The text of an answer's beginning, and whether all of the copy could be read."""
    if encoding is not None and "gzip" in encoding.lower():
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            # Text beyond sixteen times the copy is no JSON that the gate waits for: bounded against bombs.
            copy = inflater.decompress(copy, 16 * COPY_BYTES)
        except zlib.error:
            return "", False
        return copy.decode("utf-8", "replace"), inflater.eof
    return copy.decode("utf-8", "replace"), True
