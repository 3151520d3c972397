"""Run queries for the gate itself: ports.OwnQueries over the gate's own way to BigQuery.

Called by settlement.OwnCosts, which holds and books what they cost. A query is a jobs.insert with a job id that was
chosen before (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/insert): asked for twice it is one job, and
if the answer is lost the job is looked up. BigQuery ends it after the time that is waited for it. Rows and time are
bounded; past a bound it is UpstreamUnavailable, and the job may cost all the same.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from bqgate.bigquery.json_calls import JsonCalls, json_post, segment
from bqgate.domain.errors import UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.job import JobRef, Usage
from bqgate.domain.units import MS_PER_S
from bqgate.ports import Clock, QueryAnswer
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.job_resource import usage_from
from bqgate.wire.query_rows import own_query_body, rows_in

DEADLINE_S = 300
# A query asks for less by itself; a page that is larger than an answer may be is not read.
ROWS_MAX = 100_000
_PAGE_ROWS = 2_000
_POLL_MS_MAX = 10_000
# A long poll that comes back at once, through a proxy for one, is not repeated at once.
_PAUSE_S = 0.2
_ALREADY_THERE = 409


class GoogleOwnQueries:
    """Queries in the gate's own name."""

    def __init__(
        self, calls: JsonCalls, clock: Clock, *, deadline_s: int = DEADLINE_S, rows_max: int = ROWS_MAX
    ) -> None:
        """Take the way of the gate's calls, how long a query may take, and how many rows it may bring."""
        self._calls = calls
        self._clock = clock
        self._deadline_s = deadline_s
        self._rows_max = rows_max

    async def run(
        self,
        sql: str,
        *,
        project_id: str,
        location: str,
        job_id: str,
        parameters: Mapping[str, int | str | datetime],
        maximum_bytes_billed: int,
    ) -> QueryAnswer:
        """Run a query to its end; see ports.OwnQueries."""
        job = JobRef(project_id, job_id, location)
        until_s = self._clock.monotonic_s() + self._deadline_s
        body = own_query_body(
            sql,
            job,
            parameters,
            maximum_bytes_billed=maximum_bytes_billed,
            timeout_ms=self._deadline_s * MS_PER_S,
        )
        await self._insert(job, body)
        rows = await self._fetch_rows(job, until_s)
        return QueryAnswer(rows, await self._fetch_usage(job))

    async def _insert(self, job: JobRef, body: Mapping[str, Any]) -> None:
        call = json_post(f"/bigquery/v2/projects/{segment(job.project_id)}/jobs", body)
        try:
            await self._calls.ask(call, None, operation="jobs.insert")
        except UpstreamRefused as refusal:
            if refusal.status != _ALREADY_THERE:  # the first of two attempts has made it
                raise
        except UpstreamUnavailable as failure:
            if not failure.may_have_worked or not await self._is_there(job):
                raise

    async def _is_there(self, job: JobRef) -> bool:
        """Whether a job was made whose answer was lost; an answer lost again proves nothing."""
        try:
            await self._calls.ask(_get_job(job), None)
        except (UpstreamRefused, UpstreamUnavailable):
            return False
        return True

    async def _fetch_rows(self, job: JobRef, until_s: float) -> tuple[Mapping[str, Any], ...]:
        rows: list[Mapping[str, Any]] = []
        token: str | None = None
        while True:
            page = await self._calls.ask(self._get_page(job, token), None)
            if self._clock.monotonic_s() >= until_s:  # rows, too: pages may have no end
                raise UpstreamTimeout(f"A query of the gate's own has not ended within {self._deadline_s} s.")
            if page.get("jobComplete") is not True:
                await self._clock.sleep(_PAUSE_S)
                continue
            try:
                rows += rows_in(page)
            except ValueError as error:
                raise UpstreamUnavailable(f"The rows of a query of the gate's own cannot be read: {error}.") from error
            if len(rows) > self._rows_max:
                raise UpstreamUnavailable(f"A query of the gate's own brings more than {self._rows_max} rows.")
            token = page.get("pageToken")
            if not isinstance(token, str) or not token:
                return tuple(rows)

    def _get_page(self, job: JobRef, token: str | None) -> HttpRequest:
        """The next page; the first call waits for the job, half as long as an answer may take."""
        params = {
            "timeoutMs": str(min(_POLL_MS_MAX, int(self._calls.timeout_s * MS_PER_S / 2))),
            "maxResults": str(_PAGE_ROWS),
            "formatOptions.useInt64Timestamp": "true",
            "prettyPrint": "false",
            **_location(job),
            **({} if token is None else {"pageToken": token}),
        }
        path = f"/bigquery/v2/projects/{segment(job.project_id)}/queries/{segment(job.job_id)}"
        return HttpRequest("GET", path, urlencode(params))

    async def _fetch_usage(self, job: JobRef) -> Usage:
        usage = usage_from(await self._calls.ask(_get_job(job), None))
        if usage is None:
            raise UpstreamUnavailable("A query of the gate's own has rows, and its job has not ended.")
        return usage


def _get_job(job: JobRef) -> HttpRequest:
    path = f"/bigquery/v2/projects/{segment(job.project_id)}/jobs/{segment(job.job_id)}"
    return HttpRequest("GET", path, urlencode({"prettyPrint": "false", **_location(job)}))


def _location(job: JobRef) -> dict[str, str]:
    return {} if job.location is None else {"location": job.location}
