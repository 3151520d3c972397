"""Read all jobs of a project's region from INFORMATION_SCHEMA.JOBS_BY_PROJECT: ports.JobReader.

Called by sweep.py; asks by OwnCosts, which bounds and books what the question costs; wire.jobs_view writes it and
reads its rows. It sees what jobs.list does not: queries that BigQuery ran without a job. Rows are bounded; a
span with more is told, and read again in pieces.
"""

from datetime import datetime

from bqgate.domain.job import Job
from bqgate.domain.place import Place
from bqgate.ports import JobsRead, QueryRunner
from bqgate.wire.jobs_view import job_in_row, jobs_question

PURPOSE = "sweep"
JOBS_MAX = 5_000


class JobsByProject:
    """Jobs as INFORMATION_SCHEMA has them."""

    def __init__(self, queries: QueryRunner, *, jobs_max: int = JOBS_MAX) -> None:
        """Take who runs queries, and how many jobs may be in memory at once."""
        self._queries = queries
        self._jobs_max = jobs_max

    async def read_jobs(self, place: Place, *, since: datetime, until: datetime) -> JobsRead:
        """Jobs of one region made in a span of time; see ports.JobReader."""
        rows = await self._queries.run(
            jobs_question(place),
            purpose=PURPOSE,
            project_id=place.project_id,
            location=place.location,
            parameters={"since": since, "until": until, "rows_max": self._jobs_max + 1},
        )
        if len(rows) > self._jobs_max:
            return JobsRead((), is_whole=False)
        found = [job_in_row(row, place) for row in rows]
        jobs: list[Job] = [job for job in found if job is not None]
        return JobsRead(tuple(jobs), masked_count=len(found) - len(jobs))
