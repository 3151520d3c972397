"""Ask BigQuery after charges whose jobs were not among those that it listed.

Used by ledger_check.py; calls jobs.get, which is free. A hold is placed a moment before its job is made, so at the
border of a span a charge may belong to the next one's list; and a list may lack what jobs.get has. So nothing is called
absent before BigQuery was asked for it by name.
"""

from datetime import datetime

from bqgate.domain.entry import BookedCharge
from bqgate.domain.errors import JobNotFound
from bqgate.domain.job import Job
from bqgate.ports import BigQuery, Ledger
from bqgate.settlement.proof.report import Cause, CheckReport, Difference, Unproven
from bqgate.settlement.sweep.sweep import HISTORY


class Unlisted:
    """Judges charges that no listed job has been matched with."""

    def __init__(self, report: CheckReport, *, ledger: Ledger, bigquery: BigQuery, now: datetime) -> None:
        self._report = report
        self._ledger = ledger
        self._bigquery = bigquery
        self._now = now

    async def job_of(self, booked: BookedCharge, *, since: datetime, until: datetime) -> Job | None:
        """The job, where it is one of this span that the list lacked; None: all that there is to say has been counted.

        Args:
            booked: the charge.
            since: the beginning of the span.
            until: its end.

        Raises:
            UpstreamRefused, UpstreamUnavailable: BigQuery does not show it.
            LedgerUnavailable: the database did not answer.
        """
        charge = booked.charge
        assert charge.job is not None, "only charges of jobs are asked after"
        if booked.cost_nanos == 0:
            return None  # of a query that failed before it was a job, for one
        try:
            job = await self._bigquery.fetch_job(charge.job, credential=None)
        except JobNotFound:
            if (charge.placed_at or charge.booked_at) < self._now - HISTORY:
                self._report.leave_unproven(Unproven.TOO_OLD, booked.cost_nanos)
            else:
                self._differ(Cause.NO_JOB, booked)
            return None
        if any(each.charge.id != charge.id for each in await self._ledger.find_booked(jobs=[job.ref])):
            self._differ(Cause.TWICE, booked)
            return None
        if not charge.job.may_be(job.ref):
            self._differ(Cause.SPELLED, booked)
            return None
        is_of_span = job.created_at is not None and since <= job.created_at < until
        return job if is_of_span else None

    def _differ(self, cause: Cause, booked: BookedCharge) -> None:
        charge = booked.charge
        self._report.differ(
            Difference(
                cause=cause,
                customer=charge.customer,
                principal=charge.principal,
                job=charge.job,
                bigquery_nanos=0,
                ledger_nanos=booked.cost_nanos,
                entry_id=charge.id,
                created_at=charge.placed_at,
            )
        )
