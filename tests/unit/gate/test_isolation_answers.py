import gzip
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import JobNotFound, MalformedRequest, UpstreamUnavailable
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.gate.isolation import lists
from bqgate.gate.isolation.lists import filtered_list
from bqgate.gate.isolation.owners import KEPT_S, NOBODY, JobOwners
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.manual_clock import ManualClock
from tests.support.recording_upstream import RecordingUpstream, recording_upstream, replying

JOB = JobRef("hub", "job-1", "US")
NOBODYS = Credential()


def resource(owner: str | None, *, location: str = "US", parent: str | None = None) -> bytes:
    """A job as the gate asks for it."""
    document: dict[str, Any] = {"jobReference": {"projectId": "hub", "jobId": "job-1", "location": location}}
    document["configuration"] = {"labels": {} if owner is None else {"bqgate_customer": owner}}
    document["statistics"] = {} if parent is None else {"parentJobId": parent}
    return json.dumps(document).encode()


@pytest.fixture
async def recorder() -> AsyncIterator[RecordingUpstream]:
    async with recording_upstream() as running:
        yield running


@pytest.fixture
async def upstream(recorder: RecordingUpstream) -> AsyncIterator[HttpUpstream]:
    opened = HttpUpstream(recorder.url, AnonymousCredentials())
    yield opened
    await opened.close()


async def test_whose_a_job_is_is_asked_once_a_minute(recorder: RecordingUpstream, upstream: HttpUpstream) -> None:
    """The answer is kept by the job's location for a minute, and forgotten when the job may be gone."""
    clock = ManualClock()
    owners = JobOwners(upstream, clock)
    recorder.reply = replying(200, resource("acme"))
    assert [("acme", "US")] * 2 == [await owners.find(JOB, NOBODYS) for _ in range(2)]
    assert len(recorder.received) == 1
    assert "location=US" in recorder.last.target
    clock.advance(KEPT_S + 1)
    await owners.find(JOB, NOBODYS)
    owners.forget(JOB)
    await owners.find(JOB, NOBODYS)
    assert len(recorder.received) == 3


async def test_a_question_without_a_location_is_always_asked(
    recorder: RecordingUpstream, upstream: HttpUpstream
) -> None:
    """BigQuery chooses among jobs of one id, so what was learnt of one is not said of another."""
    owners = JobOwners(upstream, ManualClock())
    owners.note(JobRef("hub", "job-1", "EU"), "globex")
    recorder.reply = replying(200, resource("acme"))
    nowhere = JobRef("hub", "job-1")
    assert [("acme", "US")] * 2 == [await owners.find(nowhere, NOBODYS) for _ in range(2)]
    assert len(recorder.received) == 2
    assert ("globex", "eu") == await owners.find(JobRef("hub", "job-1", "eu"), NOBODYS)


async def test_a_job_without_the_gates_label_is_nobodys(recorder: RecordingUpstream, upstream: HttpUpstream) -> None:
    """What was submitted past the gate belongs to no customer."""
    recorder.reply = replying(200, resource(None))
    assert (NOBODY, "US") == await JobOwners(upstream, ManualClock()).find(JOB, NOBODYS)


async def test_a_part_of_a_script_is_its_parents(recorder: RecordingUpstream, upstream: HttpUpstream) -> None:
    """The label on a child is not believed: scripts can set labels."""
    owners = JobOwners(upstream, ManualClock())
    owners.note(JobRef("hub", "parent", "US"), "acme")
    recorder.reply = replying(200, resource("globex", parent="parent"))
    assert ("acme", "US") == await owners.find(JOB, NOBODYS)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"{}", JobNotFound),
        (403, b"{}", JobNotFound),
        (400, b"{}", JobNotFound),
        (503, b"{}", UpstreamUnavailable),
        (200, b"[]", UpstreamUnavailable),
        (200, b"<html>", UpstreamUnavailable),
    ],
)
async def test_no_answer_is_no_yes(
    recorder: RecordingUpstream, upstream: HttpUpstream, status: int, body: bytes, error: type[Exception]
) -> None:
    """A job that BigQuery does not show is not there; one that nobody can tell of is not shown."""
    recorder.reply = replying(status, body)
    with pytest.raises(error):
        await JobOwners(upstream, ManualClock()).find(JOB, NOBODYS)


PAGE = {"kind": "k", "etag": "e", "totalItems": 2, "jobs": [{"id": "mine"}, {"id": "theirs"}], "nextPageToken": "n"}


async def is_mine(entry: Mapping[str, Any]) -> bool:
    return bool(entry["id"] == "mine")


async def ask(answer: HttpResponse, query: str = "") -> tuple[HttpResponse, HttpRequest]:
    """The filtered answer, and the call that BigQuery got."""
    seen: list[HttpRequest] = []

    async def send(call: HttpRequest) -> HttpResponse:
        seen.append(call)
        return answer

    headers = (("If-None-Match", "e"), ("Accept-Encoding", "br"), ("X-Goog-FieldMask", "jobs.id"))
    call = HttpRequest("HEAD", "/x", query, headers)
    return await filtered_list(call, send, name="jobs", keep=is_mine, extra="projection=full"), seen[0]


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_list_is_filtered_whatever_it_is_packed_in(is_packed: bool) -> None:
    """Entries go, page tokens stay, counts and tags of what was left out do not."""
    text = json.dumps(PAGE).encode()
    headers = (("Content-Encoding", "gzip"), ("ETag", "e")) if is_packed else (("ETag", "e"),)
    answer, call = await ask(
        HttpResponse(200, headers, gzip.compress(text) if is_packed else text), "fields=x&maxResults=5"
    )
    assert isinstance(answer.body, bytes)
    assert {"kind": "k", "totalItems": 1, "jobs": [{"id": "mine"}], "nextPageToken": "n"} == json.loads(answer.body)
    assert answer.header("etag") is answer.header("content-encoding") is None
    assert ("GET", "maxResults=5&projection=full") == (call.method, call.query)
    assert (None, "gzip") == (call.header("if-none-match"), call.header("accept-encoding"))


async def test_a_refusal_of_bigquerys_passes_as_it_is() -> None:
    """There is nothing to filter in an error."""
    answer, _ = await ask(HttpResponse(400, (), b"no"))
    assert (400, b"no") == (answer.status, answer.body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", pytest.param(b"[" * 100_000, id="nested without end")])
async def test_what_cannot_be_filtered_is_not_shown(body: bytes) -> None:
    """An answer that is no JSON object is an outage, never passed on."""
    with pytest.raises(UpstreamUnavailable):
        await ask(HttpResponse(200, (), body))


async def test_a_page_past_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told to ask for fewer."""
    monkeypatch.setattr(lists, "LIST_BYTES_MAX", 10)
    with pytest.raises(MalformedRequest, match="maxResults"):
        await ask(HttpResponse(200, (), json.dumps(PAGE).encode()))


@pytest.mark.parametrize("query", ["alt=media", "callback=f", "alt=json&alt=proto"])
async def test_a_list_in_another_format_is_refused(query: str) -> None:
    """What the gate cannot read it cannot filter."""
    with pytest.raises(MalformedRequest):
        await ask(HttpResponse(200, (), b"{}"), query)


async def test_a_list_is_asked_for_enums_by_their_names() -> None:
    """Generated clients ask for numbers and take names; and no mask of theirs takes away what the filter reads."""
    _, call = await ask(
        HttpResponse(200, (), json.dumps(PAGE).encode()), "alt=json%3Benum-encoding%3Dint&fields=jobs(id)"
    )
    assert call.query == "projection=full"
    assert call.header("x-goog-fieldmask") is None


async def test_numbers_of_a_list_keep_every_digit() -> None:
    """Results are never altered: what is shown is what BigQuery wrote."""
    answer, _ = await ask(HttpResponse(200, (), b'{"jobs":[{"id":"mine","x":1234567890123456789.10}]}'))
    assert answer.body == b'{"jobs":[{"id":"mine","x":1234567890123456789.10}]}'
