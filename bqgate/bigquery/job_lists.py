"""Read all jobs of a project by jobs.list, which is free: ports.JobReader and ports.RegionSource.

Called by the sweep, in the gate's own name; calls jobs.list with allUsers
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/list). Lists are newest first and come in pages, so a
span of time is read whole before its jobs are judged oldest first; one with more jobs than are kept in memory is told,
and read again in pieces. A field mask leaves out the SQL, which the gate has no use for, and most of the bytes. Lists
have no queries without a job, and no statements of scripts.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from bqgate.bigquery.json_calls import JsonCalls, segment
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.job import Job, JobRef
from bqgate.domain.place import Place
from bqgate.ports import JobsRead
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.job_identity import is_masked, job_from
from bqgate.wire.job_resource import job_ref_from

PAGE_JOBS = 500
# A span's jobs are in memory at once, at about 2 KB each.
JOBS_MAX = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIELDS = (
    "nextPageToken,unreachable,jobs(jobReference,user_email,principal_subject,status(state,errorResult/reason),"
    "configuration(jobType,labels),statistics(creationTime,endTime,totalBytesProcessed,totalSlotMs,reservation_id,"
    "edition,parentJobId,query(statementType,totalBytesProcessed,totalBytesBilled,totalSlotMs,cacheHit)))"
)
# BigQuery may send short pages, and empty ones; a list that goes on for ever is none.
_PAGES_MAX = 500
_REGION_FIELDS = "nextPageToken,jobs/jobReference"
_REGION_PAGE_JOBS = 1_000
_REGION_PAGES = 3


class ListedJobs:
    """Jobs as jobs.list has them."""

    def __init__(self, calls: JsonCalls, *, jobs_max: int = JOBS_MAX) -> None:
        """Take the gate's way to BigQuery, and how many jobs may be in memory at once."""
        self._calls = calls
        self._jobs_max = jobs_max

    async def read_jobs(self, place: Place, *, since: datetime, until: datetime) -> JobsRead:
        """Jobs of a project made in a span of time, in whole milliseconds; see ports.JobReader."""
        params = {
            "allUsers": "true",
            "projection": "full",
            "minCreationTime": str((since - _EPOCH) // _MILLISECOND),
            "maxCreationTime": str(_ms_before(until)),
            "maxResults": str(PAGE_JOBS),
            "fields": _FIELDS,
        }
        jobs: list[Job] = []
        masked_count, is_region_missing = 0, False
        async for page in self._pages(place.project_id, params):
            for document in _jobs_of(page):
                if is_masked(document):
                    masked_count += 1
                    continue
                jobs.append(job_from(document, asked=JobRef(place.project_id, "")))
            is_region_missing = is_region_missing or bool(page.get("unreachable"))
            if masked_count:
                break  # who may not see one job sees none that is not its own
            if len(jobs) > self._jobs_max:
                return JobsRead((), is_whole=False)
        jobs.sort(key=lambda job: job.created_at or _EPOCH)
        return JobsRead(tuple(jobs), masked_count=masked_count, is_region_missing=is_region_missing)

    async def fetch_regions(self, project_id: str, *, since: datetime) -> frozenset[str]:
        """Regions of the newest jobs, some thousands at most; see ports.RegionSource."""
        params = {
            "allUsers": "true",
            "minCreationTime": str((since - _EPOCH) // _MILLISECOND),
            "maxResults": str(_REGION_PAGE_JOBS),
            "fields": _REGION_FIELDS,
        }
        found: set[str] = set()
        left = _REGION_PAGES
        async for page in self._pages(project_id, params):
            refs = (job_ref_from(job.get("jobReference") or {}) for job in _jobs_of(page))
            found |= {ref.location.lower() for ref in refs if ref is not None and ref.location}
            left -= 1
            if left == 0:
                break
        return frozenset(found)

    async def _pages(self, project_id: str, params: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
        path = f"/bigquery/v2/projects/{segment(project_id)}/jobs"
        asked = {**params, "prettyPrint": "false"}
        for _ in range(_PAGES_MAX):
            page = await self._calls.ask(HttpRequest("GET", path, urlencode(asked)), None)
            yield page
            token = page.get("nextPageToken")
            if not isinstance(token, str) or not token:
                return
            asked["pageToken"] = token
        raise UpstreamUnavailable(f"The list of jobs in {project_id} has no end after {_PAGES_MAX} pages.")


def _ms_before(until: datetime) -> int:
    """The last whole millisecond before a moment: BigQuery's bound is inclusive."""
    return -((_EPOCH - until) // _MILLISECOND) - 1


def _jobs_of(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    jobs = page.get("jobs")
    return [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []
