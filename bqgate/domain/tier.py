"""Say what a customer may spend: its tier's limits, thresholds and throttle, its time zone and its mode.

Read from the settings by app, handed to admission as a Directory of customers. An unknown customer is one of the
default tier (never an error, never unlimited). Amounts are nano-dollars; shares are parts per million.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Period, Window, windows_at
from bqgate.domain.cost_breaker import Terms
from bqgate.domain.throttling import Throttling


class Mode(StrEnum):
    """How seriously a budget is meant: off computes nothing, observe refuses nothing, enforce refuses."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


def weaker(one: Mode, other: Mode) -> Mode:
    """The one of two that does less."""
    return min(one, other, key=list(Mode).index)


class ThresholdAction(StrEnum):
    """What passing a threshold leads to."""

    MONITOR = "monitor"
    REVIEW = "review"
    THROTTLE = "throttle"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A share of a limit, and what follows when it is passed."""

    used_ppm: int
    action: ThresholdAction


DEFAULT_THRESHOLDS = (
    Threshold(500_000, ThresholdAction.MONITOR),
    Threshold(800_000, ThresholdAction.REVIEW),
    Threshold(950_000, ThresholdAction.THROTTLE),
)


@dataclass(frozen=True, slots=True)
class Tier:
    """The limits that a class of customers shares. `query_nanos` bounds one query; None: only the windows do.

    `grace_s` is how long queries still run past a limit, up to `emergency_nanos` a day; 0: not at all.
    `breaker_cooldown_s` is how long an open cost breaker waits before it lets one query try; 0: until the next day.
    `cancels_in_emergency`: running jobs are cancelled when the cost breaker opens.
    `throttling` says how its queries share what there is, and what slows them down beside waiting.
    """

    name: str
    daily_nanos: int
    monthly_nanos: int
    emergency_nanos: int
    query_nanos: int | None = None
    throttle_wait_ms: int = 2_000
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS
    grace_s: int = 0
    breaker_cooldown_s: int = 0
    cancels_in_emergency: bool = False
    throttling: Throttling = field(default_factory=Throttling)


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays, under which tier, in which time zone its days begin, and what it may touch.

    `projects` are those whose jobs it pays for, `data` the projects ("p"), datasets ("p.d") and buckets ("gs://b/x")
    that it may read and write beside its own projects; None: the gate leaves that to BigQuery's IAM. `account` is the
    service account that the gate impersonates for it; None: the gate's own.
    """

    id: str
    tier: Tier
    mode: Mode = Mode.ENFORCE
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    projects: tuple[str, ...] = ()
    data: tuple[str, ...] | None = None
    account: str | None = None

    @property
    def terms(self) -> Terms:
        """What an attempt past a limit is judged by."""
        return Terms(
            grace_s=self.tier.grace_s,
            emergency_nanos=self.tier.emergency_nanos,
            cooldown_s=self.tier.breaker_cooldown_s,
            is_observed=self.mode is Mode.OBSERVE,
        )

    def windows(self, now: datetime) -> tuple[Window, ...]:
        """The budgets that a query submitted at `now` falls under. Observed ones bear their limits too."""
        return windows_at(
            now,
            customer=self.id,
            zone=self.zone,
            limits_nanos={Period.DAY: self.tier.daily_nanos, Period.MONTH: self.tier.monthly_nanos},
        )


@dataclass(frozen=True, slots=True)
class Directory:
    """Who is a customer: by id, by the project in the URL, else the project itself in the default tier.

    `customer_by_email` has whole addresses and bare domains ("ann@acme.com", "acme.com"), in small letters.
    `shared_projects` may run jobs of every customer; whose a job is there, its caller's credential says.
    """

    customers: Mapping[str, Customer]
    customer_by_project: Mapping[str, str]
    default_tier: Tier
    default_mode: Mode = Mode.ENFORCE
    customer_by_email: Mapping[str, str] = field(default_factory=dict)
    shared_projects: frozenset[str] = frozenset()

    def customer(self, customer_id: str) -> Customer:
        known = self.customers.get(customer_id)
        return known or Customer(id=customer_id, tier=self.default_tier, mode=self.default_mode)

    def customer_id_of_email(self, email: str) -> str | None:
        """The customer of an e-mail address, by the whole of it, else by its domain. None: nobody's."""
        address = email.lower()
        return self.customer_by_email.get(address) or self.customer_by_email.get(address.rpartition("@")[2])

    def customer_id_for(self, *, project_id: str, workload: str | None) -> str:
        """Open mode: the workload when it names a customer, else the owner of the project, else the project."""
        if workload is not None and workload in self.customers:
            return workload
        return self.customer_by_project.get(project_id, project_id)
