"""Collect what the poller knows of one hold, and conclude what to book. Pure.

Used by the poller alone. The conclusions:

    ended                   book what it used
    running                 ask again, past the deadline too: BigQuery itself ends every job within a day
    another's               the job's id was taken by another query: this one never ran
    absent                  it never ran, once nothing can be on its way: every attempt had its answer before BigQuery
                            was asked, or settlement.absent_for_s has passed since the last of them. Of one that may
                            be billed although it was refused, and that only a list of jobs would show, the latter
    absent, made before     somebody deleted a finished job: its cost is assumed, after the same time
    refused                 nobody may ask: at the deadline its cost is assumed to be the hold, unless BigQuery refused
                            the query itself, which is free, at every attempt that there was; or the budget store has
                            ended the hold, which it does only where somebody knew that nothing ran
    silent                  keep asking; at the deadline as refused

The credential lives here, in memory only, and is in no repr (invariant 10).
"""

import zlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bqgate.domain.hold import ENDED_ATTEMPTS, Attempts, Hold
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.principal import Credential
from bqgate.settlement.evidence import Inquiry
from bqgate.settlement.inquiry import Finding, News

# 2**20 times the first delay passes any longest delay.
_DOUBLINGS_MAX = 20

# One that no credential may see waits longer: only an operator changes that.
_REFUSED_FACTOR = 10

# An absence is confirmed once more before it counts, unless BigQuery had answered every attempt.
_ABSENCES_MIN = 2


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, and how long a job must be absent before it counts as never run.

    `absent_for_s` is for attempts whose end nobody saw: longer than a request takes that was sent and not answered.
    """

    first_delay_ms: int = 250
    longest_delay_ms: int = 30_000
    absent_for_s: int = 30

    def delay_ms(self, hold_id: str, looks: int) -> int:
        """How long to wait after so many looks: doubling, a quarter more or less, always the same for one hold."""
        doubled = min(self.first_delay_ms << min(looks, _DOUBLINGS_MAX), self.longest_delay_ms)
        spread = zlib.crc32(f"{hold_id}:{looks}".encode()) % 512
        return doubled * (768 + spread) // 1024


@dataclass(slots=True)
class Watched:
    """One hold whose end is not booked. `usage` is known when only the booking is left.

    `attempts` is how many this gate made at it, all of which have ended; None: others made attempts too, or may have,
    and `counted` is what the budget store then said of them.
    """

    hold: Hold
    credential: Credential | None = field(default=None, repr=False)
    usage: Usage | None = None
    attempts: int | None = None
    counted: Attempts | None = None
    is_made: bool = False
    is_answered: bool = False
    is_free: bool = False
    is_job_unrecorded: bool = False
    is_under_way: bool = False
    is_refused: bool = False
    looks: int = 0
    absences: int = 0
    absent_since: datetime | None = None

    def add(self, inquiry: Inquiry, attempts: int | None) -> None:
        """Add what further attempts at the hold have shown."""
        self.attempts = None if self.attempts is None or attempts is None else self.attempts + attempts
        self.is_made = self.is_made or inquiry.is_made
        self.is_answered = self.is_answered and inquiry.is_answered
        self.is_free = self.is_free and inquiry.is_free
        self.forget_absence()
        self.learn_job(inquiry.job)

    def count_attempts(self, attempts: Attempts | None) -> None:
        """Note what the budget store says of the attempts; None: one is under way, or may be.

        A lease that is over, and was longer than at the last look, was extended meanwhile: somebody is alive.
        """
        if attempts is None or attempts != self.counted:
            self.forget_absence()
        self.counted = attempts

    def learn_job(self, job: JobRef | None) -> None:
        """Note a job id or location that BigQuery told; it is the proof that the job is there."""
        if job is not None and job != self.hold.job:
            self.hold = replace(self.hold, job=job)
            self.is_made = True
            self.is_job_unrecorded = True

    def forget_absence(self) -> None:
        """Begin to count anew: an attempt has been made meanwhile, or may be under way."""
        self.absences, self.absent_since = 0, None

    def delay_ms(self, patience: Patience) -> int:
        """How long until the next look."""
        delay_ms = patience.delay_ms(self.hold.id, self.looks)
        return delay_ms * _REFUSED_FACTOR if self.is_refused else delay_ms

    def conclude(self, finding: Finding, now: datetime, patience: Patience) -> Usage | None:
        """What to book after this news; None: ask again."""
        if finding.is_credential_spent:
            self.credential = None
        self.is_refused = finding.news is News.REFUSED
        match finding.news:
            case News.FOREIGN if not self.is_made:
                return self._never_ran()
            case News.ENDED | News.RUNNING | News.FOREIGN:
                self.learn_job(finding.job)
                self.is_made = True
                self.forget_absence()
                self.usage = finding.usage
                return finding.usage
            case News.ABSENT:
                return self._conclude_absence(now, patience)
            case News.REFUSED if self.is_free and self.attempts is not None:
                return self._never_ran()
            case News.REFUSED | News.SILENT if now < self.hold.deadline_at:
                return None
            case News.REFUSED | News.SILENT:
                is_given_back = self.counted == ENDED_ATTEMPTS and not self.is_made
                return self._never_ran() if is_given_back else self._assumed()

    def _conclude_absence(self, now: datetime, patience: Patience) -> Usage | None:
        self.absences += 1
        self.absent_since = self.absent_since or now
        is_told = self.is_free or self.hold.job is not None
        if self.is_answered and is_told and self.attempts is not None and not self.is_made:
            return self._never_ran()
        is_long = now - self.absent_since >= timedelta(seconds=patience.absent_for_s)
        if self.absences < _ABSENCES_MIN or not is_long:
            return None
        return self._assumed() if self.is_made else self._never_ran()

    def _assumed(self) -> Usage:
        return Usage(job=self.hold.job, outcome=Outcome.ASSUMED)

    def _never_ran(self) -> Usage | None:
        """It made no job; which nobody can say while an attempt may be under way."""
        is_quiet = self.attempts is not None or self.counted is not None
        return Usage(job=None, outcome=Outcome.NEVER_RAN) if is_quiet else None
