import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.principal import Credential
from tests.support.manual_clock import START
from tests.support.recording_upstream import RecordingUpstream, replying

CALLER = Credential("Bearer caller", "quota")
DRY_RUN = {
    "jobReference": {"projectId": "p", "location": "EU"},
    "configuration": {"dryRun": True},
    "statistics": {
        "query": {
            "totalBytesProcessed": "1234",
            "totalBytesProcessedAccuracy": "PRECISE",
            "statementType": "SELECT",
            "referencedTables": [{"projectId": "p", "datasetId": "d", "tableId": "t"}],
        }
    },
    "user_email": "ann@example.com",
}
BODY = {"configuration": {"query": {"query": "SELECT 'ä'"}, "dryRun": True}}


@pytest.fixture
def bigquery(upstream: HttpUpstream) -> GoogleBigQuery:
    return GoogleBigQuery(upstream)


def _json(document: Mapping[str, Any], status: int = 200) -> Any:
    return replying(status, json.dumps(document).encode(), {"Content-Type": "application/json; charset=UTF-8"})


async def test_a_dry_run_asks_in_the_callers_name(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """The job is inserted as dry run into the caller's project, and its answer is an estimate."""
    recorder.reply = _json(DRY_RUN)
    estimate = await bigquery.dry_run(project_id="example.com:p", body=BODY, credential=CALLER)
    assert (estimate.bytes_processed, estimate.location, estimate.user_email) == (1234, "EU", "ann@example.com")
    assert estimate.is_known
    assert recorder.last.target == "/bigquery/v2/projects/example.com:p/jobs?prettyPrint=false"
    assert (recorder.last.method, json.loads(recorder.last.body)) == ("POST", BODY)
    assert recorder.last.header("authorization") == "Bearer caller"
    assert recorder.last.header("x-goog-user-project") == "quota"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
async def test_a_refused_dry_run_bears_bigquerys_answer(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, status: int
) -> None:
    """Whatever BigQuery has against the query, its own words can be shown."""
    recorder.reply = _json({"error": {"code": status}}, status)
    with pytest.raises(UpstreamRefused) as caught:
        await bigquery.dry_run(project_id="p", body=BODY, credential=CALLER)
    assert (caught.value.status, json.loads(caught.value.body)) == (status, {"error": {"code": status}})
    assert caught.value.content_type == "application/json; charset=UTF-8"


async def test_a_refused_credential_keeps_its_challenge(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """WWW-Authenticate says what is wrong with the token."""
    recorder.reply = replying(401, b"{}", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    with pytest.raises(UpstreamRefused) as caught:
        await bigquery.dry_run(project_id="p", body=BODY, credential=CALLER)
    assert caught.value.challenge == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (503, b"text"), (302, b""), (200, b"<html>"), (200, b"[1]")]
)
async def test_an_answer_that_is_none_is_unavailable(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, status: int, body: bytes
) -> None:
    """A failure of BigQuery's is never read as an estimate of nothing."""
    recorder.reply = replying(status, body)
    with pytest.raises(UpstreamUnavailable):
        await bigquery.dry_run(project_id="p", body=BODY, credential=CALLER)


async def test_a_finished_job_tells_what_it_used(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """A job is asked for at its location, and its statistics are its usage."""
    recorder.reply = _json(
        {
            "jobReference": {"projectId": "p", "jobId": "j", "location": "asia-east1"},
            "status": {"state": "DONE"},
            "statistics": {"totalSlotMs": "7", "query": {"totalBytesBilled": "10485760", "cacheHit": False}},
        }
    )
    job = await bigquery.fetch_job(JobRef("p", "j", "asia-east1"), credential=CALLER)
    usage = job.usage
    assert usage is not None
    assert (usage.outcome, usage.bytes_billed, usage.slot_ms) == (Outcome.DONE, 10_485_760, 7)
    assert recorder.last.target == "/bigquery/v2/projects/p/jobs/j?prettyPrint=false&location=asia-east1"


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
async def test_a_running_job_has_no_usage_yet(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, state: str
) -> None:
    """None says: ask again."""
    recorder.reply = _json({"status": {"state": state}})
    assert (await bigquery.fetch_job(JobRef("p", "j"), credential=None)).usage is None
    assert recorder.last.header("authorization") is None


@pytest.mark.parametrize(("status", "error"), [(404, JobNotFound), (401, UpstreamRefused), (502, UpstreamUnavailable)])
async def test_a_job_that_is_not_told(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, status: int, error: type[Exception]
) -> None:
    """No such job, no right to see it, no answer: three things."""
    recorder.reply = _json({}, status)
    with pytest.raises(error):
        await bigquery.fetch_job(JobRef("p", "j"), credential=CALLER)


START_MS = int(START.timestamp()) * 1000


def _job(
    job_id: str, label: str, *, kind: str = "query", created_ms: int = START_MS, project_id: str = "p"
) -> dict[str, Any]:
    return {
        "jobReference": {"projectId": project_id, "jobId": job_id, "location": "EU"},
        "configuration": {kind: {}, "labels": {"bqgate_hold": label}},
        "statistics": {"creationTime": str(created_ms)},
    }


async def test_a_job_is_found_by_its_label_on_any_page(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """Every page since the hold is looked through, among the jobs of everybody."""
    pages: dict[str | None, dict[str, Any]] = {
        None: {"jobs": [_job("other", "x"), {"jobReference": {}}], "nextPageToken": "two"},
        "two": {"jobs": [_job("wanted", "01hold")]},
    }

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response(pages[request.query.get("pageToken")])

    recorder.reply = reply
    found = await bigquery.find_job(project_id="p", hold_id="01HOLD", since=START, credential=CALLER)
    assert found == JobRef("p", "wanted", "EU")
    query = parse_qs(urlsplit(recorder.received[0].target).query)
    assert (query["allUsers"], query["projection"]) == (["true"], ["full"])
    before = START - timedelta(minutes=2)
    assert query["minCreationTime"] == [str(int(before.timestamp()) * 1000)]


@pytest.mark.parametrize(
    "forged",
    [
        _job("forged", "h", kind="load"),
        _job("forged", "h", kind="copy"),
        _job("forged", "h", kind="extract"),
        _job("forged", "h", project_id="another"),
        _job("forged", "h", created_ms=START_MS - 121_000),
        _job("forged", "h") | {"statistics": {}},
        {**_job("forged", "h"), "configuration": {"labels": {"bqgate_hold": "h"}}},
    ],
)
async def test_a_label_alone_proves_nothing(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream, forged: dict[str, Any]
) -> None:
    """A job of another kind or project, or one that is older than the hold, is not the hold's, whatever it bears."""
    recorder.reply = _json({"jobs": [forged]})
    assert await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER) is None


async def test_of_two_jobs_with_one_label_the_earlier_is_the_holds(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream
) -> None:
    """The label is copied from the job that had it first, though jobs are listed from the last on."""
    pages: dict[str | None, dict[str, Any]] = {
        None: {"jobs": [_job("copied", "h", created_ms=START_MS + 2)], "nextPageToken": "two"},
        "two": {"jobs": [_job("first", "h", created_ms=START_MS + 1)]},
    }

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.json_response(pages[request.query.get("pageToken")])

    recorder.reply = reply
    found = await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER)
    assert found == JobRef("p", "first", "EU")


async def test_no_job_bears_the_label(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """None is said only after the last page."""
    recorder.reply = _json({"jobs": [_job("other", "x")]})
    assert await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER) is None
    recorder.reply = _json({"kind": "bigquery#jobList"})
    assert await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER) is None


async def test_a_silent_region_leaves_the_question_open(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """Where a region did not answer, the job may be there."""
    recorder.reply = _json({"jobs": [], "unreachable": ["asia-east1"]})
    with pytest.raises(UpstreamUnavailable):
        await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER)


async def test_endless_pages_leave_the_question_open(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """Looking is bounded, and giving up is not an answer."""
    recorder.reply = _json({"jobs": [], "nextPageToken": "again"})
    with pytest.raises(UpstreamUnavailable):
        await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER)


async def test_who_may_not_list_all_jobs_is_asked_for_its_own(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream
) -> None:
    """The caller's job is among the caller's jobs; without a caller the refusal stands."""

    async def reply(request: web.Request) -> web.StreamResponse:
        if "allUsers" in request.query:
            return web.json_response({"error": {}}, status=403)
        return web.json_response({"jobs": [_job("own", "h")]})

    recorder.reply = reply
    found = await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=CALLER)
    assert found == JobRef("p", "own", "EU")
    with pytest.raises(UpstreamRefused):
        await bigquery.find_job(project_id="p", hold_id="h", since=START, credential=None)


def _statement(kind: str, billed: int) -> dict[str, Any]:
    query = {"statementType": kind, "totalBytesBilled": str(billed)}
    return {"status": {"state": "DONE"}, "statistics": {"parentJobId": "j", "query": query}}


async def test_the_statements_of_a_script_are_read_from_every_page(
    bigquery: GoogleBigQuery, recorder: RecordingUpstream
) -> None:
    """With all of their statistics, among everybody's jobs, or among the caller's own where it sees no more."""
    pages: dict[str | None, dict[str, Any]] = {
        None: {"jobs": [_statement("CREATE_MODEL", 5), {"status": {"state": "RUNNING"}}], "nextPageToken": "two"},
        "two": {"jobs": [_statement("SELECT", 3)]},
    }

    async def reply(request: web.Request) -> web.StreamResponse:
        if "allUsers" in request.query:
            return web.json_response({"error": {}}, status=403)
        return web.json_response(pages[request.query.get("pageToken")])

    recorder.reply = reply
    children = await bigquery.fetch_children(JobRef("p", "j", "EU"), credential=CALLER)
    assert [(usage.statement_type, usage.bytes_billed) for usage in children] == [("CREATE_MODEL", 5), ("SELECT", 3)]
    query = parse_qs(urlsplit(recorder.received[-1].target).query)
    assert (query["parentJobId"], query["projection"]) == (["j"], ["full"])
    with pytest.raises(UpstreamRefused):
        await bigquery.fetch_children(JobRef("p", "j"), credential=None)


async def test_a_silent_region_hides_no_statement(bigquery: GoogleBigQuery, recorder: RecordingUpstream) -> None:
    """It is asked again, rather than taken for a script without statements."""
    recorder.reply = _json({"jobs": [], "unreachable": ["asia-east1"]})
    with pytest.raises(UpstreamUnavailable):
        await bigquery.fetch_children(JobRef("p", "j"), credential=CALLER)
