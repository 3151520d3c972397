"""Answers that break off, by real sockets: the caller notices, the log has a line and no traceback, nothing leaks."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bqgate.app import Gate, open_gate
from bqgate.clock import SystemClock
from tests.support.gate_stack import settings_for
from tests.support.raw_upstream import (
    RawReply,
    RawUpstream,
    raw_upstream,
    reset,
    sending,
    silence,
    when_heard,
    without_end,
)

READ = b"GET /bigquery/v2/projects/acme/datasets HTTP/1.1\r\nHost: gate\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"
SIDES = ("caller", "upstream", "stop", "bug")
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FIRST = CHUNKED + b"4\r\nhalf\r\n"

CUTS: dict[str, RawReply] = {
    "chunks end without the last": sending(FIRST),
    "reset between chunks": sending(FIRST, then=when_heard(reset)),
    "a chunk ends early": sending(CHUNKED + b"40\r\nhalf"),
    "a chunk of no size": sending(FIRST, then=when_heard(sending(b"zz\r\nhalf\r\n"))),
    "a chunk longer than it says": sending(FIRST, then=when_heard(sending(b"2\r\nhalf\r\n0\r\n\r\n"))),
    "shorter than its length": sending(HEAD + b"Content-Length: 1000\r\n\r\nhalf"),
    "reset within its length": sending(HEAD + b"Content-Length: 1000\r\n\r\nhalf", then=when_heard(reset)),
    "compressed and cut": sending(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 99\r\n\r\n\x1f\x8b\x08\x00half"),
    "head alone": sending(HEAD + b"Content-Length: 1000\r\n\r\n"),
}


async def _all_of(reader: asyncio.StreamReader, heard: asyncio.Event | None = None) -> tuple[bytes, bool]:
    """What comes until the end, and whether that was a reset."""
    text = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65536), 10):
            text += chunk
            if heard is not None:
                heard.set()
    except ConnectionResetError:
        return text, True
    return text, False


def posting(path: str, document: dict[str, Any]) -> bytes:
    """A request with a JSON body."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def batch_of(*calls: str) -> bytes:
    """A batch, after which the connection is to be closed."""
    parts = "".join(f"--b\r\nContent-Type: application/http\r\n\r\n{call} HTTP/1.1\r\n\r\n\r\n" for call in calls)
    body = f"{parts}--b--\r\n".encode()
    head = "POST /batch/bigquery/v2 HTTP/1.1\r\nHost: gate\r\nContent-Type: multipart/mixed; boundary=b"
    return f"{head}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def whole(document: dict[str, Any]) -> RawReply:
    """A good answer."""
    body = json.dumps(document).encode()
    return sending(HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def by_path(replies: dict[bytes, RawReply]) -> RawReply:
    """A reply for each end of a path, and a good one for every other."""

    async def reply(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        path = upstream.heads[-1].split()[1].partition(b"?")[0]
        found = next((each for end, each in replies.items() if path.endswith(end)), whole({}))
        await found(upstream, writer)

    return reply


@dataclass
class Scene:
    """A gate before an upstream of bytes."""

    gate: Gate
    upstream: RawUpstream
    log: io.StringIO
    records: pytest.LogCaptureFixture
    counted_before: dict[str, float] = field(default_factory=dict)

    async def connect(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.gate.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(request)
        await writer.drain()
        return reader, writer

    async def raw(self, request: bytes) -> tuple[bytes, bool]:
        """All that a caller reads until its connection ends, and whether it was reset."""
        reader, writer = await self.connect(request)
        read = await _all_of(reader, self.upstream.heard)
        writer.close()
        return read

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]

    def begin(self, reply: RawReply) -> None:
        """Forget what was, and let BigQuery answer so."""
        self.log.seek(0)
        self.log.truncate()
        self.upstream.reply = reply
        self.upstream.heads.clear()
        for event in (self.upstream.heard, self.upstream.connected):
            event.clear()
        self.counted_before = {by: self._aborted(by) for by in SIDES}

    def aborted(self, by: str) -> float:
        """How many calls that side broke off since the beginning."""
        return self._aborted(by) - self.counted_before.get(by, 0)

    def _aborted(self, by: str) -> float:
        return self.gate.metrics.value("bqgate_aborted_calls_total", by=by)

    async def until(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The lines of an event, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.lines(event)) < count:
                await SystemClock().sleep(0.01)
        return self.lines(event)

    async def check_quiet(self) -> None:
        """No connection to BigQuery is left, and nothing was logged but lines of the gate's own."""
        async with asyncio.timeout(10):
            if self.upstream.connected.is_set():
                await self.upstream.all_closed.wait()
        told = self.log.getvalue()
        assert not {"Traceback", "Error handling request", '"bug"', "exc_info"} & {
            word for word in ("Traceback", "Error handling request", '"bug"', "exc_info") if word in told
        }, told
        assert [record.getMessage() for record in self.records.records if record.levelno >= logging.WARNING] == []


@asynccontextmanager
async def open_scene(folder: Path, records: pytest.LogCaptureFixture, **sections: Any) -> AsyncIterator[Scene]:
    log = io.StringIO()
    async with raw_upstream() as upstream:
        document = {"upstream": {"credentials": "anonymous"}, "breakers": {"failures_to_open": 1_000}} | sections
        async with open_gate(settings_for(folder, upstream.url, document), log_stream=log) as gate:
            yield Scene(gate, upstream, log, records)


@pytest.fixture
async def scene(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path, caplog) as made:
        yield made
        await made.check_quiet()


async def test_an_answer_that_breaks_off_is_cut_and_told_in_a_line(scene: Scene) -> None:
    """Its end never comes; one line names request and cause, the metrics count it, and no traceback is written."""
    for reply in CUTS.values():
        scene.begin(reply)
        text, _ = await scene.raw(READ)
        head, _, body = text.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") or not head
        assert not body.endswith(b"0\r\n\r\n")
        assert len(body) < 1000
        (line,) = scene.lines("answer_cut_off")
        assert line["error"] == "UpstreamUnavailable"
        assert line["cause"].startswith("BigQuery is not answering (")
        (request,) = await scene.until("request")
        assert (request["status"], request["request_id"]) == ("answer_cut_off", line["request_id"])
        assert scene.aborted("upstream") == 1
        await scene.check_quiet()


async def test_who_cannot_see_the_end_is_reset(scene: Scene) -> None:
    """HTTP/1.0 has no chunks: an answer without a length ends with its connection, so half of one must not end so."""
    for reply in CUTS.values():
        scene.begin(reply)
        text, was_reset = await scene.raw(READ.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert was_reset or b"Content-Length" in text
        assert scene.aborted("upstream") == 1
        await scene.check_quiet()


async def test_a_query_whose_answer_breaks_off(scene: Scene) -> None:
    """Half a result is cut like any other answer; the line bears the hold's id, by which the ledger tells the rest."""
    estimate = {"statistics": {"totalBytesProcessed": "1", "query": {"totalBytesProcessed": "1"}}}
    scene.begin(by_path({b"/jobs": whole(estimate), b"/queries": CUTS["reset between chunks"]}))
    text, _ = await scene.raw(posting("/bigquery/v2/projects/acme/queries", {"query": "SELECT 1"}))
    assert not text.endswith(b"0\r\n\r\n")
    (line,) = await scene.until("request")
    assert (line["status"], line["decision"], line["reason"]) == ("answer_cut_off", "forward", "UpstreamUnavailable")
    assert len(line["request_id"]) == 32
    assert scene.aborted("upstream") == 1


async def test_a_query_whose_answer_is_nested_without_end(scene: Scene) -> None:
    """The gate cannot read it, and passes it on; its hold is asked after, and no query is under way for ever."""
    body = b'{"rows": ' + b"[" * 100_000
    nested = sending(HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    estimate = {"statistics": {"totalBytesProcessed": "1", "query": {"totalBytesProcessed": "1"}}}
    scene.begin(by_path({b"/jobs": whole(estimate), b"/queries": nested}))
    reader, writer = await scene.connect(posting("/bigquery/v2/projects/acme/queries", {"query": "SELECT 1"}))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(len(body)) == body
    await scene.until("request")
    assert scene.gate.holds.under_way() == frozenset()
    assert len(scene.gate.poller.watched_ids) == 1
    writer.close()


async def test_a_part_of_a_batch_whose_answer_breaks_off(scene: Scene) -> None:
    """The part is a 503 inside a batch that is whole."""
    scene.begin(CUTS["shorter than its length"])
    text, _ = await scene.raw(batch_of("GET /bigquery/v2/projects/acme/datasets"))
    assert b"HTTP/1.1 503" in text
    assert text.endswith(b"0\r\n\r\n")
    (part,) = scene.lines("batch_part")
    assert part["reason"] == "UpstreamUnavailable"


async def test_a_caller_that_leaves_in_the_middle(scene: Scene) -> None:
    """An answer without end ends for BigQuery, too, when nobody reads it any more; the request's line says why."""
    for request_text in [
        READ,
        READ.replace(b"HTTP/1.1", b"HTTP/1.0"),
        READ.replace(b"GET /bigquery", b"GET /w/team/bigquery"),
        b"PUT /upload/bigquery/v2/projects/acme/jobs?upload_id=u HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\n\r\nx",
    ]:
        scene.begin(sending(CHUNKED, then=without_end))
        reader, writer = await scene.connect(request_text)
        await reader.readexactly(100_000)
        writer.transport.abort()
        (line,) = await scene.until("request")
        assert line["status"] == "caller_gone"
        assert line["request_id"]
        assert scene.aborted("caller") == 1
        assert scene.lines("answer_cut_off") == []
        await scene.upstream.all_closed.wait()
        await scene.check_quiet()


async def test_a_caller_that_stops_reading_and_leaves(scene: Scene) -> None:
    """What piled up for it is thrown away with the connection."""
    scene.begin(sending(CHUNKED, then=without_end))
    reader, writer = await scene.connect(READ)
    await reader.readexactly(1)
    await SystemClock().sleep(0.2)
    writer.transport.abort()
    (line,) = await scene.until("request")
    assert line["status"] == "caller_gone"
    await scene.upstream.all_closed.wait()


async def test_a_caller_that_leaves_before_the_answer(scene: Scene) -> None:
    """BigQuery's connection is closed while it is still thinking."""
    for path in ["datasets", "queries/j"]:
        scene.begin(silence)
        _, writer = await scene.connect(READ.replace(b"datasets", path.encode()))
        await scene.upstream.connected.wait()
        writer.transport.abort()
        (line,) = await scene.until("request")
        assert line["status"] == "caller_gone"
        await scene.upstream.all_closed.wait()
        assert scene.aborted("caller") == 1
        await scene.check_quiet()


async def test_a_caller_that_leaves_a_batch(scene: Scene) -> None:
    """The parts that run are stopped."""
    scene.begin(silence)
    reader, writer = await scene.connect(batch_of(*["GET /bigquery/v2/projects/acme/datasets"] * 20))
    await reader.readline()
    await scene.upstream.connected.wait()
    writer.transport.abort()
    (line,) = await scene.until("request")
    assert line["status"] == "caller_gone"
    await scene.upstream.all_closed.wait()


BODIES = (
    "/bigquery/v2/projects/acme/datasets/d/tables/t/insertAll",
    "/bigquery/v2/projects/acme/queries",
    "/bigquery/v2/projects/acme/jobs",
    "/upload/bigquery/v2/projects/acme/jobs?uploadType=multipart",
    "/upload/bigquery/v2/projects/acme/jobs?upload_id=u",
    "/batch/bigquery/v2",
    "/v1/customers/acme/budget:check",
    "/admin/v1/keys",
)
PART = (
    b'--b\r\nContent-Type: application/json\r\n\r\n{"configuration": {"load": {}}}\r\n'
    b"--b\r\nContent-Type: text/csv\r\n\r\nabc"
)


def opening(path: str, framing: bytes) -> bytes:
    kind = b"application/json"
    if "batch" in path or "multipart" in path:
        kind = b"multipart/mixed; boundary=b" if "batch" in path else b"multipart/related; boundary=b"
    return b"POST %s HTTP/1.1\r\nHost: gate\r\nContent-Type: %s\r\n%s\r\n\r\n" % (path.encode(), kind, framing)


async def test_a_request_body_that_ends_with_its_caller(scene: Scene) -> None:
    """The caller leaves in the middle of what it sends: a line, and BigQuery's connection is closed."""
    for path in BODIES:
        scene.begin(silence)
        _, writer = await scene.connect(opening(path, b"Content-Length: 100000") + PART)
        writer.transport.abort()
        (line,) = await scene.until("request")
        assert line["request_id"]
        assert line["status"] in {"caller_gone", 401, 403}
        await scene.check_quiet()


async def test_a_request_body_of_broken_chunks(scene: Scene) -> None:
    """A chunk that is none, then the caller leaves: one line, and nothing is sent on as if it were whole."""
    size = b"%x" % len(PART)
    for path in BODIES:
        scene.begin(silence)
        reader, writer = await scene.connect(opening(path, b"Transfer-Encoding: chunked\r\nExpect: 100-continue"))
        first = await reader.readuntil(b"\r\n\r\n")
        assert first.startswith((b"HTTP/1.1 100 ", b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), path
        writer.write(size + b"\r\n" + PART + b"\r\nzz\r\n")
        writer.close()
        (line,) = await scene.until("request")
        assert line["status"] in {400, 403, "caller_gone"}
        await scene.check_quiet()


async def test_what_is_no_request_is_a_line_at_most(scene: Scene) -> None:
    """Nonsense is answered 400 and the connection ends; the line quotes nothing of it."""
    for text in [
        b"GET / HTTP/1.1\r\nHost: gate\r\nbad header\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ]:
        scene.begin(whole({}))
        assert b" 400 " in (await scene.raw(READ.replace(b"GET", b"HEAD") + text))[0]
        for line in scene.lines("malformed_request"):
            assert set(line) == {"at", "level", "event", "source", "cause"}
            assert (line["level"], line["source"]) == ("info", "127.0.0.1")
        assert len(scene.lines("malformed_request")) <= 1
        await scene.check_quiet()


ODD = {
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
    "long line": HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
    "many lines": HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(5_000)) + b"\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bytes in a header": HEAD + b"X: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "only 103": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "bad status": b"HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n",
    "malformed at once": FIRST + b"zz\r\n",
}


async def test_an_answer_that_is_none_is_a_503(scene: Scene) -> None:
    """What cannot be read as an answer is an outage of BigQuery's, told while the caller can still be told."""
    for text_sent in ODD.values():
        scene.begin(sending(text_sent))
        text, _ = await scene.raw(READ.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert text.startswith(b"HTTP/1.1 503 "), text
        assert b"backendError" in text
        (line,) = scene.lines("request")
        assert (line["status"], line["reason"]) == (503, "UpstreamUnavailable")
        await scene.upstream.all_closed.wait()
        await scene.check_quiet()


PASSED = {
    "after 100 and 103": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    + HEAD
    + b"Content-Length: 2\r\n\r\n{}",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
    "302": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 2\r\n\r\n{}",
    "308": b"HTTP/1.1 308 Resume Incomplete\r\nRange: bytes=0-9\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "ends with its connection": HEAD + b"\r\n{}",
}


async def test_answers_of_every_kind_pass_and_leave_the_connection_usable(scene: Scene) -> None:
    """The caller asks a second time on the same connection, and BigQuery is not asked where a redirect leads."""
    for how, text_sent in PASSED.items():
        scene.begin(sending(text_sent))
        last = READ.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        text, _ = await scene.raw(READ + last)
        assert text.count(b"X-Bqgate-Request-Id") == 2
        assert len(scene.upstream.heads) == 2
        assert [line["status"] for line in scene.lines("request")] == [
            int(how) if how[:3].isdigit() and len(how) == 3 else 304 if how.startswith("304") else 200
        ] * 2
        await scene.check_quiet()


async def test_a_stop_in_the_middle_of_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who still reads when the gate has waited long enough is cut off, by a reset where it would not notice."""
    monkeypatch.setattr("bqgate.app.root.SHUTDOWN_S", 0.1)
    async with open_scene(tmp_path, caplog) as scene:
        scene.begin(sending(CHUNKED, then=without_end))
        callers = [await scene.connect(READ.replace(b"1.1", version)) for version in (b"1.1", b"1.0")]
        for reader, _ in callers:
            await reader.readexactly(70_000)
        reading = [asyncio.ensure_future(_all_of(reader)) for reader, _ in callers]
    (text, _), (_, was_reset) = await asyncio.gather(*reading)
    for _, writer in callers:
        writer.close()
    assert not text.endswith(b"0\r\n\r\n")
    assert was_reset
    assert {line["status"] for line in scene.lines("request")} == {"gate_stopped"}
    assert scene.aborted("stop") == 2
    await scene.check_quiet()
