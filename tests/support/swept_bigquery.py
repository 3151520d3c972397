"""Play BigQuery for the sweep: jobs that are listed by the moment of their making, shown late, hidden or refused.

It stands for a system outside of the gate: ports.JobReader, ports.RegionSource, and the parts of ports.BigQuery that
ask after one job.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.job import Estimate, Job, JobRef, Outcome, Usage
from bqgate.domain.place import Place
from bqgate.domain.principal import Credential
from bqgate.domain.units import MIB
from bqgate.ports import JobsRead
from bqgate.wire.error_reply import error_body


@dataclass
class SweptBigQuery:
    """Jobs, and how they are shown. `failures` are raised by project, one after the other; `asked` tells the spans.

    Of those that are `silent` BigQuery tells nothing when it is asked after them or their statements.
    """

    jobs: list[Job] = field(default_factory=list)
    jobs_max: int = 1_000
    masked: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    wrong_regions: set[str] = field(default_factory=set)
    jobless: set[str] = field(default_factory=set)
    children: dict[str, tuple[Usage, ...]] = field(default_factory=dict)
    asked: list[tuple[Place, datetime, datetime]] = field(default_factory=list)
    asked_after: list[str] = field(default_factory=list)

    def run(
        self,
        job_id: str,
        *,
        at: datetime,
        project: str = "acme-prod",
        mib: int | None = 10,
        is_running: bool = False,
        location: str = "US",
        outcome: Outcome = Outcome.DONE,
        kind: str = "SELECT",
        **changes: Any,
    ) -> Job:
        """A job that was made at a moment, and has ended unless told otherwise."""
        ref = JobRef(project, job_id, location)
        usage = Usage(
            job=ref,
            outcome=outcome,
            bytes_processed=(mib or 0) * MIB,
            bytes_billed=None if mib is None else mib * MIB,
            slot_ms=None if mib is None else 1_000,
            statement_type=kind,
            ended_at=at + timedelta(seconds=1),
        )
        job = Job(ref, None if is_running else usage, created_at=at, principal="eve@acme.example")
        job = replace(job, **changes)
        self.jobs.append(job)
        return job

    def change(self, job: Job, **changes: Any) -> Job:
        """Show a job anew: `usage` replaces its usage, other names its fields."""
        changed = replace(job, **changes)
        self.jobs[self.jobs.index(job)] = changed
        return changed

    async def read_jobs(self, place: Place, *, since: datetime, until: datetime) -> JobsRead:
        """Jobs of a span."""
        self.asked.append((place, since, until))
        waiting = self.failures.get(place.project_id)
        if waiting:
            raise waiting.pop(0)
        if place.region in self.wrong_regions:
            raise UpstreamRefused(404, error_body(404, "notFound", f"Not found: Location {place.region}"))
        found = [
            job
            for job in self.jobs
            if job.ref.project_id == place.project_id
            and place.region in {"", (job.ref.location or "").lower()}
            and since <= (job.created_at or since) < until
            and job.ref.job_id not in self.unlisted
        ]
        if len(found) > self.jobs_max:
            return JobsRead((), is_whole=False)
        found.sort(key=lambda job: job.created_at or since)
        is_missing = place.project_id in self.missing
        return JobsRead(tuple(found), masked_count=place.project_id in self.masked, is_region_missing=is_missing)

    async def fetch_regions(self, project_id: str, *, since: datetime) -> frozenset[str]:
        """Regions of listed jobs."""
        return frozenset((job.ref.location or "").lower() for job in self.jobs if job.ref.project_id == project_id)

    async def fetch_job(self, job: JobRef, *, credential: Credential | None) -> Job:
        """jobs.get."""
        assert credential is None, "the sweep asks in the gate's own name"
        self.asked_after.append(job.job_id)
        self._answer(job)
        found = next((each for each in self.jobs if each.ref == job), None)
        if found is None or job.job_id in self.jobless:
            raise JobNotFound(job.job_id)
        return found

    async def fetch_children(self, job: JobRef, *, credential: Credential | None) -> tuple[Usage, ...]:
        """jobs.list, by parent."""
        self._answer(job)
        return self.children.get(job.job_id, ())

    async def dry_run(self, *, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        """Refuse: the sweep estimates nothing."""
        raise AssertionError((project_id, body, credential))

    async def find_job(
        self, *, project_id: str, hold_id: str, since: datetime, credential: Credential | None
    ) -> JobRef | None:
        """Refuse: the sweep reads all jobs, and looks for none."""
        raise AssertionError((project_id, hold_id, since, credential))

    def _answer(self, job: JobRef) -> None:
        if job.job_id in self.silent:
            raise UpstreamUnavailable("503")
