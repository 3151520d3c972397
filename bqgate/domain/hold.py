"""Describe a hold: money set aside for one query from before it runs until its cost is known.

Made by admission, placed in a BudgetStore, recorded open in the Ledger before anything is forwarded, ended exactly
once by settlement (invariant 3):

    held ──capture(cost)──> captured
      └────void───────────> voided

A caller that repeats a query joins its hold. So a hold counts its attempts, and each attempt and each gate that works
on it leases it for a while: a hold whose lease has run out is nobody's.

Amounts are nano-dollars, `maximum_bytes_billed` is bytes, moments are aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from bqgate.domain.budget import Balance, Period, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, Spender
from bqgate.domain.cost_breaker import (
    CostBreaker,
)
from bqgate.domain.job import JobRef
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.shadow_decision import ShadowDecision

# How long an attempt, or a gate that keeps a hold, leases it: many times the second in which gates keep their holds.
LEASE_S = 15

# Where the count of a hold that was put back begins. How many had joined is not known, and no gate counts so far.
RESTORED_ATTEMPTS = 1_000_000


class HoldState(StrEnum):
    """Where a hold is in its life. Only `held` counts against a budget."""

    HELD = "held"
    CAPTURED = "captured"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one query.

    `window_keys` are the windows it counts against, by period: a hold placed before midnight is captured in the day
    in which it was placed. `scopes` are the parts of the customer's queries that have budgets and that it falls under,
    by the rules that held when it was placed; `labels` are the caller's. `deadline_at` is when, with no news of the
    job, its cost is assumed to be the hold. `job` is None until BigQuery told the id (jobs.query); `idempotency_key`
    makes a caller's repeat find this hold. `prices_id` names the price list that it was sized by and its job is priced
    by, whatever holds when the job ends; None, in holds of before: the prices of that moment. `priced_as` is the kind
    of statement at whose price it was sized, the most expensive that may occur in the query; None: any kind. `account`
    is the service account in whose name its job is made: who made a job may ask after it when its customer has another
    account, or none, by then. "": the caller's or the gate's own name; None: not known, in holds of before.
    """

    id: str
    customer: str
    principal: str
    project_id: str
    amount_nanos: int
    window_keys: Mapping[Period, str]
    placed_at: datetime
    deadline_at: datetime
    idempotency_key: str | None = None
    job: JobRef | None = None
    workload: str | None = None
    maximum_bytes_billed: int | None = None
    estimate_bytes: int | None = None
    estimate_nanos: int = 0
    decision: str = "forward"
    fingerprint: str | None = None
    shadow_decision: ShadowDecision | None = None  # where its budgets are only observed
    labels: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[BudgetScope, ...] = ()
    prices_id: str | None = None
    priced_as: str | None = None
    account: str | None = None

    @property
    def request_prefix(self) -> str | None:
        """What the idempotency keys of one requestId and query begin with; None: it has no requestId."""
        key = self.idempotency_key
        return key.rsplit(":", 2)[0] + ":" if key is not None and key.startswith("request:") else None

    @property
    def is_job_told(self) -> bool:
        """Whether its job's id came from BigQuery: neither the caller nor the gate has chosen it."""
        if self.job is None or self.job.job_id.endswith(self.id):
            return False
        return self.idempotency_key is None or self.request_prefix is not None

    @property
    def is_joined_by_repeats(self) -> bool:
        """Whether a repeat is one more attempt at this hold: of a job id, which BigQuery runs once.

        A repeated requestId is not: BigQuery may run it again, so that it is sent away until this hold has ended.
        """
        return self.request_prefix is None

    @property
    def spender(self) -> Spender:
        """Whose query it is, by all that a budget can be about."""
        return Spender(self.principal, self.project_id, self.workload, self.labels)

    @property
    def window_ids(self) -> tuple[WindowId, ...]:
        """Every window of its account that it counts against."""
        keys = self.window_keys.items()
        return tuple([WindowId(scope, *each) for scope in (CUSTOMER_SCOPE, *self.scopes) for each in keys])


@dataclass(frozen=True, slots=True)
class RecordedHold:
    """A hold as the ledger has it, ended or not."""

    hold: Hold
    state: HoldState


@dataclass(frozen=True, slots=True)
class Attempts:
    """How many attempts have joined an open hold, and until when somebody answers for it.

    `count` is 1 when it is placed; from RESTORED_ATTEMPTS on, the store lost it and it was put back.
    """

    count: int
    leased_until: datetime

    def kept(self, leased_until: datetime) -> "Attempts":
        """The same with a lease that is no shorter."""
        return Attempts(self.count, max(self.leased_until, leased_until))

    def joined(self, leased_until: datetime) -> "Attempts":
        """One more."""
        return Attempts(self.count + 1, max(self.leased_until, leased_until))


# What is said of a hold that has ended: nobody is under way, and nobody can join any more.
ENDED_ATTEMPTS = Attempts(0, datetime.min.replace(tzinfo=UTC))


class VoidOutcome(StrEnum):
    """What became of an attempt to void a hold."""

    VOIDED = "voided"
    ENDED = "ended"  # captured or voided in the last minutes; nothing changed
    JOINED = "joined"  # others have joined it than the caller knows of; nothing changed
    UNKNOWN = "unknown"  # the store has neither the hold nor a mark that it has ended


class PlacementOutcome(StrEnum):
    """What became of an attempt to place a hold."""

    PLACED = "placed"
    REPLAYED = "replayed"  # an open hold with the same idempotency key is there already
    REFUSED = "refused"  # at least one budget has no room; none was touched
    ENDED = "ended"  # its id was ended in the last minutes; no budget said no, and none was touched


@dataclass(frozen=True, slots=True)
class Placement:
    """A BudgetStore's answer to place_hold.

    `hold_id` is the open hold's id (the earlier one's when replayed), None when refused or ended. `balances` are one
    for each window, in the order asked: after placing, or as they stand when refused or replayed. `refusal` says why it
    was refused, or, where the grace policy says observed and it was placed, would have been. `breaker` is the
    customer's cost breaker after it, None when closed; `has_tripped`: this attempt opened it. In grace `grace_ends_at`
    says until when, and `grace_started_in` has the windows whose grace began with this hold. `attempts` counts those
    that have joined the hold, this one among them; 0 when refused. `is_degraded`: the budgets were away and not asked.
    """

    outcome: PlacementOutcome
    hold_id: str | None
    balances: tuple[Balance, ...]
    refusal: RejectReason | None = None
    breaker: CostBreaker | None = None
    has_tripped: bool = False
    grace_ends_at: datetime | None = None
    grace_started_in: tuple[Window, ...] = ()
    attempts: int = 0
    is_degraded: bool = False

    @property
    def is_probe(self) -> bool:
        """Whether this hold is the probe that an open breaker let through."""
        return self.breaker is not None and self.hold_id is not None and self.breaker.probe_id == self.hold_id
