"""Remember the jobs: one record each, found by project, location and id.

The runner moves a job from PENDING to DONE, handlers add, find and list jobs, `job_json` shows them. A job of a query
that ran without one (JOB_CREATION_OPTIONAL) is `hidden`: only INFORMATION_SCHEMA knows it. Outcomes of the warehouse
stay on the job, since results are read from there again and again; the oldest finished jobs are forgotten when there
are too many.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job, /v2/JobReference.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.warehouse import Plan, Result, TableRef

State = Literal["PENDING", "RUNNING", "DONE"]
JobType = Literal["QUERY", "LOAD", "COPY"]

ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")


@dataclass
class Job:
    """One job.

    Attributes:
        configuration: As the caller sent it, after checking.
        plan: What the pre-run estimate said; None for loads and while it is not known.
        result: What the query gave; None until it has run, and for jobs that failed.
        wall_ms: How long the job takes by the sandbox's clock once it runs.
        cache_hit: Served from the cache: nothing processed, nothing billed.
        load: `statistics.load` or `statistics.copy`, ready to show.
        destination: The table that holds the rows; an anonymous one for a plain SELECT.
        planned: Set when the plan, or the failure to make one, is known.
    """

    project: str
    location: str
    id: str
    user_email: str
    configuration: dict[str, Any]
    type: JobType
    created_at: datetime
    creation_reason: str = "REQUESTED"
    state: State = "PENDING"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    plan: Plan | None = None
    result: Result | None = None
    bytes_processed: int = 0
    bytes_billed: int = 0
    slot_ms: int = 0
    wall_ms: int = 0
    cache_hit: bool = False
    error: dict[str, str] | None = None
    load: dict[str, str] | None = None
    destination: TableRef | None = None
    parent: Job | None = None
    children: list[Job] = field(default_factory=list)
    hidden: bool = False
    planned: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def full_id(self) -> str:
        return f"{self.project}:{self.location}.{self.id}"

    @property
    def statement_type(self) -> str:
        return self.plan.statement_type if self.plan else ""

    @property
    def query(self) -> Mapping[str, Any]:
        """The query part of the configuration; empty for other jobs."""
        part: Mapping[str, Any] = self.configuration.get("query", {})
        return part


def canonical_location(name: str) -> str:
    """Multi-regions in upper case, regions in lower case, as the API shows them."""
    return name.upper() if name.lower() in {"us", "eu"} else name.lower()


def new_id(prefix: str = "job") -> str:
    return f"{prefix}_{secrets.token_urlsafe(20)}"


def new_anonymous_table(project: str, user_email: str) -> TableRef:
    """Name the hidden table that keeps the rows of a SELECT."""
    owner = f"{abs(hash((project, user_email))):016x}"[:16]
    return TableRef(project, f"_{owner}", f"anon{secrets.token_hex(20)}")


class JobStore:
    """The jobs of all projects, oldest first."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._jobs: dict[tuple[str, str, str], Job] = {}
        self._anonymous: dict[TableRef, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        # A copy, since INFORMATION_SCHEMA is read from worker threads while jobs are added.
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Keep a new job.

        Raises:
            ApiError: 400 for an id that is no id; 409 `duplicate` when the id is taken.
        """
        if not ID.fullmatch(job.id):
            raise ApiError(
                400,
                "invalid",
                f'Invalid job ID "{job.id}". Job IDs must be alphanumeric (plus underscores and dashes) and must be '
                "at most 1024 characters long.",
            )
        key = (job.project, job.location, job.id)
        if key in self._jobs:
            raise ApiError(409, "duplicate", f"Already Exists: Job {job.full_id}")
        self._jobs[key] = job
        if job.destination:
            self._anonymous[job.destination] = job
        self._forget_oldest()

    def find(self, project: str, job_id: str, location: str = "") -> Job:
        """Find a job; without a location only the multi-regions are looked through, as at Google.

        Raises:
            ApiError: 404 `notFound`.
        """
        locations = [canonical_location(location)] if location else ["US", "EU"]
        for each in locations:
            job = self._jobs.get((project, each, job_id))
            if job and not job.hidden:
                return job
        raise ApiError(404, "notFound", f"Not found: Job {project}:{location + '.' if location else ''}{job_id}")

    def behind(self, table: TableRef) -> Job | None:
        """Find the job whose rows an anonymous table holds."""
        return self._anonymous.get(table)

    def remove(self, job: Job) -> None:
        for each in (*job.children, job):
            self._jobs.pop((each.project, each.location, each.id), None)
            if each.destination:
                self._anonymous.pop(each.destination, None)

    def _forget_oldest(self) -> None:
        if len(self._jobs) <= self._kept:
            return
        oldest = next((job for job in self._jobs.values() if job.state == "DONE" and not job.parent), None)
        if oldest:
            self.remove(oldest)
