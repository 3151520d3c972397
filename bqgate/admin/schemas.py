"""Say what the answers of the control plane look like: the models by which they are written and documented.

Filled by documents from domain values, written by answer, put into the OpenAPI document by openapi. Money is a decimal
string of dollars, a moment RFC 3339 in UTC. A ratio is a number with at most six decimals; every amount is exact text,
because JSON numbers are doubles to most readers. Validators are made when they are first used, not at the start.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from bqgate.domain.budget import Period
from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.job import Outcome
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.spend import SpendPeriod
from bqgate.domain.tier import Mode

UsdText = Annotated[
    str, Field(pattern=r"^-?[0-9]+(\.[0-9]{1,9})?$", examples=["12.50"], description="Dollars, as exact decimal text.")
]
MomentText = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-24T12:00:00Z"])]
DayText = Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-11-24"])]
Count = Annotated[int, Field(ge=0)]


class Document(BaseModel):
    """An answer, or a part of one: it holds what its model names and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class FieldProblem(Document):
    """What is wrong with one field of the request."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457). `field` names the culprit in the request, `errors` every one of them."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    errors: tuple[FieldProblem, ...] | None = None


class JobDocument(Document):
    """BigQuery's name of a job."""

    project_id: str
    job_id: str
    location: str | None


class BalanceDocument(Document):
    """One window of a budget; limit and balance are null where there is no limit.

    The limit is the one that holds now, with what raises and schedules make of it and what was carried over.
    """

    period: Period
    key: str = Field(description="The window: its day or its month, in the customer's time zone.")
    limit_usd: UsdText | None
    carried_usd: UsdText = Field(description="What the window before left to this one; it is in the limit.")
    spent_usd: UsdText
    held_usd: UsdText
    balance_usd: UsdText | None
    used_ratio: float = Field(ge=0)
    resets_at: MomentText


class CheckedBudget(Document):
    """What every answer to a check bears."""

    customer: str
    cost_usd: UsdText
    mode: Mode
    windows: dict[Period, BalanceDocument]
    as_of: MomentText


class ForwardedCheck(CheckedBudget):
    """The query would run at once."""

    decision: Literal["forward"] = "forward"
    would_reject: RejectReason | None = Field(description="Why enforcing would have refused it.")


class ThrottledCheck(CheckedBudget):
    """The query would run after a wait."""

    decision: Literal["throttle"] = "throttle"
    wait_ms: Count


class RejectedCheck(CheckedBudget):
    """The query would be refused."""

    decision: Literal["reject"] = "reject"
    reason: RejectReason
    refused_by: Period | None = Field(description="The window without room; null where the query itself is too big.")
    budget: str | None = Field(
        description="What the budget that refused is about; null where none did.", examples=["workload nightly"]
    )
    suggestion: str


class CheckDocument(RootModel[ForwardedCheck | ThrottledCheck | RejectedCheck]):
    """The decision that a query of some cost would get."""

    root: Annotated[ForwardedCheck | ThrottledCheck | RejectedCheck, Field(discriminator="decision")]


class ShadowDecisionDocument(Document):
    """What enforcing would have done to a query of an observed budget; `reason` null: let it wait."""

    reason: RejectReason | None
    wait_ms: Count
    budget: str = Field(
        description="The budget's scope and period, or the bound of one query.", examples=["customer/day"]
    )


class EntryDocument(Document):
    """One line of the ledger."""

    id: str
    kind: EntryKind
    origin: Origin = Field(description="Whether the job came through the gate (gate) or past it (the others).")
    adjusts: str | None = Field(description="The id of the charge that an adjustment corrects.")
    customer: str
    principal: str
    workload: str | None
    project_id: str
    job: JobDocument | None
    booked_at: MomentText
    ended_at: MomentText | None = Field(description="When the job ended; null: not told.")
    outcome: Outcome
    decision: str
    reason: str | None
    cost_usd: UsdText
    estimate_usd: UsdText
    hold_id: str | None
    hold_usd: UsdText
    estimate_bytes: int | None
    bytes_processed: int
    bytes_billed: int
    slot_ms: int
    statement_type: str
    cache_hit: bool
    reservation: str | None = Field(description="What the job ran in; empty: on demand; null: not told.")
    edition: str | None
    prices_id: str | None = Field(description="The price list by which it was priced; null: booked before it was kept.")
    fingerprint: str | None
    labels: dict[str, str]
    would_have: ShadowDecisionDocument | None


class JobsDocument(Document):
    """A page of the ledger, newest first; without a token it is the last."""

    jobs: tuple[EntryDocument, ...]
    next_page_token: str | None
    as_of: MomentText


class HoldDocument(Document):
    """One open hold."""

    id: str
    amount_usd: UsdText
    customer: str
    principal: str
    workload: str | None
    project_id: str
    job: JobDocument | None
    decision: str
    age_s: Count
    placed_at: MomentText
    deadline_at: MomentText


class JobState(StrEnum):
    """Where a job is: its hold is open, its cost is booked, or it was refused and never ran."""

    HELD = "held"
    BOOKED = "booked"
    REFUSED = "refused"


class JobShown(Document):
    """One job, or one refusal: what was booked of it, and its hold while that is open."""

    state: JobState
    cost_usd: UsdText = Field(description="What it cost, with its adjustments; 0.00 while it is held.")
    entries: tuple[EntryDocument, ...] = Field(description="Its lines of the ledger, oldest first.")
    hold: HoldDocument | None
    as_of: MomentText


class HoldsDocument(Document):
    """Open holds, oldest first."""

    holds: tuple[HoldDocument, ...]
    as_of: MomentText


class TotalDocument(Document):
    """What some jobs cost together."""

    cost_usd: UsdText
    bytes_billed: int
    slot_ms: int
    job_count: Count


class CostDocument(Document):
    """What one principal spent, through the gate or past it."""

    customer: str
    principal: str
    origin: Origin
    cost_usd: UsdText
    bytes_billed: int
    slot_ms: int
    job_count: Count


class CostsDocument(Document):
    """What was booked in the last hours; `customer` null is all of them."""

    customer: str | None
    lookback_hours: int
    since: MomentText
    total: TotalDocument
    by_origin: dict[Origin, TotalDocument] = Field(description="The total through the gate, and past it: each origin.")
    by_principal: tuple[CostDocument, ...]
    recent_jobs: tuple[EntryDocument, ...]
    swept_until: MomentText | None = Field(
        description="What was made past the gate before this moment is in here; null: nobody has looked for it."
    )
    as_of: MomentText


class SpendRowDocument(Document):
    """What one period cost one customer, or one part of its queries."""

    period: str = Field(description="A day, an ISO week or a month.", examples=["2026-11-24", "2026-W48", "2026-11"])
    starts_on: DayText = Field(description="The first day of the period.")
    customer: str
    value: str | None = Field(description="Of what it is divided by; null where a query has no workload or label.")
    cost_usd: UsdText
    bytes_billed: int
    slot_ms: int
    job_count: Count


class SpendDocument(Document):
    """Spend over time, latest period first and most expensive first in it.

    Days are those of each customer's time zone.
    """

    customer: str | None
    principal: str | None
    period: SpendPeriod
    group_by: str
    since: DayText
    until: DayText | None
    total: TotalDocument = Field(description="Of all rows, those left out too.")
    rows: tuple[SpendRowDocument, ...]
    rows_left_out: Count
    as_of: MomentText


class StatusDocument(Document):
    """A word about the process."""

    status: Literal["alive"]


class ReadyDocument(Document):
    """Whether the gate can work, and what is away meanwhile."""

    status: Literal["ready", "degraded"]
    degraded: list[str]
