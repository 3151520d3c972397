import gzip
import json
from collections.abc import AsyncIterator

import pytest

from bqgate.domain.errors import BodyTooLarge, MalformedRequest, UnsupportedRequest
from bqgate.gate.body import read_bounded
from bqgate.gate.submission import check_chunk, read_submission, read_upload
from bqgate.wire.http_message import Headers, HttpRequest

BOM = b"\xef\xbb\xbf"
JOB = b'{"configuration": {"load": {}}}'
TYPE: Headers = (("Content-Type", "multipart/related; boundary=b"),)


def _multipart(
    first: bytes = JOB, media: bytes = b"a,b\n", first_headers: bytes = b"Content-Type: application/json"
) -> bytes:
    return (
        b"--b\r\n"
        + first_headers
        + b"\r\n\r\n"
        + first
        + b"\r\n--b\r\nContent-Type: text/csv\r\n\r\n"
        + media
        + b"\r\n--b--"
    )


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 10):
        yield data[at : at + 10]


async def test_a_plain_job_is_read_and_rewritten() -> None:
    """The body of jobs.insert is judged as JSON and goes on as JSON."""
    submission = await read_submission(HttpRequest("POST", "/p", "", (), _stream(JOB)))
    assert submission.document == {"configuration": {"load": {}}}
    assert submission.build_request({"a": 1}).body == b'{"a":1}'


async def test_a_multipart_job_is_rewritten_before_its_media() -> None:
    """Only the first part changes; the length fits and the media is the caller's."""
    body = _multipart(media=bytes(range(256)))
    call = HttpRequest("POST", "/p", "uploadType=multipart", (*TYPE, ("Content-Length", str(len(body)))), _stream(body))
    submission = await read_upload(call)
    forwarded = submission.build_request({"configuration": {"load": {}, "labels": {"x": "y" * 99}}})
    sent = await read_bounded(forwarded.body, bytes_max=10_000)
    head, _, rest = sent.partition(b"\r\n--b\r\n")
    assert json.loads(head.partition(b"\r\n\r\n")[2])["configuration"]["labels"] == {"x": "y" * 99}
    assert rest == body.partition(b"\r\n--b\r\n")[2]
    assert forwarded.header("content-length") == str(len(sent))


async def test_a_chunked_multipart_has_no_length() -> None:
    """Node sends uploads without a length, and so they go on."""
    forwarded = (
        await read_upload(HttpRequest("POST", "/p", "uploadType=multipart", TYPE, _stream(_multipart())))
    ).build_request({})
    assert forwarded.header("content-length") is None


async def test_a_compressed_multipart_goes_on_unpacked() -> None:
    """Compression covers the whole body, so a changed job means an uncompressed one."""
    packed = gzip.compress(_multipart())
    headers = (*TYPE, ("Content-Encoding", "gzip"), ("Content-Length", str(len(packed))))
    forwarded = (
        await read_upload(HttpRequest("POST", "/p", "uploadType=multipart", headers, _stream(packed)))
    ).build_request({})
    assert forwarded.header("content-encoding") is None
    assert forwarded.header("content-length") is None
    assert b"a,b\n" in await read_bounded(forwarded.body, bytes_max=10_000)


async def test_headers_of_the_first_part_are_kept() -> None:
    """What a client says beside the type goes on; a length that is no longer true does not."""
    body = _multipart(first_headers=b"X-A: 1\r\nContent-Length: 31\r\nContent-Type: application/json; charset=utf-8")
    forwarded = (
        await read_upload(HttpRequest("POST", "/p", "uploadType=multipart", TYPE, _stream(body)))
    ).build_request({})
    head = (await read_bounded(forwarded.body, bytes_max=10_000)).partition(b"\r\n\r\n")[0]
    assert head == b"--b\r\nContent-Type: application/json; charset=UTF-8\r\nX-A: 1"


@pytest.mark.parametrize(("body", "document"), [(JOB, {"configuration": {"load": {}}}), (b"", {})])
async def test_the_start_of_a_resumable_upload_bears_the_job(body: bytes, document: dict[str, object]) -> None:
    """The job is judged at the beginning, before any media; without one there is nothing to judge."""
    submission = await read_upload(HttpRequest("POST", "/p", "uploadType=resumable", (), _stream(body)))
    assert submission.document == document
    assert submission.build_request({"b": 2}).body == b'{"b":2}'


@pytest.mark.parametrize(
    ("query", "body"), [("resumable", BOM + JOB), ("resumable", BOM), ("multipart", _multipart(BOM + JOB))]
)
async def test_a_byte_order_mark_before_the_job_is_read_over(query: str, body: bytes) -> None:
    """The job of an upload may begin with one, and goes on without."""
    submission = await read_upload(HttpRequest("POST", "/p", f"uploadType={query}", TYPE, _stream(body)))
    assert submission.document == ({} if body == BOM else {"configuration": {"load": {}}})
    assert BOM not in await read_bounded(submission.build_request(submission.document).body, bytes_max=10_000)


async def test_numbers_of_a_multipart_job_keep_every_digit() -> None:
    """The first part is written anew, with the digits that it had."""
    job = b'{"configuration":{"load":{"x":1234567890123456789.10}}}'
    submission = await read_upload(HttpRequest("POST", "/p", "uploadType=multipart", TYPE, _stream(_multipart(job))))
    assert job in await read_bounded(submission.build_request(submission.document).body, bytes_max=10_000)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("uploadType=multipart&upload_protocol=multipart", TYPE),
        ("uploadType=resumable", (("X-Goog-Upload-Protocol", "resumable"),)),
    ],
)
async def test_other_upload_protocols_are_unsupported(query: str, headers: Headers) -> None:
    """A protocol that the gate does not read could carry a query past it."""
    with pytest.raises(UnsupportedRequest):
        await read_upload(HttpRequest("POST", "/p", query, headers, b""))


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", _multipart()),
        ("uploadType=media", b"a,b"),
        ("uploadType=multipart&uploadType=resumable", _multipart()),
        ("uploadType=multipart&upload_id=x", _multipart()),
        ("uploadType=multipart&alt=media", _multipart()),
        ("uploadType=multipart&callback=f", _multipart()),
        ("uploadType=multipart", JOB),
        ("uploadType=multipart", _multipart(first=b"[]")),
        ("uploadType=multipart", _multipart(first_headers=b"Content-Transfer-Encoding: base64")),
        ("uploadType=resumable", b"{"),
    ],
)
async def test_an_upload_that_cannot_be_judged_is_malformed(query: str, body: bytes) -> None:
    """No job, two protocols, another answer format, or a first part that is no JSON."""
    with pytest.raises(MalformedRequest):
        await read_upload(HttpRequest("POST", "/p", query, TYPE, body))


async def test_the_job_of_an_upload_is_bounded() -> None:
    """A first part without end is refused."""
    with pytest.raises(BodyTooLarge):
        await read_upload(HttpRequest("POST", "/p", "uploadType=multipart", TYPE, _multipart(first=bytes(13 * 2**20))))


@pytest.mark.parametrize("query", ["alt=proto", "alt=media", "callback=f", "$.xgafv=1", "alt=json&alt=proto"])
async def test_another_answer_format_is_malformed(query: str) -> None:
    """The gate must read the answer to a job, so it must be plain JSON."""
    with pytest.raises(MalformedRequest):
        await read_submission(HttpRequest("POST", "/p", query, (), JOB))


@pytest.mark.parametrize("query", ["alt=json;enum-encoding=int", "quotaUser=a&alt=json%3Benum-encoding%3Dint&key=k"])
@pytest.mark.parametrize("kind", ["", "uploadType=resumable&"])
async def test_the_gate_asks_for_enums_by_their_names(query: str, kind: str) -> None:
    """Generated clients want numbers and take names as well; the gate has to read the answer, so it asks for names."""
    read = read_upload if kind else read_submission
    forwarded = (await read(HttpRequest("POST", "/p", kind + query, (), JOB))).build_request({})
    assert set(forwarded.query.split("&")) == {
        *filter(None, kind.split("&")),
        "alt=json",
        *({"quotaUser=a", "key=k"} if "key" in query else ()),
    }


@pytest.mark.parametrize(
    "alt", ["json;enum-encoding=other", "json;charset=utf-16", "JSON", "media;enum-encoding=int", ""]
)
async def test_another_form_of_json_is_malformed(alt: str) -> None:
    """What the gate does not know to be JSON, it does not send where it must read the answer."""
    with pytest.raises(MalformedRequest):
        await read_submission(HttpRequest("POST", "/p", f"alt={alt}", (), JOB))


async def test_the_usual_parameters_pass() -> None:
    """alt=json, prettyPrint and fields are on most calls."""
    await read_submission(HttpRequest("POST", "/p", "alt=json&prettyPrint=false&fields=jobReference&key=k", (), JOB))


@pytest.mark.parametrize("query", ["upload_id=x", "uploadType=resumable&upload_id=x"])
def test_a_chunk_needs_no_judgement(query: str) -> None:
    """An upload that has begun was judged."""
    check_chunk(HttpRequest("PUT", "/p", query))


@pytest.mark.parametrize(
    "query",
    [
        *("", "uploadType=resumable", "upload_id=x&uploadType=multipart", "upload_id=x&upload_id=y"),
        *("upload_id", "upload_id=", "upload_id=+", "Upload_ID=x", "upload_id=x&UPLOAD_ID=y", "upload%5Fid="),
    ],
)
def test_a_put_outside_an_upload_is_malformed(query: str) -> None:
    """BigQuery might take it for a new job."""
    with pytest.raises(MalformedRequest):
        check_chunk(HttpRequest("PUT", "/p", query))


@pytest.mark.parametrize(
    "call",
    [
        HttpRequest("PUT", "/p", "upload_id=x&upload_protocol=resumable"),
        HttpRequest("PUT", "/p", "upload_id=x", (("X-Goog-Upload-Command", "start"),)),
    ],
)
def test_no_upload_begins_with_a_put(call: HttpRequest) -> None:
    """By the newer protocol one could, with a job that nobody has judged."""
    with pytest.raises(UnsupportedRequest):
        check_chunk(call)
