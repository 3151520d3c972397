"""Ask BigQuery for dry runs, jobs and tables: the BigQuery, TableSource and JobCanceller ports over an Upstream.

Called by admission (dry_run), settlement (fetch_job, fetch_children, find_job,
cancel_job) and advice (dry_run, fetch_table); calls
jobs.insert, jobs.get, jobs.list, jobs.cancel and tables.get
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs) by json_calls.py, whose errors are the port's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from bqgate.bigquery.json_calls import TIMEOUT_S, JsonCalls, json_post, segment
from bqgate.bigquery.retrying import Retries
from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.table import TableFacts
from bqgate.ports import Upstream
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.job_identity import Claim, claim_of, created_at_ms, earliest_ms, job_from
from bqgate.wire.job_resource import estimate_from, job_ref_from, usages_in
from bqgate.wire.table_resource import table_facts_from

ResultT = TypeVar("ResultT")

_PAGE_JOBS = 200
_PAGES_MAX = 100


class GoogleBigQuery:
    """The gate's own calls."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        own: Upstream | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
    ) -> None:
        """Take the callers' way to BigQuery, and the gate's `own`, for calls without a caller's credential.

        `retries` None: each call is made once.
        """
        self._calls = JsonCalls(upstream, own=own, timeout_s=timeout_s, retries=retries)

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        """Ask what a query would process; see ports.BigQuery."""
        call = json_post(f"/bigquery/v2/projects/{segment(project_id)}/jobs", body)
        return estimate_from(await self._calls.ask(call, credential, operation="dry_run"), asked=project_id)

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        """A job as it stands; see ports.BigQuery."""
        path = f"/bigquery/v2/projects/{segment(job.project_id)}/jobs/{segment(job.job_id)}"
        params = {"prettyPrint": "false"} | ({} if job.location is None else {"location": job.location})
        with _not_found(job):
            document = await self._calls.ask(HttpRequest("GET", path, urlencode(params)), credential)
        return job_from(document, asked=job)

    async def cancel_job(self, job: JobRef, *, credential: Credential | None) -> None:
        """Ask that a job be cancelled; see ports.JobCanceller. Asking twice changes nothing."""
        path = f"/bigquery/v2/projects/{segment(job.project_id)}/jobs/{segment(job.job_id)}/cancel"
        params = {"prettyPrint": "false"} | ({} if job.location is None else {"location": job.location})
        with _not_found(job):
            await self._calls.ask(HttpRequest("POST", path, urlencode(params)), credential, operation="cancel")

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        """The job that bears a hold's label; see ports.BigQuery.

        Of several the earliest is the hold's: the label went out with it, and can only be read and copied afterwards.
        """
        params = {
            "projection": "full",
            "minCreationTime": str(earliest_ms(since)),
            "maxResults": str(_PAGE_JOBS),
            "prettyPrint": "false",
        }
        return await self._as_anybody(
            lambda own: self._find(project_id, hold_id, since, params | own, credential), credential
        )

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        """What the jobs of a script's statements used; see ports.BigQuery."""
        params = {
            "parentJobId": job.job_id,
            "projection": "full",
            "maxResults": str(_PAGE_JOBS),
            "prettyPrint": "false",
        }

        async def listed(own: dict[str, str]) -> tuple[Usage, ...]:
            found: list[Usage] = []
            async for page in self._pages(job.project_id, params | own, credential):
                found += usages_in(page)
                _refuse_unreachable(page)
            return tuple(found)

        return await self._as_anybody(listed, credential)

    async def fetch_table(
        self, *, project_id: str, dataset_id: str, table_id: str, credential: Credential
    ) -> TableFacts:
        """What a table is; see ports.TableSource."""
        path = f"/bigquery/v2/projects/{segment(project_id)}/datasets/{segment(dataset_id)}/tables/{segment(table_id)}"
        document = await self._calls.ask(HttpRequest("GET", path, "prettyPrint=false"), credential)
        return table_facts_from(document, project_id=project_id, dataset_id=dataset_id, table_id=table_id)

    async def _find(
        self, project_id: str, hold_id: str, since: datetime, params: dict[str, str], credential: Credential | None
    ) -> JobRef | None:
        found: list[Mapping[str, Any]] = []
        async for page in self._pages(project_id, params, credential):
            found += [
                job
                for job in _jobs_of(page)
                if claim_of(job, hold_id=hold_id, project_id=project_id, since=since) is Claim.LABELLED
            ]
            _refuse_unreachable(page)
        return _earliest(found)

    async def _as_anybody(
        self, ask: Callable[[dict[str, str]], Awaitable[ResultT]], credential: Credential | None
    ) -> ResultT:
        """Look among everybody's jobs; a caller who may not list those is asked for its own, where its job must be."""
        try:
            return await ask({"allUsers": "true"})
        except UpstreamRefused as refusal:
            if refusal.status != 403 or credential is None:
                raise
        return await ask({})

    async def _pages(
        self, project_id: str, params: dict[str, str], credential: Credential | None
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The pages of jobs.list, to the last.

        Raises:
            UpstreamUnavailable: also where there are more than the gate reads.
        """
        path = f"/bigquery/v2/projects/{segment(project_id)}/jobs"
        for _ in range(_PAGES_MAX):
            page = await self._calls.ask(HttpRequest("GET", path, urlencode(params)), credential)
            yield page
            token = page.get("nextPageToken")
            if not isinstance(token, str) or not token:
                return
            params = params | {"pageToken": token}
        raise UpstreamUnavailable(
            f"There are more than {_PAGES_MAX * _PAGE_JOBS} jobs in {project_id} to look through."
        )


def _jobs_of(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The jobs of a page. Children of scripts are not listed, so a script's is the parent."""
    jobs = page.get("jobs")
    return [job for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []


def _earliest(jobs: list[Mapping[str, Any]]) -> JobRef | None:
    first = min(jobs, key=lambda job: created_at_ms(job) or 0, default=None)
    return None if first is None else job_ref_from(first["jobReference"])


def _refuse_unreachable(page: Mapping[str, Any]) -> None:
    if page.get("unreachable"):
        raise UpstreamUnavailable("A region did not list its jobs.")


@contextmanager
def _not_found(job: JobRef) -> Iterator[None]:
    """Name BigQuery's 404 as what it means for a job."""
    try:
        yield
    except UpstreamRefused as refusal:
        if refusal.status == 404:
            raise JobNotFound(f"Not found: Job {job.project_id}:{job.job_id}") from refusal
        raise
