"""Say in what the ledger and BigQuery differ, and why; add up both sides.

Filled by ledger_check.py, shown by the command line. Amounts are nano-dollars. The two sums are of the same jobs and
charges, so that their difference is the sum of all differences. What cannot be proved is in neither of them, and is
counted beside: it is no agreement.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bqgate.domain.job import JobRef

# With some hundred bytes each; counts and sums are of all.
DIFFERENCES_MAX = 10_000


class Cause(StrEnum):
    """Why the ledger and BigQuery differ."""

    NOT_SWEPT = "past the gate, and the sweep has not been there yet"
    SWEPT_OVER = "past the gate, and the sweep has been there without booking it"
    BEFORE_LEDGER = "made before the ledger began"
    HOLD_OPEN = "its hold is open: it is being asked after"
    HOLD_ENDED = "its hold was given back though the job ran"
    UNRECORDED = "it bears the label of a hold that is not in the ledger"
    ASSUMED = "booked at its hold, because nobody could learn what it cost"
    FIGURES = "BigQuery reports other figures than were booked"
    PRICED = "the figures are the same, and booked at another cost than its price list says"
    NO_JOB = "BigQuery has no such job: it was deleted, or ran without a job"
    TWICE = "booked twice: another charge is of the same job"
    SPELLED = "booked under another name of its project or place"
    STRAY = "an adjustment whose charge is not there"


class Unproven(StrEnum):
    """Why nobody can say whether a charge is right."""

    HIDDEN = "BigQuery does not tell what the job used"
    PRICES = "the prices by which it was booked are not kept"
    NO_JOB = "a query that BigQuery ran without a job"
    TOO_OLD = "older than BigQuery's history of jobs"


@dataclass(frozen=True, slots=True)
class Difference:
    """One job or charge in which they differ. `entry_id` None: nothing is booked."""

    cause: Cause
    customer: str
    principal: str
    job: JobRef | None
    bigquery_nanos: int
    ledger_nanos: int
    entry_id: str | None = None
    created_at: datetime | None = None

    @property
    def missing_nanos(self) -> int:
        """What the ledger lacks; negative where it has too much."""
        return self.bigquery_nanos - self.ledger_nanos


@dataclass(frozen=True, slots=True)
class NotLooked:
    """A project, or a part of it, that nobody could look at, and what to do; the project `*` stands for all."""

    project_id: str
    why: str
    remedy: str = ""


@dataclass(slots=True)
class CheckReport:
    """All that was found."""

    bigquery_nanos: int = 0
    ledger_nanos: int = 0
    listed_count: int = 0
    equal_count: int = 0
    running_count: int = 0
    free_count: int = 0
    off_count: int = 0
    projects: list[str] = field(default_factory=list)
    not_looked: list[NotLooked] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    causes: Counter[Cause] = field(default_factory=Counter)
    missing_nanos: Counter[Cause] = field(default_factory=Counter)
    unproven: Counter[Unproven] = field(default_factory=Counter)
    unproven_nanos: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything could be looked at and proved: without that nothing is called equal."""
        return not self.not_looked and not self.unproven

    @property
    def left_out_count(self) -> int:
        """How many differences are counted and not kept."""
        return sum(self.causes.values()) - len(self.differences)

    def agree(self, nanos: int) -> None:
        """Count a job that is booked at its cost."""
        self.equal_count += 1
        self.bigquery_nanos += nanos
        self.ledger_nanos += nanos

    def differ(self, difference: Difference) -> None:
        """Count a difference, and keep it where there is room."""
        self.bigquery_nanos += difference.bigquery_nanos
        self.ledger_nanos += difference.ledger_nanos
        self.causes[difference.cause] += 1
        self.missing_nanos[difference.cause] += difference.missing_nanos
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)

    def leave_unproven(self, why: Unproven, nanos: int, *, count: int = 1) -> None:
        """Count what cannot be proved."""
        if count:
            self.unproven[why] += count
            self.unproven_nanos += nanos
