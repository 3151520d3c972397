"""Play BigQuery for settlement: a ports.BigQuery whose jobs start, end, vanish and fail as a test scripts them.

It stands for a system outside of the gate. It keeps Google's habits that settlement lives with: a job outside the US is
found by its id only with its location, by its label everywhere; a token that is no longer valid is refused.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bqgate.domain.errors import BqgateError, JobNotFound, UpstreamRefused
from bqgate.domain.job import Estimate, Job, JobRef, Outcome, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.units import MIB
from bqgate.wire.error_reply import error_body

OWN = "the gate's own"


@dataclass
class ScriptedJob:
    """A job and the labels that it bears. `hold_id` empty: none of a hold's. `usage` None: it is running."""

    ref: JobRef
    hold_id: str
    created_at: datetime
    owner: str | None = None
    usage: Usage | None = None
    children: tuple[Usage, ...] = ()


@dataclass
class ScriptedBigQuery:
    """Jobs, and whom they are shown. `accepted` holds the authorizations that work, OWN for the gate's own.

    `unseen` are the ids of jobs that nobody may see who asks.
    """

    jobs: dict[tuple[str, str], ScriptedJob] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=lambda: {OWN})
    failure: BqgateError | None = None
    may_list: bool = True
    unseen: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def start(self, job: JobRef, *, hold_id: str, created_at: datetime, owner: str | None = None) -> None:
        """Begin to run a job."""
        self.jobs[job.project_id, job.job_id] = ScriptedJob(job, hold_id, created_at, owner)

    def end(
        self,
        job: JobRef,
        *,
        bytes_billed: int | None = 10 * MIB,
        outcome: Outcome = Outcome.DONE,
        statement_type: str = "SELECT",
    ) -> Usage:
        """End a running job."""
        usage = Usage(
            job=self.jobs[job.project_id, job.job_id].ref,
            outcome=outcome,
            bytes_processed=bytes_billed or 0,
            bytes_billed=bytes_billed,
            statement_type=statement_type,
            cache_hit=outcome is Outcome.CACHED,
        )
        self.jobs[job.project_id, job.job_id].usage = usage
        return usage

    def run_statements(self, job: JobRef, *children: Usage) -> None:
        """Let a script have run these statements."""
        self.jobs[job.project_id, job.job_id].children = children

    def delete(self, job: JobRef) -> None:
        """Forget a job, as jobs.delete does."""
        del self.jobs[job.project_id, job.job_id]

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        """Refuse: settlement estimates nothing."""
        raise AssertionError((project_id, body, credential))

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        """jobs.get."""
        self._admit("get", credential)
        if job.job_id in self.unseen:
            raise UpstreamRefused(403, error_body(403, "accessDenied", "Access Denied"))
        found = self.jobs.get((job.project_id, job.job_id))
        if found is None or (found.ref.location not in {None, "US"} and found.ref.location != job.location):
            raise JobNotFound(job.job_id)
        return Job(found.ref, replace(found.usage) if found.usage else None, found.hold_id.lower() or None, found.owner)

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        """jobs.list, by parent."""
        self._admit("list children", credential)
        if not self.may_list:
            raise UpstreamRefused(403, error_body(403, "accessDenied", "Access Denied"))
        return self.jobs[job.project_id, job.job_id].children

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        """jobs.list, by label."""
        self._admit("list", credential)
        if not self.may_list:
            raise UpstreamRefused(403, error_body(403, "accessDenied", "Access Denied"))
        return next(
            (
                job.ref
                for job in self.jobs.values()
                if job.hold_id == hold_id and job.ref.project_id == project_id and job.created_at >= since
            ),
            None,
        )

    def _admit(self, what: str, credential: Credential | None) -> None:
        who = OWN if credential is None else str(credential.authorization or credential.account)
        self.asked.append(f"{what} as {who}")
        if self.failure is not None:
            raise self.failure
        if who not in self.accepted:
            raise UpstreamRefused(401, error_body(401, "authError", "Invalid Credentials"))
