"""Say what may be spent: a tier's limits, thresholds and throttle, a customer's budgets, and the deployment's.

Read from the settings by app, handed to admission as a CustomerRegistry of customers. An unknown customer is one of the
default tier (never an error, never unlimited). The budgets that a query falls under are a tree: its customer's own,
those of parts of the customer's queries (scope), and the deployment's. Amounts are nano-dollars; shares are parts per
million.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, EACH, BudgetScope, Spender
from bqgate.domain.cost_breaker import GracePolicy
from bqgate.domain.limits import LimitPlan, Limits, Schedule, TemporaryIncrease
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.throttling import Throttling

# The customer of all projects that no customer is listed for and BigQuery has not answered for yet. No customer is
# called so: neither a name in the settings nor a project's id begins with an underscore.
UNKNOWN_PROJECT = "_unknown"
# The customer of the queries that the gate runs for itself: no customer pays for them, the deployment's budget counts.
GATE_ITSELF = "_gate"
# What is booked under these names is nobody's own, so nothing that a credential says may be one of them.
RESERVED_CUSTOMERS = frozenset({UNKNOWN_PROJECT, GATE_ITSELF, DEPLOYMENT_ACCOUNT})
# How long after its end a window is compared with the ledger. Less than the shortest day, of 23 hours.
_LATELY = timedelta(hours=20)


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
    schedules: tuple[Schedule, ...] = ()
    rollover_nanos: Mapping[Period, int] = field(default_factory=dict)

    @property
    def limits(self) -> Limits:
        """Its limits, where no schedule is on."""
        return Limits(self.daily_nanos, self.monthly_nanos, self.query_nanos)


def throttle_ppm_of(thresholds: tuple[Threshold, ...]) -> int | None:
    """The share from which queries are throttled; None: they are not."""
    return next((each.used_ppm for each in thresholds if each.action is ThresholdAction.THROTTLE), None)


@dataclass(frozen=True, slots=True)
class Budget:
    """What the queries of one scope may cost. `account` is where it is counted: a customer, or the deployment."""

    name: str
    account: str
    scope: BudgetScope
    plan: LimitPlan
    mode: Mode = Mode.ENFORCE
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS

    def windows(self, now: datetime) -> tuple[Window, ...]:
        """Its day and its month. Observed ones bear their limits too."""
        return self.plan.windows_at(
            now,
            customer=self.account,
            zone=self.zone,
            scope=self.scope,
            is_observed=self.mode is Mode.OBSERVE,
            throttle_ppm=throttle_ppm_of(self.thresholds),
        )

    def query_bound_at(self, now: datetime) -> int | None:
        """The most that one query may cost; None: no bound."""
        return self.plan.query_bound_at(now, self.zone)


def windows_of(budgets: Iterable[Budget], now: datetime) -> tuple[Window, ...]:
    """The windows of several budgets, in their order."""
    return tuple(window for budget in budgets for window in budget.windows(now))


def windows_lately(budgets: Iterable[Budget], now: datetime) -> tuple[Window, ...]:
    """The windows in which jobs may end now, each once: those of the moment, and those that ended lately."""
    listed = tuple(budgets)
    found = {window.id: window for window in windows_of(listed, now - _LATELY)}
    return tuple((found | {window.id: window for window in windows_of(listed, now)}).values())


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays, under which tier, in which time zone its days begin, and what it may touch.

    `projects` are those whose jobs it pays for, `data` the projects ("p"), datasets ("p.d") and buckets ("gs://b/x")
    that it may read and write beside its own projects; None: the gate leaves that to BigQuery's IAM. `account` is the
    service account that the gate impersonates for it; None: the gate's own. `raises` are on top of its own limits,
    `budgets` those of parts of its queries. `reservations` are those that its queries may name, "none" for on demand;
    None: any where that changes no price, else none.
    """

    id: str
    tier: Tier
    mode: Mode = Mode.ENFORCE
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    projects: tuple[str, ...] = ()
    data: tuple[str, ...] | None = None
    account: str | None = None
    raises: tuple[TemporaryIncrease, ...] = ()
    budgets: tuple[Budget, ...] = ()
    reservations: tuple[str, ...] | None = None

    @property
    def own_budget(self) -> Budget:
        """The budget over all of its queries."""
        tier = self.tier
        plan = LimitPlan(tier.limits, tier.schedules, self.raises, tier.rollover_nanos)
        return Budget(self.id, self.id, CUSTOMER_SCOPE, plan, self.mode, self.zone, tier.thresholds)

    def grace_at(self, now: datetime) -> GracePolicy:
        """What an attempt past a limit is judged by. What raises the day raises its emergency limit."""
        return GracePolicy(
            grace_s=self.tier.grace_s,
            emergency_nanos=min(self.tier.emergency_nanos + self.own_budget.plan.increase_nanos_at(now), MAX_NANOS),
            cooldown_s=self.tier.breaker_cooldown_s,
            is_observed=self.mode is Mode.OBSERVE,
        )

    def windows(self, now: datetime) -> tuple[Window, ...]:
        """The day and the month of the budget over all of its queries."""
        return self.own_budget.windows(now)

    def budgets_over(self, spender: Spender) -> tuple[Budget, ...]:
        """The budgets that a query falls under, its own first; none is counted twice.

        One that names the spender stands in for one of each of its kind.
        """
        covering = sorted((budget for budget in self.budgets if budget.scope.covers(spender)), key=_is_named)
        narrowed = {budget.scope.narrowed_to(spender): budget for budget in covering}
        scopes = sorted(narrowed, key=str)
        return (self.own_budget, *(replace(narrowed[scope], scope=scope) for scope in scopes))

    def scopes_over(self, spender: Spender) -> tuple[BudgetScope, ...]:
        """The parts of its queries that have budgets and that a query falls under."""
        return tuple(budget.scope for budget in self.budgets_over(spender)[1:])


def _is_named(budget: Budget) -> bool:
    return budget.scope.value != EACH


@dataclass(frozen=True, slots=True)
class CustomerRegistry:
    """Who is a customer: by id, by an address, by a project; anybody else is one of the default tier.

    `customer_by_email` has whole addresses and bare domains ("ann@acme.com", "acme.com"), in small letters.
    `shared_projects` may run jobs of every customer; whose a job is there, its caller's credential says. `deployment`
    is the budget over all customers.
    """

    customers: Mapping[str, Customer]
    customer_by_project: Mapping[str, str]
    default_tier: Tier
    default_mode: Mode = Mode.ENFORCE
    customer_by_email: Mapping[str, str] = field(default_factory=dict)
    shared_projects: frozenset[str] = frozenset()
    deployment: Budget | None = None

    @property
    def known_projects(self) -> tuple[str, ...]:
        """The projects of customers, then shared ones."""
        return (*self.customer_by_project, *sorted(self.shared_projects))

    def budgets_over(self, customer: Customer, spender: Spender) -> tuple[Budget, ...]:
        """All budgets that a query falls under: the customer's own first, the deployment's last."""
        budgets = customer.budgets_over(spender)
        return budgets if self.deployment is None else (*budgets, self.deployment)

    def account_budgets(self, account: str) -> tuple[Budget, ...]:
        """The budgets of an account whose windows are known without a query: those of each are left out."""
        if account == DEPLOYMENT_ACCOUNT:
            return () if self.deployment is None else (self.deployment,)
        customer = self.customer(account)
        return (customer.own_budget, *(budget for budget in customer.budgets if _is_named(budget)))

    def customer(self, customer_id: str) -> Customer:
        known = self.customers.get(customer_id)
        return known or Customer(id=customer_id, tier=self.default_tier, mode=self.default_mode)

    def customer_id_of_email(self, email: str) -> str | None:
        """The customer of an e-mail address, by the whole of it, else by its domain. None: nobody's.

        Whoever logs in by an identity provider of its own has no address at Google but an identifier
        (principal://iam.googleapis.com/…/subject/ann@acme.com), whose end that provider writes as it likes
        (https://cloud.google.com/iam/docs/principal-identifiers).
        """
        address = email.lower()
        if "://" in address:
            return None
        return self.customer_by_email.get(address) or self.customer_by_email.get(address.rpartition("@")[2])

    def owner_of(self, project_id: str) -> str | None:
        """The customer that pays for a project's jobs. None: nobody is listed."""
        return self.customer_by_project.get(project_id)

    def payer_of(self, project_id: str, *, is_open: bool = False) -> str:
        """The customer that pays for what runs in a project, by the project alone: its owner, else the project itself.

        Anybody may make a project that is called like a customer: before a gate that is not open it is not that one.
        """
        owner = self.owner_of(project_id)
        if owner is None and not is_open and project_id in self.customers:
            return UNKNOWN_PROJECT
        return owner or project_id

    def payer_of_job(self, project_id: str, principal: str | None, *, is_open: bool = False) -> str:
        """The customer that pays for a job that came past the gate: in a shared project its maker's, by the address."""
        if project_id in self.shared_projects and principal is not None:
            customer_id = self.customer_id_of_email(principal)
            if customer_id is not None:
                return customer_id
        return self.payer_of(project_id, is_open=is_open)
