"""Read all jobs of a project's region from INFORMATION_SCHEMA.JOBS_BY_PROJECT: ports.JobReader.

Called by sweep.py; asks by OwnCosts, which bounds and books what the question costs, and wire.jobs_view, which writes
it and reads its rows. It sees what jobs.list does not: queries that BigQuery ran without a job. Rows are bounded; a
span with more is told, and read again in pieces.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from bqgate.domain.job import Job
from bqgate.ports import JobsRead, Place
from bqgate.wire.jobs_view import job_in_row, jobs_question

PURPOSE = "sweep"
JOBS_MAX = 5_000


class AskForRows(Protocol):
    """OwnCosts.run: a query in the gate's own name, whose cost is bounded and booked."""

    async def __call__(
        self,
        sql: str,
        *,
        purpose: str,
        project_id: str,
        location: str,
        parameters: Mapping[str, int | str | datetime],
    ) -> Sequence[Mapping[str, Any]]:
        """See settlement.own_costs."""


class JobsByProject:
    """Jobs as INFORMATION_SCHEMA has them."""

    def __init__(self, ask: AskForRows, *, jobs_max: int = JOBS_MAX) -> None:
        """Take who asks, and how many jobs may be in memory at once."""
        self._ask = ask
        self._jobs_max = jobs_max

    async def read_jobs(self, place: Place, *, since: datetime, until: datetime) -> JobsRead:
        """Jobs of one region made in a span of time; see ports.JobReader."""
        rows = await self._ask(
            jobs_question(place.project_id, place.region),
            purpose=PURPOSE,
            project_id=place.project_id,
            location=place.region,
            parameters={"since": since, "until": until, "rows_max": self._jobs_max + 1},
        )
        if len(rows) > self._jobs_max:
            return JobsRead((), is_whole=False)
        found = [job_in_row(row, project_id=place.project_id, region=place.region) for row in rows]
        jobs: list[Job] = [job for job in found if job is not None]
        return JobsRead(tuple(jobs), masked_count=len(found) - len(jobs))
