"""Find the charge and the hold that are a job's.

Used by job_booking.py; asks the ledger for many jobs at once. By the job's id first. A label proves nothing alone: who
can read it on another's job may write it on a job of their own, past the gate. So a hold is a job's only where its id
says so, in the region where it was sent; or where no id of its job is known, and of the jobs that bear its label this
one was made first, whether it runs or has ended, in its project, soon after it was placed, by the account that makes
the customer's jobs where there is one. A hold that has ended with another job is nobody else's.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bqgate.domain.entry import BookedCharge
from bqgate.domain.hold import Hold, HoldState, RecordedHold
from bqgate.domain.job import Job, JobRef
from bqgate.ports import Ledger
from bqgate.settlement.inquiry import LOOK_BACK, has_gates_id
from bqgate.wire.job_identity import CLOCK_SKEW, may_be_project
from bqgate.wire.job_labels import customer_label

# A job of which only the label tells whose it is was made at most so long after its hold was placed: a query waits for
# half a minute, and BigQuery may make its job minutes after the request was cut off.
MADE_WITHIN = timedelta(hours=1)
# A labelled job whose hold is not in the ledger may be of a gate whose database is away: that gate books it.
UNRECORDED_FOR = timedelta(minutes=15)
_ID_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Match:
    """What the ledger has for a job. `is_early`: it bears the label of a hold that may yet be recorded."""

    job: Job
    booked: BookedCharge | None = None
    hold: RecordedHold | None = None
    is_early: bool = False


async def match_jobs(
    ledger: Ledger, jobs: Sequence[Job], *, running: Mapping[str, Job], now: datetime
) -> tuple[Match, ...]:
    """What the ledger has for each of these jobs, in their order, which is that in which they were made.

    Args:
        ledger: what is booked and held.
        jobs: those that have ended.
        running: by its label, the first job that bears it and has not ended.
        now: the time.

    Raises:
        LedgerUnavailable: the database did not answer.
    """
    named = {hold_id for job in jobs for hold_id in _named_by(job)}
    booked = await ledger.find_booked(jobs=[job.ref for job in jobs], hold_ids=sorted(named))
    named |= {each.charge.hold_id for each in booked if each.charge.hold_id is not None}
    holds = {each.hold.id: each for each in await ledger.fetch_holds(sorted(named))}
    charges = _Charges(booked)
    if any(charges.of_job(job) is None and not _named_by(job) & holds.keys() for job in jobs):
        # A session or a script may have dropped the label. Open holds are few.
        open_holds = {hold.id: RecordedHold(hold, HoldState.HELD) for hold in await ledger.fetch_open_holds()}
        holds = open_holds | holds
    matcher = _Matcher(charges, holds, running, now)
    return tuple(matcher.match(job) for job in jobs)


def is_possible(job: Job, hold: Hold) -> bool:
    """Whether a job can be a hold's, by all that BigQuery says of it and the caller cannot choose afterwards."""
    if not job.is_query or not may_be_project(job.ref.project_id, asked=hold.project_id):
        return False
    if job.owner not in {None, customer_label(hold.customer)}:
        return False
    if hold.account and job.principal not in {None, hold.account}:
        return False
    if hold.job is not None:
        if hold.job.job_id != job.ref.job_id or not _may_be_there(hold.job, job.ref):
            return False
        if has_gates_id(hold):
            return True
        is_placed_for = job.created_at is None or job.created_at >= hold.placed_at - LOOK_BACK
        return job.hold_id == hold.id.lower() or (job.hold_id is None and is_placed_for)
    if job.hold_id != hold.id.lower() or job.created_at is None:
        return False
    return hold.placed_at - CLOCK_SKEW <= job.created_at <= hold.placed_at + MADE_WITHIN


def _may_be_there(sent: JobRef, found: JobRef) -> bool:
    """Whether a job can be where it was sent. One id in two regions is two jobs; where it was sent may not be known."""
    return None in {sent.location, found.location} or (sent.location or "").lower() == (found.location or "").lower()


def _has_ended_with_another(booked: BookedCharge, job: Job) -> bool:
    """Whether a charge is another job's: an assumed one bears none, and its adjustments may."""
    named = [each.job for each in (booked.charge, *booked.adjustments) if each.job is not None]
    return bool(named) and not any(each.may_be(job.ref) for each in named)


class _Charges:
    """Charges by their jobs and by their holds."""

    def __init__(self, booked: Sequence[BookedCharge]) -> None:
        self._by_job_id = defaultdict[str, list[BookedCharge]](list)
        self.by_hold: dict[str, BookedCharge] = {}
        for each in booked:
            if each.charge.job is not None:
                self._by_job_id[each.charge.job.job_id].append(each)
            if each.charge.hold_id is not None:
                self.by_hold[each.charge.hold_id] = each

    def of_job(self, job: Job) -> BookedCharge | None:
        named = self._by_job_id.get(job.ref.job_id, ())
        return next((each for each in named if each.charge.job is not None and each.charge.job.may_be(job.ref)), None)


class _Matcher:
    """Matches jobs one after the other, so that no hold is two jobs'."""

    def __init__(
        self, charges: _Charges, holds: Mapping[str, RecordedHold], running: Mapping[str, Job], now: datetime
    ) -> None:
        self._charges = charges
        self._holds = holds
        self._running = running
        self._now = now
        self._taken: set[str] = set()
        self._open_by_job_id = defaultdict[str, list[str]](list)
        for hold_id, each in holds.items():
            if each.state is HoldState.HELD and each.hold.job is not None:
                self._open_by_job_id[each.hold.job.job_id].append(hold_id)

    def match(self, job: Job) -> Match:
        booked = self._charges.of_job(job)
        if booked is not None:
            return Match(job, booked, self._holds.get(booked.charge.hold_id or ""))
        named = _named_by(job)
        for hold_id in (*sorted(named), *self._open_by_job_id.get(job.ref.job_id, ())):
            hold = self._holds.get(hold_id)
            if hold is None or hold_id in self._taken or not is_possible(job, hold.hold):
                continue
            if hold.hold.job is None and self._is_another_first(job, hold.hold):
                continue
            booked = self._charges.by_hold.get(hold_id)
            if booked is not None and _has_ended_with_another(booked, job):
                continue
            if booked is None and hold.state is HoldState.CAPTURED:
                continue
            self._taken.add(hold_id)
            return Match(job, booked, hold)
        is_unknown = job.hold_id is not None and job.hold_id not in self._holds
        return Match(job, is_early=is_unknown and self._is_young(job))

    def _is_another_first(self, job: Job, hold: Hold) -> bool:
        """Whether a job that still runs bears the hold's label, and was made before this one."""
        other = self._running.get(hold.id.lower())
        if other is None or other.ref == job.ref or not is_possible(other, hold):
            return False
        return other.created_at is not None and job.created_at is not None and other.created_at <= job.created_at

    def _is_young(self, job: Job) -> bool:
        return job.created_at is not None and job.created_at > self._now - UNRECORDED_FOR


def _named_by(job: Job) -> set[str]:
    """Ids of holds that a job names: by its label, and by its id where the gate may have chosen that."""
    suffix = job.ref.job_id[-_ID_LENGTH:]
    by_id = {suffix} if len(suffix) == _ID_LENGTH and suffix.isalnum() else set()
    return by_id if job.hold_id is None else by_id | {job.hold_id}
