"""Ask BigQuery once what became of a hold's job.

Called by the poller; calls the BigQuery port. What leaves is always a Finding, never an error: an outside failure is
news too. A 404 alone proves little, because jobs.get finds a job outside the US and EU only with its location
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get): the gate's label is looked for before a job counts
as absent.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.statements import is_multi_statement
from bqgate.ports import BigQuery
from bqgate.wire.error_reply import reason_of

# A caller's repeat bears a later moment than the job that it repeats: BigQuery knows a requestId for 15 minutes.
LOOK_BACK = timedelta(minutes=20)

_BUSY_STATUSES = frozenset({408, 429})
_BUSY_REASONS = frozenset({"rateLimitExceeded", "quotaExceeded", "jobRateLimitExceeded"})


class News(StrEnum):
    """What one question brought."""

    ENDED = "ended"
    RUNNING = "running"
    ABSENT = "absent"  # neither by its id nor by its label
    REFUSED = "refused"  # no credential at hand may see it
    SILENT = "silent"  # no answer, or too busy to give one


@dataclass(frozen=True, slots=True)
class Finding:
    """The news; the job as it is known now; its usage when it ended; whether the caller's credential failed."""

    news: News
    job: JobRef | None
    usage: Usage | None = None
    is_credential_spent: bool = False


async def inquire(bigquery: BigQuery, hold: Hold, credential: Credential | None) -> Finding:
    """Ask with the caller's credential while there is one, then with the gate's own."""
    finding = await _inquire_as(bigquery, hold, credential)
    if finding.news is not News.REFUSED or credential is None:
        return finding
    own = await _inquire_as(bigquery, hold, None)
    is_spent = own.news in {News.ENDED, News.RUNNING, News.ABSENT}
    return Finding(own.news, own.job, own.usage, is_credential_spent=is_spent)


async def _inquire_as(bigquery: BigQuery, hold: Hold, credential: Credential | None) -> Finding:
    job = hold.job
    try:
        if job is not None:
            try:
                return await _ask(bigquery, job, credential)
            except JobNotFound:
                pass  # the label decides
        job = await _find(bigquery, hold, credential)
        if job is None:
            return Finding(News.ABSENT, hold.job)
        return await _ask(bigquery, job, credential)
    except JobNotFound:  # listed, and deleted since
        return Finding(News.ABSENT, job)
    except UpstreamRefused as refused:
        return Finding(News.SILENT if _is_busy(refused) else News.REFUSED, hold.job)
    except UpstreamUnavailable:
        return Finding(News.SILENT, hold.job)


async def _find(bigquery: BigQuery, hold: Hold, credential: Credential | None) -> JobRef | None:
    try:
        return await bigquery.find_job(
            project_id=hold.project_id, hold_id=hold.id, since=hold.placed_at - LOOK_BACK, credential=credential
        )
    except UpstreamRefused as refused:
        # Who may not list jobs must trust the 404, if the question named the right place.
        if hold.job is None or hold.job.location is None or _is_busy(refused):
            raise
        return None


async def _ask(bigquery: BigQuery, job: JobRef, credential: Credential | None) -> Finding:
    usage = await bigquery.fetch_job(job, credential=credential)
    if usage is None:
        return Finding(News.RUNNING, job)
    if is_multi_statement(usage.statement_type) and usage.is_billable:
        usage = replace(usage, children=await _children(bigquery, usage.job or job, credential))
    return Finding(News.ENDED, usage.job or job, usage)


async def _children(bigquery: BigQuery, job: JobRef, credential: Credential | None) -> tuple[Usage, ...]:
    """What a script's statements used. Where nobody may list them none are known, and the script costs the most."""
    try:
        return await bigquery.fetch_children(job, credential=credential)
    except UpstreamRefused as refused:
        if _is_busy(refused):
            raise
        return ()


def _is_busy(refused: UpstreamRefused) -> bool:
    return refused.status in _BUSY_STATUSES or (refused.status == 403 and reason_of(refused.body) in _BUSY_REASONS)
