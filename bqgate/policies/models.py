"""Describe tiers, customers, budgets and prices as documents: every key with its type, default, bounds and meaning.

One definition for the settings file and the admin API: settings' sections and the API's bodies are these models, the
Registry keeps what `model_dump(mode="json")` makes of them. Frozen; an unknown key is an error. Units stand in the
keys. What only shows when several are looked at together is in rules.py. Defaults are written `default=`, so that type
checkers see them too.
"""

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from bqgate.domain.policy import PolicyKind
from bqgate.domain.pricing import PricingModel
from bqgate.domain.throttling import Priority
from bqgate.domain.tier import DEFAULT_THRESHOLDS, Mode
from bqgate.policies.budget_models import (
    SCHEDULES_MAX,
    BudgetPolicy,
    IncreasePolicy,
    Policy,
    SchedulePolicy,
    ThresholdPolicy,
)
from bqgate.policies.values import Account, Data, EmailOrDomain, Name, ProjectId, Reservation, Share, Usd, Whole, Zone

_LIST_MAX = 1_000


class TierPolicy(Policy):
    """The limits of a class of customers."""

    daily_usd: Usd = Field(description="Limit of a day in the customer's time zone.")
    monthly_usd: Usd = Field(description="Limit of a month.")
    emergency_usd: Usd = Field(
        description="The most that a day may cost while grace lasts; a query that does not fit opens the cost breaker."
    )
    query_usd: Usd | None = Field(default=None, description="Limit of one query; without it, the day's.")
    grace_minutes: Whole = Field(
        default=0,
        ge=0,
        le=1440,
        description="How long queries still run, throttled, once a day or month is past its limit.",
    )
    breaker_cooldown_minutes: Whole = Field(
        default=0,
        ge=0,
        le=1440,
        description="How long an open cost breaker waits before it lets one query try; 0: until the next day.",
    )
    cancel_in_emergency: bool = Field(
        default=False,
        description="true: when the cost breaker opens, running jobs are cancelled, most expensive first.",
    )
    throttle_wait_ms: Whole = Field(
        default=2_000,
        ge=0,
        le=30_000,
        description="How long a throttled query waits at the threshold, and a customer's queries go apart; at the "
        "limit four times that.",
    )
    throttle_to_batch: bool = Field(
        default=False, description="true: a throttled query of jobs.insert goes with priority BATCH."
    )
    throttle_max_slots: Whole | None = Field(
        default=None, ge=1, le=100_000, description="Slots that a throttled query may use (maxSlots)."
    )
    throttle_job_timeout_ms: Whole | None = Field(
        default=None,
        ge=1_000,
        le=86_400_000,
        description="How long a throttled query may run (jobTimeoutMs).",
    )
    customer_concurrency_max: Whole | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Queries of a customer that run at once, for each gate; more wait their turn. Without it, any "
        "number.",
    )
    principal_concurrency_max: Whole | None = Field(
        default=None, ge=1, le=100_000, description="The same for each of its principals."
    )
    priority: Priority = Field(
        default=Priority.NORMAL, description="high, normal, or low: whose queries go first of those that wait."
    )
    workload_priorities: dict[Name, Priority] = Field(
        default_factory=dict, max_length=_LIST_MAX, description="The same by workload, above priority."
    )
    thresholds: tuple[ThresholdPolicy, ...] = Field(
        default=tuple(
            ThresholdPolicy(used_ratio=Share(each.used_ppm), action=each.action) for each in DEFAULT_THRESHOLDS
        ),
        max_length=20,
        description="Shares of a limit, ascending, each with what follows.",
    )
    schedules: tuple[SchedulePolicy, ...] = Field(
        default=(), max_length=SCHEDULES_MAX, description="Other limits at some times; the first that is on holds."
    )
    rollover_daily_usd: Usd | None = Field(
        default=None, description="How much of a day's unused limit the next day takes over at most."
    )
    rollover_monthly_usd: Usd | None = Field(
        default=None, description="How much of a month's unused limit the next month takes over at most."
    )


class CustomerPolicy(Policy):
    """Who pays."""

    tier: Name | None = Field(default=None, description="Its tier; without it, defaults.tier.")
    projects: tuple[ProjectId, ...] = Field(
        default=(), max_length=_LIST_MAX, description="Projects whose jobs it pays for, by their ids."
    )
    principals: tuple[EmailOrDomain, ...] = Field(
        default=(), max_length=_LIST_MAX, description="E-mail addresses and domains of its people and programs."
    )
    data: tuple[Data, ...] | None = Field(
        default=None,
        max_length=_LIST_MAX,
        description="What it may read and write beside its own projects: project, project.dataset, gs://bucket/prefix; "
        "without it, what BigQuery's IAM allows.",
    )
    service_account: Account | None = Field(
        default=None,
        description="Service account that the gate impersonates for it, so that BigQuery's IAM keeps it apart; without "
        "it, the gate's own.",
    )
    reservations: tuple[Reservation, ...] | None = Field(
        default=None,
        max_length=_LIST_MAX,
        description="Reservations that its queries may name: projects/P/locations/L/reservations/R, or none for on "
        "demand; without it, any under blended and on_demand prices, none under capacity and auto.",
    )
    time_zone: Zone = Field(default_factory=lambda: ZoneInfo("UTC"), description="Where its days and months begin.")
    mode: Mode | None = Field(default=None, description="off, observe, or enforce; without it, defaults.mode.")


class PricingPolicy(Policy):
    """What a job is charged for."""

    model: PricingModel = Field(
        default=PricingModel.BLENDED,
        description="blended: bytes and slots; on_demand: bytes; capacity and auto: slots where the job ran in a "
        "reservation, bytes elsewhere; capacity expects one when it holds, auto either.",
    )
    usd_per_tib: Usd | None = Field(
        default=None,
        description="Price of a TiB everywhere; without it 5.00 (blended) or the list price of the region.",
    )
    usd_per_slot_hour: Usd | None = Field(
        default=None,
        description="Price of a slot-hour everywhere; without it 0.04 (blended) or the list price of the edition.",
    )


class DefaultsPolicy(Policy):
    """What holds for customers that are not listed, and for what a listed one does not say."""

    tier: Name = Field(default="standard", description="Tier of a customer that names none.")
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="off: nothing is computed; observe: nothing is refused; enforce: budgets refuse.",
    )
    deployment_mode: Mode = Field(
        default=Mode.ENFORCE,
        description="The most that holds for anybody: the weaker of this and the customer's own mode.",
    )


# The keys whose values are lists of documents.
NESTED: Mapping[str, type[Policy]] = {
    "thresholds": ThresholdPolicy,
    "schedules": SchedulePolicy,
    "raises": IncreasePolicy,
}


def keys_around(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[str, ...]:
    """The keys of the mapping in which an error happened, by its place within a document of `model`."""
    nested = NESTED.get(str(loc[0])) if len(loc) > 1 else None
    return tuple((model if nested is None else nested).model_fields)


# What an admin's document of each kind is.
MODELS: Mapping[PolicyKind, type[Policy]] = {
    PolicyKind.TIER: TierPolicy,
    PolicyKind.CUSTOMER: CustomerPolicy,
    PolicyKind.BUDGET: BudgetPolicy,
    PolicyKind.PRICING: PricingPolicy,
}
