"""Tests of bqgate.bigquery.job_lists, over HTTP: which question goes out, and what is made of the pages that come."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from bqgate.bigquery.credentials import AnonymousCredentials
from bqgate.bigquery.job_lists import ListedJobs
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.place import Place
from tests.support.recorded_jobs import CASES, CREATED_MS, MASKED, listed
from tests.support.recording_upstream import RecordingUpstream, recording_upstream

SINCE = datetime(2026, 11, 24, 11, 59, tzinfo=UTC)
UNTIL = SINCE + timedelta(minutes=5)
PLACE = Place("acme-prod")


@pytest.fixture
async def recorder() -> AsyncIterator[RecordingUpstream]:
    async with recording_upstream() as opened:
        yield opened


@pytest.fixture
async def calls(recorder: RecordingUpstream) -> AsyncIterator[JsonCalls]:
    upstream = HttpUpstream(recorder.url, AnonymousCredentials())
    yield JsonCalls(upstream)
    await upstream.close()


def answer_with(recorder: RecordingUpstream, *pages: dict[str, Any], status: int = 200) -> None:
    """Answer with these pages, by their tokens."""

    async def reply(request: web.Request) -> web.Response:
        place = int(request.query.get("pageToken", "0"))
        page = dict(pages[place])
        if place + 1 < len(pages):
            page["nextPageToken"] = str(place + 1)
        return web.Response(status=status, text=json.dumps(page), content_type="application/json")

    recorder.reply = reply


async def test_the_question(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """All users' jobs of a span, whose bounds are both inclusive at BigQuery, without the SQL of anybody."""
    answer_with(recorder, {})
    await ListedJobs(calls).read_jobs(PLACE, since=SINCE, until=UNTIL)
    target = urlsplit(recorder.last.target)
    asked = {name: values[0] for name, values in parse_qs(target.query).items()}
    assert target.path == "/bigquery/v2/projects/acme-prod/jobs"
    assert (asked["allUsers"], asked["projection"]) == ("true", "full")
    assert int(asked["maxCreationTime"]) - int(asked["minCreationTime"]) == 5 * 60 * 1000 - 1
    assert "configuration(jobType,labels)" in asked["fields"]
    assert "query/query" not in asked["fields"]


async def test_pages_are_read_to_the_last_and_put_in_order(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """Lists are newest first; what leaves is oldest first, of all pages."""
    newer = listed("newer", statistics={"creationTime": str(CREATED_MS + 5)})
    answer_with(recorder, {"jobs": [newer]}, {}, {"jobs": [document for document, _ in CASES.values()]})
    read = await ListedJobs(calls).read_jobs(PLACE, since=SINCE, until=UNTIL)
    assert [job.ref.job_id for job in read.jobs][-1] == "newer"
    assert len(read.jobs) == len(CASES) + 1
    assert (read.is_whole, read.masked_count, read.is_region_missing) == (True, 0, False)


async def test_more_than_are_kept_are_told(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """A span with more jobs than are in memory at once is not read to its end."""
    answer_with(recorder, *({"jobs": [listed(f"{page}-{n}") for n in range(4)]} for page in range(10)))
    read = await ListedJobs(calls, jobs_max=10).read_jobs(PLACE, since=SINCE, until=UNTIL)
    assert (read.is_whole, read.jobs) == (False, ())
    assert len(recorder.received) == 3


async def test_masked_jobs_and_missing_regions_are_told(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """Neither is taken for no job."""
    answer_with(recorder, {"jobs": [*MASKED.values(), listed("seen")], "unreachable": ["asia-east1"]})
    read = await ListedJobs(calls).read_jobs(PLACE, since=SINCE, until=UNTIL)
    assert (len(read.jobs), read.masked_count, read.is_region_missing) == (1, len(MASKED), True)


@pytest.mark.parametrize(("status", "error"), [(403, UpstreamRefused), (503, UpstreamUnavailable)])
async def test_failures_leave_as_the_ports(
    recorder: RecordingUpstream, calls: JsonCalls, status: int, error: type[Exception]
) -> None:
    """Who may not list is refused; who does not answer is away."""
    answer_with(recorder, {"error": {"code": status, "message": "no"}}, status=status)
    with pytest.raises(error):
        await ListedJobs(calls).read_jobs(PLACE, since=SINCE, until=UNTIL)


async def test_regions_of_a_project(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """A bounded look at the newest jobs names the regions in which they ran."""
    references = [{"projectId": "p", "jobId": "j", "location": place} for place in ("US", "asia-east1", "US")]
    answer_with(recorder, *({"jobs": [{"jobReference": each} for each in references]} for _ in range(20)))
    assert await ListedJobs(calls).fetch_regions("p", since=SINCE) == {"us", "asia-east1"}
    assert len(recorder.received) == 3


async def test_a_list_without_an_end_is_no_list(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """Empty pages that each name another are given up, and nothing is taken for absent."""
    answer_with(recorder, *({} for _ in range(600)))
    with pytest.raises(UpstreamUnavailable, match="no end"):
        await ListedJobs(calls).read_jobs(PLACE, since=SINCE, until=UNTIL)


async def test_masked_jobs_are_not_read_to_the_last_page(recorder: RecordingUpstream, calls: JsonCalls) -> None:
    """One page that hides its jobs tells enough: the others would, too."""
    answer_with(recorder, *({"jobs": list(MASKED.values())} for _ in range(20)))
    await ListedJobs(calls).read_jobs(PLACE, since=SINCE, until=UNTIL)
    assert len(recorder.received) == 1
