"""Say what BigQuery is to the gate: the few methods it calls itself, and the way of everybody's calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bqgate.domain.job import Estimate, Job, JobRef, Usage
from bqgate.domain.principal import Credential
from bqgate.wire.http_message import HttpRequest, HttpResponse


class DryRunner(Protocol):
    """Where dry runs are made."""

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        """Ask by jobs.insert with dryRun what a query would process. Free. It sees no calls: Estimate.with_calls.

        Raises:
            UpstreamRefused: the query is invalid, or the caller may not run it; bears BigQuery's answer.
            UpstreamUnavailable: no answer, or 5xx.
            TooManyRequests: the gate makes too many already.
        """


class BigQuery(DryRunner, Protocol):
    """The few of BigQuery's methods that the gate calls for itself."""

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        """A job as it stands (jobs.get).

        Raises:
            JobNotFound: there is no such job.
            UpstreamRefused: the credential may not see it, or is no longer valid.
            UpstreamUnavailable: no answer, or 5xx.
        """

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        """What the jobs of a script's statements used (jobs.list by parentJobId), as many as are listed and finished.

        Raises:
            UpstreamRefused: the credential may not list jobs.
            UpstreamUnavailable: no answer, 5xx, or a region did not answer.
        """

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        """The job that bears the gate's label for a hold (jobs.list), None where there is none.

        Raises:
            UpstreamRefused: the credential may not list jobs.
            UpstreamUnavailable: no answer, 5xx, or a region did not answer.
        """


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a query of the gate's own brought: its rows by the names of their columns, and what its job used.

    A value is what BigQuery's JSON has: text, or None; int64, timestamps (microseconds since 1970) and booleans are
    text too, repeated fields are tuples, records are mappings.
    """

    rows: tuple[Mapping[str, Any], ...]
    usage: Usage


class OwnQueries(Protocol):
    """Queries that the gate runs for itself, in its own name. They may cost money; settlement.OwnCosts books it."""

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
        """Run a query to its end, with named parameters, no cached result, and all of its rows.

        Args:
            sql: GoogleSQL with parameters as @name.
            project_id: where it is billed.
            location: where it runs.
            job_id: names its job, so that it can be found if the answer is lost.
            parameters: an int is INT64, a text STRING, a moment TIMESTAMP.
            maximum_bytes_billed: past this BigQuery refuses it, at no cost.

        Raises:
            UpstreamRefused: BigQuery refuses it, or it failed; bears BigQuery's answer.
            UpstreamUnavailable: no answer, or 5xx; it may run all the same.
        """


class QueryRunner(Protocol):
    """Whoever has such queries bounded and booked: settlement.OwnCosts, for the sweep and the cost metrics."""

    async def run(
        self,
        sql: str,
        *,
        purpose: str,
        project_id: str,
        location: str,
        parameters: Mapping[str, int | str | datetime],
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of a query. Its cost is booked, now or as soon as it is known.

        Args:
            sql: GoogleSQL with parameters as @name.
            purpose: what it is for; booked as its workload.
            project_id: where it runs and is billed.
            location: likewise.
            parameters: an int is INT64, a text STRING, a moment TIMESTAMP.

        Raises:
            OwnQueriesSpent: it might pass what all of the gate's own queries may cost today; it did not run.
            UpstreamRefused: BigQuery refuses it, or it failed; bears BigQuery's answer.
            UpstreamUnavailable: no answer, or 5xx; it may run all the same, and is then booked.
            LedgerUnavailable: it could not be recorded, and did not run.
        """


class JobCanceller(Protocol):
    """Where running jobs can be stopped, and looked at before."""

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        """See BigQuery.fetch_job."""

    async def cancel_job(self, job: JobRef, *, credential: Credential | None) -> None:
        """Ask that a job be cancelled (jobs.cancel). It may run on for a moment, and may be billed all the same.

        Raises:
            JobNotFound: there is no such job.
            UpstreamRefused: the credential may not cancel it.
            UpstreamUnavailable: no answer, or 5xx.
        """


class Upstream(Protocol):
    """BigQuery as the data plane sees it: a call goes in, an answer streams out, nothing is changed on the way."""

    async def send(
        self, call: HttpRequest, *, credential: Credential, read_timeout_s: float | None = None
    ) -> HttpResponse:
        """Send a call (path as BigQuery knows it) with the right credential and return as soon as headers are there.

        Args:
            call: its body may be a stream; it is sent as it comes.
            credential: the caller's; which one really goes upstream is the adapter's setting.
            read_timeout_s: how long the answer's head may take; None: the adapter's default.

        Raises:
            UpstreamUnavailable: no connection (may_have_worked False) or no answer.
            UpstreamTimeout: no answer in time.
        """

    async def close(self) -> None:
        """Give back connections."""
