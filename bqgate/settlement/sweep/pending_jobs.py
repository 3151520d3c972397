"""Ask again after jobs that ran when they were looked at, until they end.

Used by sweep.py, once a round for each project; calls jobs.get, which is free, and job_booking. A job is forgotten only
after it is booked, so a crash in between asks once more. One that BigQuery does not show for a while, because its
region is away, holds up no other. A query without a job cannot be asked after: the span in which it was made is read
again, as long as such a query may run.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from bqgate.domain.errors import JobNotFound, UpstreamUnavailable
from bqgate.domain.job import Job
from bqgate.ports import BigQuery, Clock, PendingJob, SweepStore, Telemetry
from bqgate.settlement.sweep.job_booking import JobBooking

# Queries may run for six hours (https://cloud.google.com/bigquery/quotas#query_jobs); then it is not there any more.
JOBLESS_FOR = timedelta(hours=7)
_AT_ONCE = 8


class PendingJobs:
    """The jobs that ran on."""

    def __init__(
        self,
        *,
        store: SweepStore,
        bigquery: BigQuery,
        booking: JobBooking,
        clock: Clock,
        telemetry: Telemetry,
        sees_jobless: bool,
    ) -> None:
        """Take the ports; `sees_jobless`: queries without a job are found by reading their span again."""
        self._store = store
        self._bigquery = bigquery
        self._booking = booking
        self._clock = clock
        self._telemetry = telemetry
        self._sees_jobless = sees_jobless

    async def ask_again(self, project_id: str) -> tuple[PendingJob, ...]:
        """Look at all of a project's, and book those that have ended.

        Returned are those that cannot be asked after, and run as far as is known.

        Raises:
            UpstreamRefused: the gate may not see one.
            LedgerUnavailable: not all are booked or forgotten.
        """
        pending = await self._store.fetch_pending(project_id)
        found: dict[PendingJob, Job | None] = {}
        for start in range(0, len(pending), _AT_ONCE):
            some = pending[start : start + _AT_ONCE]
            shown = dict([each async for each in self._look_at(some)])
            found |= shown
            if not shown:
                break  # it answers nobody: what is left is asked after in the next round
        jobs = [job for job in found.values() if job is not None]
        unfinished = {job.ref for job in await self._booking.book(jobs)}
        absent = [each for each, job in found.items() if job is None]
        jobless = tuple(each for each in absent if self._may_be_jobless(each))
        gone = [each for each in absent if each not in jobless]
        if gone:
            self._telemetry.count("sweep_jobs_total", len(gone), state="vanished")
        done = [each.ref for each, job in found.items() if job is not None and job.ref not in unfinished]
        await self._store.drop_pending([*done, *(each.ref for each in gone)])
        return jobless

    async def _look_at(self, some: Sequence[PendingJob]) -> AsyncIterator[tuple[PendingJob, Job | None]]:
        """Those of which BigQuery says something; with None: it has no such job."""
        asked = (self._bigquery.fetch_job(each.ref, credential=None) for each in some)
        for each, end in zip(some, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            match end:
                case Job():
                    yield each, end
                case JobNotFound():
                    yield each, None
                case UpstreamUnavailable():
                    self._telemetry.count("failures_total", system="bigquery", step="sweep")
                case _:
                    raise end

    def _may_be_jobless(self, pending: PendingJob) -> bool:
        return self._sees_jobless and pending.created_at > self._clock.now() - JOBLESS_FOR
