"""Apply the caller's field mask to BigQuery's answer to a job.

Called by dispatch.py on the answer's way out. The gate needs all of an answer, so the mask does not go to BigQuery
(submission.py). An answer longer than the gate reads, or one that is no JSON, goes out whole, as errors do at
BigQuery. One that breaks off breaks off here too, so that nobody takes half of it for the whole.
"""

from bqgate.gate.body import close_body, unpacked
from bqgate.gate.read_ahead import read_ahead
from bqgate.ports.turns import let_others_run
from bqgate.wire.field_mask import FieldMask
from bqgate.wire.http_message import HttpResponse, without
from bqgate.wire.json_text import json_bytes, read_json

# A large answer is rows, and a mask that picks among their fields looks at each.
MASKED_BYTES_MAX = 128 * 1024
_FRAMING = frozenset({"content-encoding", "content-length", "content-md5", "transfer-encoding"})


async def with_mask(answer: HttpResponse, mask: FieldMask | None) -> HttpResponse:
    """The answer with what a mask selects; without a mask, as it is."""
    if mask is None or not 200 <= answer.status < 300:
        return answer
    answer, data = await read_ahead(answer, bytes_max=MASKED_BYTES_MAX)
    document = None if data is None else _document(data, answer.header("content-encoding"))
    if document is None:
        return answer
    await close_body(answer.body)
    await let_others_run()
    return HttpResponse(answer.status, without(answer.headers, _FRAMING), json_bytes(mask.applied_to(document)))


def _document(data: bytes, encoding: str | None) -> dict[str, object] | None:
    """The JSON object in an answer; None where there is none that could be read."""
    plain, is_whole = unpacked(data, encoding, bytes_max=MASKED_BYTES_MAX)
    if not is_whole:
        return None
    try:
        document = read_json(plain.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
