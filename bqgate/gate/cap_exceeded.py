"""Find out whether BigQuery refused a query for exceeding the gate's cap, which its caller did not set.

Called by the handler with BigQuery's answer. The cap is what the hold covers, and the hold rests on an estimate that
may be cached: where the tables have grown since, a good query fails under a limit that nobody set. Then nothing ran,
and the handler tries once more with a fresh estimate. A refusal is small: no more than that is read ahead.
"""

from bqgate.domain.hold import Hold
from bqgate.domain.job import Method, QueryRequest
from bqgate.gate.body import decoded
from bqgate.gate.read_ahead import read_ahead
from bqgate.gate.request_context import RequestContext
from bqgate.wire.cap_refusal import is_refused_by_cap
from bqgate.wire.http_message import HttpResponse

_REFUSAL_BYTES_MAX = 64 * 1024


async def check_gates_cap(answer: HttpResponse, ctx: RequestContext, hold: Hold) -> tuple[HttpResponse, bool]:
    """The answer, whose beginning may have been read ahead, and whether it says that the gate's cap was too small."""
    if not ctx.estimate.is_known or not _is_gates_cap(ctx.query, hold) or not _may_say_so(answer, ctx.query):
        return answer, False
    answer, data = await read_ahead(answer, bytes_max=_REFUSAL_BYTES_MAX)
    if data is None:
        return answer, False
    text, is_whole = decoded(data, answer.header("content-encoding"))
    return answer, is_whole and is_refused_by_cap(answer.status, text)


def _is_gates_cap(query: QueryRequest, hold: Hold) -> bool:
    own = query.maximum_bytes_billed
    return hold.maximum_bytes_billed is not None and (own is None or own > hold.maximum_bytes_billed)


def _may_say_so(answer: HttpResponse, query: QueryRequest) -> bool:
    """A refusal of either method; or a job that failed at once, whose id is the gate's, so that another may be made."""
    if query.method is Method.INSERT and answer.status == 200:
        return query.job_id is None
    return answer.status == 400
