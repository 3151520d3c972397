"""Ask BigQuery once what became of a hold's job.

Called by the poller; calls the BigQuery port. Always returns a Finding, never raises: an outside failure is a finding
too. A 404 alone proves little, because jobs.get finds a job outside the US and EU only with its location
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get): a job counts as absent only once jobs.list shows
none with the gate's label.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus

from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import Job, JobRef, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.statements import is_multi_statement
from bqgate.domain.tier import CustomerRegistry
from bqgate.ports import BigQuery
from bqgate.wire.error_reply import reason_of
from bqgate.wire.job_labels import customer_label

# A repeat's hold is younger than the job that it repeats: BigQuery remembers a requestId for 15 minutes.
LOOK_BACK = timedelta(minutes=20)

_BUSY_STATUSES = frozenset({408, 429})
_BUSY_REASONS = frozenset({"rateLimitExceeded", "quotaExceeded", "jobRateLimitExceeded"})


class News(StrEnum):
    """The answer to one question."""

    ENDED = "ended"
    RUNNING = "running"
    ABSENT = "absent"  # neither by its id nor by its label
    FOREIGN = "foreign"  # its id belongs to another query, so this one made no job
    REFUSED = "refused"  # no credential at hand may see it
    SILENT = "silent"  # no answer, or too busy to give one


@dataclass(frozen=True, slots=True)
class Finding:
    """The news; the job as it is known now; its usage when it ended; whether the caller's credential failed."""

    news: News
    job: JobRef | None
    usage: Usage | None = None
    is_credential_spent: bool = False


def maker_of(hold: Hold, customer_registry: CustomerRegistry) -> Credential | None:
    """Whose credential asks for a job when its caller is gone: the account's that made it; None: the gate's own.

    Whatever account its customer has by now: another one might list no job where there is one. Of a hold of before
    nobody knows who made its job, and the customer's account of now is asked.
    """
    account = customer_registry.customer(hold.customer).account if hold.account is None else hold.account
    return Credential(account=account, customer=hold.customer) if account else None


async def inquire(bigquery: BigQuery, hold: Hold, credential: Credential | None) -> Finding:
    """Ask with the caller's credential while there is one, then with the gate's own."""
    finding = await _inquire_as(bigquery, hold, credential)
    if finding.news is not News.REFUSED or credential is None:
        return finding
    own = await _inquire_as(bigquery, hold, None, is_makers=False)
    is_spent = own.news in {News.ENDED, News.RUNNING, News.ABSENT, News.FOREIGN}
    return Finding(own.news, own.job, own.usage, is_credential_spent=is_spent)


async def _inquire_as(
    bigquery: BigQuery, hold: Hold, credential: Credential | None, *, is_makers: bool = True
) -> Finding:
    try:
        if hold.job is not None:
            try:
                job = await fetch_whole_job(bigquery, hold.job, credential)
                return _found(job) if is_job_of(job, hold) else replace(_found(job), news=News.FOREIGN)
            except JobNotFound:
                pass  # the label decides
            except UpstreamRefused as refused:
                # Who makes jobs sees them: one that it may not see, another made under the id that this caller chose.
                if not is_makers or refused.status != HTTPStatus.FORBIDDEN or _is_busy(refused):
                    raise
                is_makers = False  # but a list must show that there is none
        ref = await _find(bigquery, hold, credential, is_makers=is_makers)
        if ref is None:
            return Finding(News.ABSENT, hold.job)
        return _found(await fetch_whole_job(bigquery, ref, credential))
    except JobNotFound:  # listed, and deleted since
        return Finding(News.ABSENT, hold.job)
    except UpstreamRefused as refused:
        return Finding(News.SILENT if _is_busy(refused) else News.REFUSED, hold.job)
    except UpstreamUnavailable:
        return Finding(News.SILENT, hold.job)


def has_gates_id(hold: Hold) -> bool:
    """Whether the gate chose the id of a hold's job, so that no other job can have it."""
    return hold.job is not None and hold.job.job_id.endswith(hold.id)


def is_job_of(job: Job, hold: Hold) -> bool:
    """Whether a job that was found by its id is this hold's.

    It is where the gate chose the id, or the job has this hold's label. A job without a label (sessions and scripts may
    drop it) is, if it is a query not older than the hold, and bears no other customer's. A jobs.insert with the same id
    and other SQL has a hold of its own; only one of the two made the job.
    """
    if has_gates_id(hold):
        return True
    if job.owner not in {None, customer_label(hold.customer)}:
        return False
    if job.hold_id is not None:
        return job.hold_id == hold.id.lower()
    return job.is_query and (job.created_at is None or job.created_at >= hold.placed_at - LOOK_BACK)


async def _find(bigquery: BigQuery, hold: Hold, credential: Credential | None, *, is_makers: bool) -> JobRef | None:
    try:
        return await bigquery.find_job(
            project_id=hold.project_id, hold_id=hold.id, since=hold.placed_at - LOOK_BACK, credential=credential
        )
    except UpstreamRefused as refused:
        # Without the right to list jobs the 404 must do, if the question named the location and the asker made the job.
        if not is_makers or hold.job is None or hold.job.location is None or _is_busy(refused):
            raise
        return None


async def fetch_whole_job(bigquery: BigQuery, ref: JobRef, credential: Credential | None) -> Job:
    """A job as it stands, a script's with what its statements used.

    Raises:
        JobNotFound, UpstreamRefused, UpstreamUnavailable: as the port's fetch_job.
    """
    job = await bigquery.fetch_job(ref, credential=credential)
    try:
        return await with_children(bigquery, job, credential)
    except UpstreamRefused as refused:
        if _is_busy(refused) or job.usage is None:
            raise
        # Where nobody may list its statements none are known, and the script costs the most.
        return replace(job, usage=replace(job.usage, children=()))


async def with_children(bigquery: BigQuery, job: Job, credential: Credential | None = None) -> Job:
    """A script that has ended with what its statements used; every other job as it is.

    Raises:
        UpstreamRefused, UpstreamUnavailable: as the port's fetch_children.
    """
    usage = job.usage
    if usage is None or not is_multi_statement(usage.statement_type) or not usage.is_billable:
        return job
    children = await bigquery.fetch_children(usage.job or job.ref, credential=credential)
    return replace(job, usage=replace(usage, children=children))


def _found(job: Job) -> Finding:
    if job.usage is None:
        return Finding(News.RUNNING, job.ref)
    return Finding(News.ENDED, job.usage.job or job.ref, job.usage)


def _is_busy(refused: UpstreamRefused) -> bool:
    return refused.status in _BUSY_STATUSES or (refused.status == 403 and reason_of(refused.body) in _BUSY_REASONS)
