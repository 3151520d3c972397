import asyncio
import json
from email.message import Message
from email.parser import BytesParser
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from googleapiclient.discovery import build_from_document
from googleapiclient.http import BatchHttpRequest, build_http

from bqgate.domain.errors import MalformedRequest
from bqgate.gate.batch import BATCH_S_MAX, PARTS_AT_ONCE, BatchBody, parse_call
from bqgate.gate.multipart import Part
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.gate_stand import GateStand
from tests.support.manual_clock import ManualClock
from tests.unit.gate.test_routes import DISCOVERY

HTTP = (("Content-Type", "application/http"),)


def _batch(*calls: bytes) -> bytes:
    parts = [
        b"--b\r\nContent-Type: application/http\r\nContent-ID: <item-%d>\r\n\r\n%s\r\n" % (number, call)
        for number, call in enumerate(calls)
    ]
    return b"".join(parts) + b"--b--\r\n"


async def _send(
    gate: GateStand, body: bytes, *, path: str = "/batch/bigquery/v2", headers: dict[str, str] | None = None
) -> list[tuple[str, int, Message, bytes]]:
    """Send a batch; for each part its Content-ID, status, headers and body."""
    sent = {"Content-Type": "multipart/mixed; boundary=b"} | (headers or {})
    async with gate.session.post(gate.url + path, data=body, headers=sent) as answer:
        assert answer.status == 200, await answer.read()
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        message: Message = BytesParser().parsebytes(head + await answer.read())
    answers = []
    for part in message.get_payload():
        assert isinstance(part, Message)
        text = part.get_payload(decode=True)
        assert isinstance(text, bytes)
        status, _, rest = text.partition(b"\r\n")
        inner: Message = BytesParser().parsebytes(rest)
        content = inner.get_payload(decode=True)
        assert isinstance(content, bytes)
        answers.append((str(part["Content-ID"]), int(status.split()[1]), inner, content))
    return answers


async def test_every_part_takes_its_own_way(gate: GateStand) -> None:
    """A query inside a batch is judged like any other; a read passes; each answer stands under its id, in order."""
    answers = await _send(
        gate,
        _batch(
            b'POST /bigquery/v2/projects/p/queries HTTP/1.1\r\nContent-Length: 21\r\n\r\n{"query": "SELECT 1"}',
            b"GET /bigquery/v2/projects/p/jobs/j?location=EU HTTP/1.1\r\n\r\n",
            b"GET https://bigquery.googleapis.com/bigquery/v2/projects\r\n",
            b"GET /nowhere HTTP/1.1\r\n\r\n",
            b"POST /projects/p/jobs HTTP/1.1\r\n\r\n{broken",
        ),
        path="/w/team-a/batch",
    )
    assert [(content_id, status) for content_id, status, _, _ in answers] == [
        ("<response-item-0>", 200),
        ("<response-item-1>", 200),
        ("<response-item-2>", 200),
        ("<response-item-3>", 501),
        ("<response-item-4>", 400),
    ]
    assert json.loads(answers[4][3])["error"]["errors"][0]["reason"] == "parseError"
    (judged,) = gate.handler.judged
    assert (judged.document, judged.route.workload) == ({"query": "SELECT 1"}, "team-a")
    assert {received.target for received in gate.upstream.received} == {
        "/bigquery/v2/projects/p/queries",
        "/bigquery/v2/projects/p/jobs/j?location=EU",
        "/bigquery/v2/projects",
    }


async def test_outer_headers_apply_to_every_part(gate: GateStand) -> None:
    """A part bears the batch's credential unless it has its own; what describes the batch's body stays outside."""
    await _send(
        gate,
        _batch(b"GET /projects HTTP/1.1\r\n\r\n", b"GET /projects HTTP/1.1\r\nAuthorization: Bearer own\r\n\r\n"),
        headers={"Authorization": "Bearer outer", "Accept-Encoding": "gzip"},
    )
    assert {received.header("authorization") for received in gate.upstream.received} == {"Bearer outer", "Bearer own"}
    for received in gate.upstream.received:
        assert (received.header("content-type"), received.header("accept-encoding")) == (None, None)


@pytest.mark.parametrize(
    "call",
    [
        b"POST /batch HTTP/1.1\r\n\r\n",
        b"POST /upload/bigquery/v2/projects/p/jobs?uploadType=resumable HTTP/1.1\r\n\r\n{}",
        b"PUT /upload/bigquery/v2/projects/p/jobs?upload_id=x HTTP/1.1\r\n\r\n",
        b"GET /$discovery/rest HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_batch_holds_neither_batches_nor_uploads(gate: GateStand, call: bytes) -> None:
    """Such a part is refused by itself."""
    ((_, status, _, _),) = await _send(gate, _batch(call))
    assert status == 501
    assert gate.upstream.received == []


@pytest.mark.parametrize(
    "call",
    [
        b"",
        b"nonsense",
        b"GET projects HTTP/1.1\r\n\r\n",
        b"GET /projects HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /projects/p/queries HTTP/1.1\r\nContent-Length: 99\r\n\r\n{}",
        b"POST /projects/p/queries HTTP/1.1\r\nContent-Length: x\r\n\r\n{}",
        b"POST /projects/p/queries HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n{}",
        "POST /projects/p/queries HTTP/1.1\r\nContent-Length: \u0662\r\n\r\n{}".encode(),
        b"GET /projects/\xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_malformed_part_gets_its_own_400(gate: GateStand, call: bytes) -> None:
    """One bad call does not spoil the others."""
    answers = await _send(gate, _batch(call, b"GET /projects HTTP/1.1\r\n\r\n"))
    assert [status for _, status, _, _ in answers] == [400, 200]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("multipart/mixed; boundary=b", b"--b\r\n\r\n", 400),
        ("multipart/mixed; boundary=b", _batch(*[b"GET /projects"] * 1001), 400),
        ("multipart/mixed; boundary=b", 33 * 2**20, 413),
    ],
    ids=["json", "cut", "too many", "too large"],
)
async def test_a_batch_that_is_none_is_refused(
    gate: GateStand, content_type: str, body: bytes | int, status: int
) -> None:
    """No parts, too many, or too much: nothing of it runs."""
    headers = {"Content-Type": content_type}
    data = BytesIO(bytes(body))
    async with gate.session.post(f"{gate.url}/batch", data=data, headers=headers) as answer:
        assert answer.status == status
    assert gate.upstream.received == []


async def test_a_failing_part_is_its_own_failure(gate: GateStand) -> None:
    """When BigQuery breaks off one answer, that part says so."""

    async def reply(request: web.Request) -> web.StreamResponse:
        if "bad" in request.path:
            assert request.transport is not None
            request.transport.close()
        return web.Response(text="fine")

    gate.upstream.reply = reply
    calls = (b"GET /projects/bad/jobs HTTP/1.1\r\n\r\n", b"GET /projects/p/jobs HTTP/1.1\r\n\r\n")
    answers = await _send(gate, _batch(*calls))
    assert [status for _, status, _, _ in answers] == [503, 200]


async def test_few_parts_run_at_once_and_a_closed_batch_starts_no_more() -> None:
    """A thousand calls do not run side by side, and when the caller leaves those that run are stopped."""
    running: set[str] = set()
    started: list[str] = []
    is_full = asyncio.Event()

    async def dispatch(call: HttpRequest) -> HttpResponse:
        started.append(call.path)
        running.add(call.path)
        if len(running) == PARTS_AT_ONCE and len(started) > PARTS_AT_ONCE:
            is_full.set()
        try:
            if call.path != "/0":
                await asyncio.Event().wait()
        finally:
            running.discard(call.path)
        return HttpResponse(200)

    parts = tuple(Part(HTTP, f"GET /{number}".encode()) for number in range(100))
    body = BatchBody(parts, (), dispatch, lambda *_: None, "m", ManualClock())
    assert (await anext(body)).startswith(b"--m\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK")
    second = asyncio.ensure_future(anext(body))
    await asyncio.wait_for(is_full.wait(), 5)
    second.cancel()
    await asyncio.wait([second])
    assert running == set()
    assert len(started) == PARTS_AT_ONCE + 1
    assert [chunk async for chunk in body] == []


async def test_a_batch_ends() -> None:
    """Calls that have not begun when its time is over are answered without being made; those before are untouched."""
    clock, made = ManualClock(), []

    async def dispatch(call: HttpRequest) -> HttpResponse:
        made.append(call.path)
        if len(made) == PARTS_AT_ONCE:
            clock.advance(BATCH_S_MAX)
        return HttpResponse(200)

    parts = tuple(Part(HTTP, f"GET /{number}".encode()) for number in range(20))
    body = BatchBody(parts, (), dispatch, lambda *_: None, "m", clock)
    answers = [piece async for piece in body]
    assert [b" 200 OK" in answer for answer in answers] == [True] * PARTS_AT_ONCE + [False] * 13
    assert all(b" 503 " in answer for answer in answers[PARTS_AT_ONCE:-1])
    assert len(made) == PARTS_AT_ONCE


def test_a_part_must_say_what_it_is() -> None:
    """Only application/http is a call."""
    with pytest.raises(MalformedRequest):
        parse_call(Part((("Content-Type", "text/plain"),), b"GET /projects"))


@pytest.mark.parametrize("content", [b"POST /p HTTP/1.1\r\nA: 1\r\n\r\nbody", b"POST /p HTTP/1.1\nA: 1\n\nbody"])
def test_line_ends_may_be_bare(content: bytes) -> None:
    """The package googleapiclient ends lines with LF alone."""
    assert parse_call(Part(HTTP, content)) == HttpRequest("POST", "/p", "", (("A", "1"),), b"body")


async def test_googles_own_client_understands_the_answers(gate: GateStand) -> None:
    """The package googleapiclient sends a batch through the gate and finds each answer."""

    def run() -> dict[str, Any]:
        found: dict[str, Any] = {}
        http = build_http()
        service = build_from_document(DISCOVERY, http=http)
        batch = BatchHttpRequest(
            callback=lambda request_id, response, error: found.update({request_id: error or response}),
            batch_uri=f"{gate.url}/batch/bigquery/v2",
        )
        jobs = service.jobs()
        batch.add(jobs.query(projectId="p", body={"query": "SELECT 1"}), request_id="query")
        batch.add(jobs.get(projectId="p", jobId="j"), request_id="get")
        batch.execute(http=http)
        http.close()
        return found

    found = await asyncio.to_thread(run)
    assert found == {"query": {"kind": "bigquery#recorded"}, "get": {"kind": "bigquery#recorded"}}
    assert gate.handler.judged[0].document == {"query": "SELECT 1"}
    assert {urlsplit(received.target).path for received in gate.upstream.received} == {
        "/bigquery/v2/projects/p/queries",
        "/bigquery/v2/projects/p/jobs/j",
    }
