"""Find out whether BigQuery refused a query for passing the gate's cap, which its caller did not set.

Called by the handler with BigQuery's answer. The cap is what the hold covers, and the hold rests on an estimate that
is kept for a short time: where the tables have grown since, a good query would fail for a limit that nobody set. Then
nothing ran, and the handler may try again under a fresh estimate. Such an answer is small: only that much is read
before the rest streams.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from bqgate.domain.hold import Hold
from bqgate.domain.job import Method, QueryRequest
from bqgate.gate.forward import decoded
from bqgate.gate.request_context import RequestContext
from bqgate.wire.cap_refusal import is_refused_by_cap
from bqgate.wire.http_message import HttpResponse

_REFUSAL_BYTES_MAX = 64 * 1024


async def has_outgrown(answer: HttpResponse, ctx: RequestContext, hold: Hold) -> tuple[HttpResponse, bool]:
    """The answer, of which the beginning may have been read, and whether it says that the gate's cap was too small."""
    if not ctx.estimate.is_known or not _is_gates_cap(ctx.query, hold) or not _may_say_so(answer, ctx.query):
        return answer, False
    answer, text = await _begun(answer)
    return answer, text is not None and is_refused_by_cap(answer.status, text)


def _is_gates_cap(query: QueryRequest, hold: Hold) -> bool:
    own = query.maximum_bytes_billed
    return hold.maximum_bytes_billed is not None and (own is None or own > hold.maximum_bytes_billed)


def _may_say_so(answer: HttpResponse, query: QueryRequest) -> bool:
    """A refusal of either method; or a job that failed at once, whose id is the gate's, so that another may be made."""
    if query.method is Method.INSERT and answer.status == 200:
        return query.job_id is None
    return answer.status == 400


async def _begun(answer: HttpResponse) -> tuple[HttpResponse, str | None]:
    """The answer with its first bytes read; the text where that is all of it."""
    if isinstance(answer.body, bytes):
        return answer, answer.body.decode("utf-8", "replace")
    encoding = answer.header("content-encoding")
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.body:
        chunks.append(chunk)
        size += len(chunk)
        if size > _REFUSAL_BYTES_MAX:
            return replace(answer, body=_Resumed(chunks, answer.body)), None
    body = b"".join(chunks)
    text, is_whole = decoded(body, encoding)
    return replace(answer, body=body), text if is_whole else None


class _Resumed:
    """A body whose first chunks have been read. A class, because a generator that was never begun cannot be closed."""

    def __init__(self, chunks: list[bytes], rest: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else await anext(self._rest)

    async def aclose(self) -> None:
        """Close what is behind it."""
        close = getattr(self._rest, "aclose", None)
        if close is not None:
            await close()
