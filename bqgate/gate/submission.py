"""Read the job from a request: plain JSON, multipart with media, or the start of a resumable upload.

Called by dispatch.py; returns a Submission, from which the handler builds the request that goes to BigQuery. The media
behind a multipart's first part is never read here: it streams from the caller to BigQuery when that request is sent, so
a request can be built once.

Upload protocols: https://cloud.google.com/bigquery/docs/reference/api-uploads (uploadType=multipart and resumable).
uploadType=media carries no job configuration, without which BigQuery starts nothing, and the newer X-Goog-Upload-*
protocol is used by no BigQuery client: both are refused, not guessed at. Errors: MalformedRequest, UnsupportedRequest,
BodyTooLarge.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bqgate.domain.errors import MalformedRequest, UnsupportedRequest
from bqgate.gate.body import (
    BODY_BYTES_MAX,
    BODY_HEADERS,
    parse_json_object,
    plain_body,
    read_json_object,
    read_kept,
    with_json,
    without_mark,
)
from bqgate.gate.multipart import OpenedBody, boundary_of, open_first_part
from bqgate.wire.accept_encoding import ACCEPT_ENCODING, accepts_gzip
from bqgate.wire.field_mask import FieldMask, parse_mask
from bqgate.wire.http_message import HttpRequest, headers_of, replaced, without
from bqgate.wire.job_labels import with_callers_labels
from bqgate.wire.json_text import json_bytes
from bqgate.wire.query_string import PLAIN_JSON, is_json, split_query, values_of, values_of_any, without_parameters

BuildRequest = Callable[[Mapping[str, Any]], HttpRequest]

_MASK_PARAMETERS = frozenset({"fields", "$fields"})
_MASK_HEADERS = frozenset({"x-goog-fieldmask", "x-goog-field-mask"})
_PLAIN_TRANSFER = frozenset({"7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as it was submitted. `build_request` makes the request that submits another document in its place, once.

    `mask` selects the fields of the answer that the caller wants; the gate asks BigQuery for all of them.
    """

    document: Mapping[str, Any]
    build_request: BuildRequest
    mask: FieldMask | None = None


async def read_submission(call: HttpRequest) -> Submission:
    """The JSON body of jobs.insert or jobs.query."""
    call, mask = without_mask_of_fields(asked_in_plain_json(call))
    document = with_callers_labels(await read_json_object(call))
    return Submission(document, lambda new: with_json(call, new), mask)


async def read_upload(call: HttpRequest) -> Submission:
    """The job at the beginning of an upload."""
    call, mask = without_mask_of_fields(asked_in_plain_json(call))
    _refuse_other_protocol(call)
    if values_of(call.query, "upload_id"):
        raise MalformedRequest("upload_id belongs to the PUT requests of an upload.", field="upload_id")
    match values_of(call.query, "uploadType"):
        case ("resumable",):
            return replace(await _read_resumable(call), mask=mask)
        case ("multipart",):
            return replace(await _read_multipart(call), mask=mask)
        case ("media",):
            message = "Required parameter is missing: configuration (uploadType=media carries none)"
            raise MalformedRequest(message, reason="required", field="configuration")
        case _:
            raise MalformedRequest("uploadType must be multipart or resumable.", field="uploadType")


def check_chunk(call: HttpRequest) -> None:
    """Return when a PUT or DELETE belongs to an upload that has begun, so that its job was judged then.

    Raises:
        MalformedRequest: it does not; BigQuery might take it for a new job.
        UnsupportedRequest: it is of the other protocol, by whose headers a PUT begins an upload.
    """
    _refuse_other_protocol(call)
    # In whatever case: a second one that only BigQuery reads would name another upload.
    names = [name for name, _ in split_query(call.query) if name.lower() == "upload_id"]
    if names != ["upload_id"] or not values_of(call.query, "upload_id")[0].strip():
        raise MalformedRequest("A chunk of a resumable upload needs its upload_id.", field="upload_id")
    if set(values_of(call.query, "uploadType")) - {"resumable"}:
        raise MalformedRequest("A chunk belongs to a resumable upload.", field="uploadType")


def asked_in_plain_json(call: HttpRequest) -> HttpRequest:
    """The call, changed so that its answer is JSON with enums by name, as the gate reads it.

    Generated clients ask for enums as numbers (enum-encoding=int) and take names as well.

    Raises:
        MalformedRequest: alt, callback or $.xgafv ask for another format.
    """
    formats = values_of(call.query, "alt")
    if not all(is_json(alt) for alt in formats):
        raise MalformedRequest("Only alt=json is supported where a job is submitted.", field="alt")
    for name in ("callback", "$.xgafv"):
        if values_of(call.query, name):
            raise MalformedRequest(f"{name} is not supported where a job is submitted.", field=name)
    if set(formats) <= {"json"}:
        return call
    rest = without_parameters(call.query, {"alt"})
    return call.changed(query="&".join(part for part in (rest, PLAIN_JSON) if part))


def without_mask_of_fields(call: HttpRequest) -> tuple[HttpRequest, FieldMask | None]:
    """The call without a mask of fields, and that mask; None where there is none, or an empty one.

    It may be a parameter (fields, $fields) or a header (https://cloud.google.com/apis/docs/system-parameters). Where
    there is one the answer must come in an encoding that the gate can unpack.

    Raises:
        MalformedRequest: there are two that differ, or it is no mask.
    """
    given = values_of_any(call.query, _MASK_PARAMETERS)
    given += headers_of(call.headers, _MASK_HEADERS)
    if not given:
        return call, None
    wanted = {value.strip() for value in given} - {""}
    if len(wanted) > 1:
        raise MalformedRequest("fields is given twice, with different values.", field="fields")
    query = without_parameters(call.query, _MASK_PARAMETERS)
    call = call.changed(query=query, headers=without(call.headers, _MASK_HEADERS))
    if not wanted:
        return call, None
    encoding = "gzip" if accepts_gzip(call.headers) else "identity"
    headers = replaced(call.headers, ACCEPT_ENCODING, ("Accept-Encoding", encoding))
    return call.changed(headers=headers), parse_mask(wanted.pop())


def _refuse_other_protocol(call: HttpRequest) -> None:
    has_header = any(name.lower().startswith("x-goog-upload-") for name, _ in call.headers)
    if has_header or values_of(call.query, "upload_protocol"):
        raise UnsupportedRequest("bqgate takes uploads by uploadType=multipart and uploadType=resumable only.")


async def _read_resumable(call: HttpRequest) -> Submission:
    data = await read_kept(call, bytes_max=BODY_BYTES_MAX)
    document = await parse_json_object(data) if without_mark(data).strip() else {}
    return Submission(with_callers_labels(document), lambda new: with_json(call, new))


async def _read_multipart(call: HttpRequest) -> Submission:
    boundary = boundary_of(call.header("content-type"), "related")
    opened = await open_first_part(plain_body(call), boundary, bytes_max=BODY_BYTES_MAX)
    for name, value in opened.first.headers:
        if name.lower() == "content-transfer-encoding" and value.lower() not in _PLAIN_TRANSFER:
            raise MalformedRequest(f"Content-Transfer-Encoding {value[:32]} is not supported for the job's part.")
    document = with_callers_labels(await parse_json_object(opened.first.content))
    return Submission(document, lambda new: _with_first_part(call, boundary, opened, new))


def _with_first_part(call: HttpRequest, boundary: str, opened: OpenedBody, document: Mapping[str, Any]) -> HttpRequest:
    """The same upload with another job in its first part. The other parts follow as they come from the caller."""
    kept = without(opened.first.headers, {"content-length", "content-type"})
    lines = [
        f"--{boundary}",
        "Content-Type: application/json; charset=UTF-8",
        *(f"{key}: {value}" for key, value in kept),
    ]
    head = "\r\n".join((*lines, "", "")).encode() + json_bytes(document)
    headers = (*without(call.headers, BODY_HEADERS), ("Content-Type", f'multipart/related; boundary="{boundary}"'))
    length = call.header("content-length")
    if length is not None and length.isdecimal() and call.header("content-encoding") is None:
        headers = (*headers, ("Content-Length", str(int(length) - opened.first_bytes + len(head))))
    return call.changed(headers=headers, body=_joined(head, opened.rest))


async def _joined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk
