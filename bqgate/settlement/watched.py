"""Keep what the poller knows of one hold, and conclude from the news when its story is over. Pure.

Used by the poller alone. The conclusions:

    ended                          book what it used
    running                        ask again, past the deadline too: BigQuery itself ends every job within a day
    absent, never seen             after some looks, over a minute at least, of a hold old enough that no replica can
                                   still be about to send it: it never ran.
    absent, seen before            somebody deleted a finished job: the same patience, then its cost is assumed
    refused or silent              keep asking; at the deadline its cost is assumed to be the hold

The credential lives here, in memory only, and shows in no repr (invariant 10).
"""

import zlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.principal import Credential
from bqgate.settlement.inquiry import Finding, News

# 2**20 times the first delay passes any longest delay.
_DOUBLINGS_MAX = 20

# One that no credential may see waits longer: only an operator changes that.
_REFUSED_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, and how long a job must be absent before it counts as never run.

    `void_age_s` is the least age of a hold that is voided for absence: longer than a throttled query waits and a
    connection takes to be made, because another replica may be about to forward it.
    """

    first_delay_ms: int = 250
    longest_delay_ms: int = 30_000
    absent_looks: int = 3
    absent_for_s: int = 60
    void_age_s: int = 120

    def delay_ms(self, hold_id: str, looks: int) -> int:
        """How long to wait after so many looks: doubling, a quarter more or less, always the same for one hold."""
        doubled = min(self.first_delay_ms << min(looks, _DOUBLINGS_MAX), self.longest_delay_ms)
        spread = zlib.crc32(f"{hold_id}:{looks}".encode()) % 512
        return doubled * (768 + spread) // 1024


@dataclass(slots=True)
class Watched:
    """One hold whose end is not booked. `usage` is known when only the booking is left."""

    hold: Hold
    credential: Credential | None = field(default=None, repr=False)
    usage: Usage | None = None
    is_seen: bool = False
    is_job_unrecorded: bool = False
    is_under_way: bool = False
    is_refused: bool = False
    due_s: float = 0.0
    looks: int = 0
    absences: int = 0
    absent_since: datetime | None = None

    def learn_job(self, job: JobRef | None) -> None:
        """Note a job id or location that BigQuery told; it is the proof that the job is there."""
        if job is not None and job != self.hold.job:
            self.hold = replace(self.hold, job=job)
            self.is_seen = True
            self.is_job_unrecorded = True

    def delay_ms(self, patience: Patience) -> int:
        """How long until the next look."""
        delay_ms = patience.delay_ms(self.hold.id, self.looks)
        return delay_ms * _REFUSED_FACTOR if self.is_refused else delay_ms

    def conclude(self, finding: Finding, now: datetime, patience: Patience) -> Usage | None:
        """What to book after this news; None: ask again."""
        if finding.is_credential_spent:
            self.credential = None
        self.is_refused = finding.news is News.REFUSED
        self.learn_job(finding.job)
        match finding.news:
            case News.ENDED:
                self.usage = finding.usage
                return finding.usage
            case News.RUNNING:
                self.is_seen = True
                self.absences, self.absent_since = 0, None
                return None
            case News.ABSENT:
                return self._conclude_absence(now, patience)
            case News.REFUSED | News.SILENT:
                return self._assumed() if now >= self.hold.deadline_at else None

    def _conclude_absence(self, now: datetime, patience: Patience) -> Usage | None:
        self.absences += 1
        self.absent_since = self.absent_since or now
        if self.absences < patience.absent_looks or now - self.absent_since < timedelta(seconds=patience.absent_for_s):
            return None
        if self.is_seen:
            return self._assumed()
        if now - self.hold.placed_at < timedelta(seconds=patience.void_age_s):
            return None
        return _never_ran()

    def _assumed(self) -> Usage:
        return Usage(job=self.hold.job, outcome=Outcome.ASSUMED)


def _never_ran() -> Usage:
    return Usage(job=None, outcome=Outcome.NEVER_RAN)
