"""Describe what the ledger books: one immutable entry for each job, refusal or adjustment.

Made by settlement (charges) and admission (refusals), written by a Ledger, read by the control plane. Entries are
never edited; a correction is an adjustment. No SQL text is in it (invariant 10): `fingerprint` tells queries apart.
Amounts are nano-dollars, bytes are bytes, moments are aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bqgate.domain.budget import Period, WindowId
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.shadow_decision import ShadowDecision


class EntryKind(StrEnum):
    """What an entry stands for. Spend is the sum of charges and adjustments."""

    CHARGE = "charge"
    REFUSAL = "refusal"
    ADJUSTMENT = "adjustment"


class Origin(StrEnum):
    """How a cost came about, as far as the gate is concerned."""

    GATE = "gate"  # a job that was submitted through the gate
    BYPASS = "bypass"  # a job that was not, found by the sweep
    METERED = "metered"  # no job: what a cost metric has measured
    OWN = "own"  # a query that the gate ran for itself


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. Unique by hold; charges are unique by job too (invariant 4).

    `placed_at` is when its hold was placed, which says in which windows of the deployment's budget it counts. `adjusts`
    is the id of the charge that an adjustment corrects. `prices_id` names the prices by which it was priced, `ended_at`
    is when its job ended; `reservation` is "" where it ran on demand. None in these: not told, or booked before the
    ledger kept it.
    """

    id: str
    kind: EntryKind
    customer: str
    principal: str
    project_id: str
    booked_at: datetime
    window_keys: Mapping[Period, str]
    outcome: Outcome
    cost_nanos: int
    hold_id: str | None = None
    hold_nanos: int = 0
    workload: str | None = None
    job: JobRef | None = None
    decision: str = "forward"
    reason: str | None = None
    estimate_bytes: int | None = None
    estimate_nanos: int = 0
    bytes_processed: int = 0
    bytes_billed: int = 0
    slot_ms: int = 0
    statement_type: str = ""
    cache_hit: bool = False
    fingerprint: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    shadow_decision: ShadowDecision | None = None  # where its budgets were only observed
    placed_at: datetime | None = None
    origin: Origin = Origin.GATE
    adjusts: str | None = None
    reservation: str | None = None
    edition: str | None = None
    prices_id: str | None = None
    ended_at: datetime | None = None

    @property
    def is_overrun(self) -> bool:
        """The named excess of invariant 5: it cost more than was held."""
        return self.hold_id is not None and self.cost_nanos > self.hold_nanos


@dataclass(frozen=True, slots=True)
class BookedCharge:
    """A charge and what has corrected it since, oldest first. Its cost is the sum."""

    charge: Entry
    adjustments: tuple[Entry, ...] = ()

    @property
    def cost_nanos(self) -> int:
        return self.charge.cost_nanos + sum(each.cost_nanos for each in self.adjustments)

    @property
    def next_adjustment_id(self) -> str:
        """The id of the next adjustment. Two who correct what both have read write one id, and one of them wins."""
        return f"{self.charge.id}.{len(self.adjustments) + 1}"


class Booking(StrEnum):
    """What became of an attempt to book. All three are success."""

    BOOKED = "booked"
    HOLD_ALREADY_BOOKED = "hold_already_booked"  # the same hold or entry, seen by another path: nothing changed
    JOB_ALREADY_BOOKED = "job_already_booked"  # another hold's entry covers this job: this hold costs nothing


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to read. None: any. `since` is inclusive, `until` is not."""

    customer: str | None = None
    principal: str | None = None
    project_id: str | None = None
    workload: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    kind: EntryKind | None = None
    origin: Origin | None = None
    page_size: int = 100
    page_token: str | None = None


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries newest first, and the token of the next page; None at the end."""

    entries: tuple[Entry, ...]
    next_page_token: str | None


@dataclass(frozen=True, slots=True)
class EntryLookup:
    """Which entries are of one job or one decision: of the job of that name, or of the entry or the hold of that id.

    A job's `project_id` or `location` of None is any; `customer` and `principal` bound what may be found.
    """

    job_id: str
    decision_id: str | None = None
    project_id: str | None = None
    location: str | None = None
    customer: str | None = None
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class CostRow:
    """Spend of one principal in a span of time, of one origin."""

    customer: str
    principal: str
    origin: Origin
    cost_nanos: int
    bytes_billed: int
    slot_ms: int
    job_count: int


@dataclass(frozen=True, slots=True)
class CustomerSpend:
    """What the ledger knows of an account's windows: the base from which budgets are rebuilt (invariant 7).

    `grace_started_at` has the customer's own windows in which a grace began, `tripped_at` the days whose cost breaker
    is open, with the moment of each.
    """

    captured_nanos: Mapping[WindowId, int]
    grace_started_at: Mapping[WindowId, datetime] = field(default_factory=dict)
    tripped_at: Mapping[str, datetime] = field(default_factory=dict)
