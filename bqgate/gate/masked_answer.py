"""Show a caller of BigQuery's answer to a job what its mask of fields selects.

Called by the dispatch step on the answer's way out: the gate needs all of an answer, so the mask does not go to
BigQuery (submission.py). An answer that is longer than the gate keeps, or that is no JSON, goes out whole, as an error
does at BigQuery's too. One that breaks off breaks off here as well, so that nobody takes a half for the whole.
"""

import zlib
from dataclasses import replace

from bqgate.gate.read_ahead import ReadAhead
from bqgate.wire.field_mask import FieldMask
from bqgate.wire.http_message import HttpResponse, without
from bqgate.wire.json_text import json_bytes, read_json

MASKED_BYTES_MAX = 2**20
# Larger than this, unpacked, an answer is no job's.
_UNPACKED_BYTES_MAX = 16 * 2**20
_FRAMING = frozenset({"content-encoding", "content-length", "content-md5", "transfer-encoding"})


async def with_mask(answer: HttpResponse, mask: FieldMask | None) -> HttpResponse:
    """The answer with what a mask selects; without a mask, as it is."""
    if mask is None or not 200 <= answer.status < 300:
        return answer
    body = ReadAhead(answer.body)
    data = await body.read(MASKED_BYTES_MAX)
    document = None if data is None else _document(data, answer.header("content-encoding"))
    if document is None:
        return replace(answer, body=body)
    await body.aclose()
    return HttpResponse(answer.status, without(answer.headers, _FRAMING), json_bytes(mask.applied_to(document)))


def _document(data: bytes, encoding: str | None) -> dict[str, object] | None:
    """The JSON object in an answer; None where there is none that could be read."""
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            data = unpacker.decompress(data, _UNPACKED_BYTES_MAX)
        except zlib.error:
            return None
        if not unpacker.eof:
            return None
    try:
        document = read_json(data.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
