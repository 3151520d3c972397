import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from multidict import CIMultiDict

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.gate.body import read_bounded
from bqgate.gate.masked_answer import MASKED_BYTES_MAX, with_mask
from bqgate.wire.field_mask import parse_mask
from bqgate.wire.http_message import Body, Headers, HttpResponse
from tests.support.gate_stand import GateStand
from tests.support.recording_upstream import replying

JOB = {"jobReference": {"jobId": "j", "location": "EU"}, "statistics": {"query": {"statementType": "SELECT"}}}
SEEN = {"jobReference": {"jobId": "j"}}
MASK = "jobReference/jobId"
TEXT = json.dumps(JOB).encode()
QUERY = {"query": "SELECT 1"}


class Flowing:
    """A body that tells whether it was closed, and may break off."""

    def __init__(self, *chunks: bytes, breaks: bool = False) -> None:
        self._chunks = list(chunks)
        self._breaks = breaks
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        if self._breaks:
            raise UpstreamUnavailable("it broke off")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.is_closed = True


async def masked(body: Body, headers: Headers = (), *, status: int = 200) -> HttpResponse:
    return await with_mask(HttpResponse(status, headers, body), parse_mask(MASK))


@pytest.mark.parametrize("body", [TEXT, Flowing(TEXT[:9], TEXT[9:]), b"\n" + TEXT])
async def test_a_caller_sees_what_its_mask_selects(body: Body) -> None:
    """Whole or in pieces; a length that is no longer true is gone."""
    answer = await masked(body, (("Content-Length", str(len(TEXT))), ("Content-Type", "application/json")))
    assert answer.body == b'{"jobReference":{"jobId":"j"}}'
    assert answer.headers == (("Content-Type", "application/json"),)
    assert not isinstance(body, Flowing) or body.is_closed


async def test_a_packed_answer_is_unpacked() -> None:
    """The gate asks for gzip where the caller takes it."""
    answer = await masked(gzip.compress(TEXT), (("content-encoding", "GZIP"),))
    assert (answer.body, answer.headers) == (b'{"jobReference":{"jobId":"j"}}', ())


async def test_digits_stay_as_they_are() -> None:
    """Numbers that Python would round go out as BigQuery wrote them."""
    answer = await with_mask(HttpResponse(200, (), b'{"x": 1.10, "y": 1}'), parse_mask("x"))
    assert answer.body == b'{"x":1.10}'


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (json.dumps({**JOB, "rows": "x" * MASKED_BYTES_MAX}).encode(), (), 200),
        (b"[1]", (), 200),
        (b"<html>", (), 200),
        (b"\xff", (), 200),
        (gzip.compress(TEXT)[:-9], (("Content-Encoding", "gzip"),), 200),
        (TEXT, (("Content-Encoding", "br"),), 200),
        (gzip.compress(b" " * 17 * 2**20 + TEXT), (("Content-Encoding", "gzip"),), 200),
        (TEXT, (), 400),
    ],
    ids=["long", "list", "html", "binary", "cut off", "another encoding", "bomb", "error"],
)
async def test_what_cannot_be_masked_goes_out_whole(data: bytes, headers: Headers, status: int) -> None:
    """Too long, no JSON object, an encoding that the gate did not ask for, an error: not a byte is changed."""
    answer = await masked(Flowing(data[:100], data[100:]), headers, status=status)
    assert (answer.status, answer.headers) == (status, headers)
    assert await read_bounded(answer.body, bytes_max=2**24) == data


async def test_an_answer_that_breaks_off_breaks_off_for_its_caller() -> None:
    """What came before is sent, and then the connection ends; the query may have run."""
    answer = await masked(Flowing(b"{", b'"a"', breaks=True))
    assert not isinstance(answer.body, bytes)
    assert [await anext(answer.body), await anext(answer.body)] == [b"{", b'"a"']
    with pytest.raises(UpstreamUnavailable):
        await anext(answer.body)


async def test_without_a_mask_nothing_is_read() -> None:
    """The answer streams as it comes."""
    answer = HttpResponse(200, (), Flowing(TEXT))
    assert await with_mask(answer, None) is answer


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        (f"fields={MASK}", {}),
        ("prettyPrint=false&fields=jobReference%2FjobId", {}),
        ("%66ields=jobReference(jobId)", {}),
        (f"$fields={MASK}", {}),
        (f"%24fields={MASK}", {}),
        (f"Fields={MASK}", {}),
        (f"fields={MASK}&fields={MASK}", {}),
        (f"fields={MASK}&$fields={MASK}", {}),
        ("", {"X-Goog-FieldMask": MASK}),
        ("", {"x-goog-fieldmask": f" {MASK} "}),
        (f"fields={MASK}", {"X-GOOG-FIELDMASK": MASK}),
    ],
)
@pytest.mark.parametrize("path", ["projects/p/queries", "bigquery/v2/projects/p/jobs", "w/etl/projects/p/jobs"])
async def test_a_mask_does_not_reach_bigquery(gate: GateStand, path: str, query: str, headers: dict[str, str]) -> None:
    """Written in any way, it hides nothing from the gate; the caller sees what it asked for."""
    gate.upstream.reply = replying(200, TEXT, {"Content-Type": "application/json"})
    async with gate.session.post(f"{gate.url}/{path}?{query}", json=QUERY, headers=headers) as answer:
        assert (answer.status, await answer.json()) == (200, SEEN)
    sent = gate.upstream.last
    assert "ields" not in sent.target
    assert not any("mask" in key.lower() for key, _ in sent.headers)


async def test_a_mask_of_an_upload_does_not_reach_bigquery(gate: GateStand) -> None:
    """A query on the upload path is judged by its whole answer, too."""
    gate.upstream.reply = replying(200, TEXT, {"Content-Type": "application/json"})
    body = b"--b\r\n\r\n" + json.dumps({"configuration": {"query": QUERY}}).encode() + b"\r\n--b\r\n\r\nx\r\n--b--"
    url = f"{gate.url}/upload/bigquery/v2/projects/p/jobs?uploadType=multipart&fields={MASK}"
    async with gate.session.post(url, data=body, headers={"Content-Type": "multipart/related; boundary=b"}) as answer:
        assert await answer.json() == SEEN
    assert gate.upstream.last.target.endswith("?uploadType=multipart")


@pytest.mark.parametrize(("query", "header"), [(f"?fields={MASK}", ""), ("", f"X-Goog-FieldMask: {MASK}\r\n")])
@pytest.mark.parametrize("is_outer", [True, False])
async def test_a_mask_of_a_batch_does_not_reach_bigquery(
    gate: GateStand, query: str, header: str, *, is_outer: bool
) -> None:
    """Neither a part's own nor one that it inherits from the headers of the batch."""
    gate.upstream.reply = replying(200, TEXT, {"Content-Type": "application/json"})
    inner, outer = ("", header) if is_outer else (header, "")
    part = f"POST /bigquery/v2/projects/p/jobs{query} HTTP/1.1\r\n{inner}Content-Type: application/json\r\n\r\n"
    data = f"--b\r\nContent-Type: application/http\r\n\r\n{part}{json.dumps(QUERY)}\r\n--b--"
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    if outer:
        headers["X-Goog-FieldMask"] = MASK
    async with gate.session.post(f"{gate.url}/batch/bigquery/v2", data=data.encode(), headers=headers) as answer:
        assert '{"jobReference":{"jobId":"j"}}' in await answer.text()
    assert "ields" not in gate.upstream.last.target
    assert gate.upstream.last.header("x-goog-fieldmask") is None


@pytest.mark.parametrize(
    ("query", "headers", "told"),
    [
        ("fields=jobReference(", {}, "Invalid field selection jobReference("),
        ("fields=a%00", {}, "Invalid field selection a?"),
        ("", {"X-Goog-FieldMask": "a,,b"}, "Invalid field selection a,,b"),
        ("fields=a&fields=b", {}, "fields is given twice, with different values."),
        ("fields=a", {"X-Goog-FieldMask": "b"}, "fields is given twice, with different values."),
    ],
)
async def test_a_mask_that_bigquery_would_refuse_is_refused_before_anything_runs(
    gate: GateStand, query: str, headers: dict[str, str], told: str
) -> None:
    """BigQuery would refuse it after the query ran."""
    async with gate.session.post(f"{gate.url}/projects/p/jobs?{query}", json=QUERY, headers=headers) as answer:
        error: dict[str, Any] = (await answer.json())["error"]
    assert (answer.status, error["message"]) == (400, told)
    assert gate.upstream.received == []


async def test_two_headers_with_two_masks_are_refused(gate: GateStand) -> None:
    """Nothing says which of them BigQuery takes."""
    headers = CIMultiDict([("X-Goog-FieldMask", "a"), ("X-Goog-FieldMask", "b")])
    async with gate.session.post(f"{gate.url}/projects/p/jobs", json=QUERY, headers=headers) as answer:
        assert answer.status == 400
    assert gate.upstream.received == []


async def test_a_mask_of_other_calls_is_bigquerys(gate: GateStand) -> None:
    """What the gate does not read is answered as it was asked for."""
    headers = {"X-Goog-FieldMask": "totalRows"}
    async with gate.session.get(f"{gate.url}/projects/p/queries/j?fields=totalRows", headers=headers) as answer:
        assert answer.status == 200
    assert gate.upstream.last.target.endswith("?fields=totalRows")
    assert gate.upstream.last.header("x-goog-fieldmask") == "totalRows"


async def test_an_empty_mask_is_none(gate: GateStand) -> None:
    """And so the answer is whole."""
    gate.upstream.reply = replying(200, TEXT, {"Content-Type": "application/json"})
    async with gate.session.post(f"{gate.url}/projects/p/jobs?fields=", json=QUERY) as answer:
        assert await answer.json() == JOB
