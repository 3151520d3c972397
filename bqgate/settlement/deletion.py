"""Book a job before its caller deletes it: nobody can price what BigQuery has forgotten.

Called by gate/passthrough.py before a jobs.delete goes to BigQuery
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/delete). Asks jobs.get and the Ledger. A job without an
open hold passes at once. One that BigQuery does not know is not deleted: it may be on its way, run, end, and be gone
before anybody asked what it cost. Returns when the deletion may pass. MalformedRequest while the job runs, or the
ports' errors, mean that it may not.
"""

from bqgate.domain.errors import JobNotFound, MalformedRequest, UpstreamRefused
from bqgate.domain.hold import Hold
from bqgate.domain.job import Job, JobRef
from bqgate.domain.principal import Credential
from bqgate.ports import BigQuery, Clock, Ledger
from bqgate.settlement.inquiry import fetch_whole_job, inquire, is_job_of
from bqgate.settlement.settlement import Settlement
from bqgate.wire.job_identity import may_be_project

# Journals are written every few hundredths of a second.
_ON_ITS_WAY_S = (0.05, 0.1, 0.2, 0.4, 0.8)


class Deletions:
    """Settles holds of jobs that are about to be deleted."""

    def __init__(self, *, ledger: Ledger, bigquery: BigQuery, settlement: Settlement, clock: Clock) -> None:
        self._clock = clock
        self._ledger = ledger
        self._bigquery = bigquery
        self._settlement = settlement

    async def prepare(self, ref: JobRef, credential: Credential) -> None:
        """Settle the hold of a job that is about to be deleted.

        Raises:
            MalformedRequest: the job runs; its cost is not known yet.
            JobNotFound: BigQuery does not know the job.
            UpstreamRefused: neither the caller nor the gate may see it; or the customer's account may not, for which
                the gate does not ask in its own name.
            UpstreamUnavailable: BigQuery did not answer.
            LedgerUnavailable: the cost could not be booked.
        """
        job = await self._fetch(ref, credential)
        if job.parent_id is not None:  # a statement of a script is paid for with the script
            try:
                job = await self._fetch(JobRef(ref.project_id, job.parent_id, job.ref.location), credential)
            except JobNotFound:  # booked before it was deleted
                return
        hold = await self._hold_of(job, credential)
        if hold is None:
            return
        if job.usage is None:
            name = f"{ref.project_id}:{ref.job_id}"
            raise MalformedRequest(f"Job {name} is still running. Cancel it, or delete it when it has ended.")
        await self._settlement.settle(hold, job.usage)

    async def _fetch(self, ref: JobRef, credential: Credential) -> Job:
        try:
            return await fetch_whole_job(self._bigquery, ref, credential)
        except UpstreamRefused:
            if credential.account is not None:
                raise
            return await fetch_whole_job(self._bigquery, ref, None)

    async def _hold_of(self, job: Job, credential: Credential) -> Hold | None:
        if job.hold_id is not None:
            await self._until_known(job.hold_id)
            hold = await self._ledger.fetch_open_hold(job.hold_id)
            if hold is not None and await self._is_of(job, hold, credential):
                return hold
        hold = await self._ledger.find_open_hold(job.ref)
        return hold if hold is not None and is_job_of(job, hold) else None

    async def _until_known(self, hold_id: str) -> None:
        """Return when the ledger knows a hold: another gate's may still be on its way out of that one's journal.

        After a moment whatever the label says is believed to be nobody's: anybody may write one.
        """
        for pause_s in _ON_ITS_WAY_S:
            if await self._ledger.fetch_holds([hold_id]):
                return
            await self._clock.sleep(pause_s)

    async def _is_of(self, job: Job, hold: Hold, credential: Credential) -> bool:
        """Whether a job is what its label says. Who may reach BigQuery without the gate can copy a label."""
        if not job.is_query or not may_be_project(job.ref.project_id, asked=hold.project_id):
            return False
        if hold.job is not None:
            return hold.job.job_id == job.ref.job_id
        finding = await inquire(self._bigquery, hold, credential)  # the earliest job with the label
        return finding.job is None or finding.job.job_id == job.ref.job_id
