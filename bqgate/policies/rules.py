"""Check what only shows when several keys, or several policies, are looked at together.

Used for the settings file (settings.rules) and for the settings with what admins changed (compose). Rules yield
(path, message), the path as in the settings file: tiers.gold.daily_usd, customers.acme.projects, pricing.usd_per_tib,
scoped_budgets.nightly.daily_usd. PolicyFaults bears all of them at once.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from bqgate.domain.money import NANOS_PER_USD
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.budget_rules import part_faults, threshold_faults
from bqgate.policies.faults import PolicyFault
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy, PricingPolicy, TierPolicy

# A price beyond it is a slip of units: list prices are below 12 dollars per TiB and 1 dollar per slot-hour.
_PRICE_NANOS_MAX = 1_000 * NANOS_PER_USD


@dataclass(frozen=True, slots=True)
class Policies:
    """All that is looked at together. `pricing` and `defaults` are None where they have faults of their own.

    `tier_names` has faulty tiers' too, so that one mistake is one fault. `can_impersonate`: the gate calls BigQuery
    with credentials of its own, with which it can become a customer's service account.
    """

    tiers: Mapping[str, TierPolicy]
    customers: Mapping[str, CustomerPolicy]
    pricing: PricingPolicy | None
    defaults: DefaultsPolicy | None
    tier_names: Collection[str]
    shared_projects: Collection[str] = ()
    can_impersonate: bool = False
    budgets: Mapping[str, BudgetPolicy] = field(default_factory=dict)


def faults_of(policies: Policies) -> Iterator[PolicyFault]:
    """Everything that contradicts itself."""
    if policies.pricing is not None:
        yield from _price_faults(policies.pricing)
    for name, tier in policies.tiers.items():
        yield from _tier_faults(f"tiers.{name}", tier)
    yield from _customer_faults(policies)
    yield from _own_budget_faults(policies)
    yield from part_faults(policies.budgets, policies.customers)


def with_budget(tier: TierPolicy, budget: BudgetPolicy | None) -> TierPolicy:
    """A tier with what a customer has of its own."""
    if budget is None:
        return tier
    own = {key: getattr(budget, key) for key in BudgetPolicy.model_fields if key in TierPolicy.model_fields}
    return tier.model_copy(update={key: value for key, value in own.items() if value is not None})


def _price_faults(pricing: PricingPolicy) -> Iterator[PolicyFault]:
    for key in ("usd_per_tib", "usd_per_slot_hour"):
        price = getattr(pricing, key)
        if price is not None and price.nanos == 0:
            message = "a price of 0 makes every query free; choose another model, or mode: off"
            yield PolicyFault(f"pricing.{key}", message)
        if price is not None and price.nanos > _PRICE_NANOS_MAX:
            yield PolicyFault(f"pricing.{key}", f"{price} is no price of one unit; the most is 1000.00")


def _tier_faults(path: str, tier: TierPolicy) -> Iterator[PolicyFault]:
    yield from _limit_faults(path, tier)
    yield from threshold_faults(path, tier.thresholds)


def _limit_faults(path: str, limits: TierPolicy) -> Iterator[PolicyFault]:
    daily = limits.daily_usd
    if daily.nanos > limits.monthly_usd.nanos:
        yield PolicyFault(f"{path}.daily_usd", f"{daily} is more than monthly_usd, {limits.monthly_usd}")
    if daily.nanos > limits.emergency_usd.nanos:
        yield PolicyFault(f"{path}.emergency_usd", f"{limits.emergency_usd} is less than daily_usd, {daily}")
    if limits.grace_minutes and daily.nanos == limits.emergency_usd.nanos:
        message = f"is daily_usd, so grace has no room; raise it above {daily}, or write grace_minutes: 0 in the tier"
        yield PolicyFault(f"{path}.emergency_usd", message)
    if limits.query_usd and limits.query_usd.nanos > daily.nanos:
        yield PolicyFault(f"{path}.query_usd", f"{limits.query_usd} is more than daily_usd, {daily}")
    yield from _rollover_faults(path, limits)


def _rollover_faults(path: str, limits: TierPolicy) -> Iterator[PolicyFault]:
    """Days that pass the emergency limit by what they may take over, or by a schedule, or by both together."""
    daily, emergency, rollover = limits.daily_usd, limits.emergency_usd, limits.rollover_daily_usd
    if rollover is not None and daily.nanos + rollover.nanos > emergency.nanos:
        message = f"{rollover} on top of daily_usd is more than emergency_usd, {emergency}"
        yield PolicyFault(f"{path}.rollover_daily_usd", message)
        rollover = None  # said once
    for number, schedule in enumerate(limits.schedules):
        meanwhile = schedule.daily_usd
        if meanwhile is None:
            continue
        where = f"{path}.schedules.{number}.daily_usd"
        if meanwhile.nanos > emergency.nanos:
            yield PolicyFault(where, f"{meanwhile} is more than emergency_usd, {emergency}")
        elif rollover is not None and meanwhile.nanos + rollover.nanos > emergency.nanos:
            message = f"{meanwhile} with rollover_daily_usd, {rollover}, is more than emergency_usd, {emergency}"
            yield PolicyFault(where, message)


def _customer_faults(policies: Policies) -> Iterator[PolicyFault]:
    known = ", ".join(sorted(policies.tier_names))
    if policies.defaults and policies.defaults.tier not in policies.tier_names:
        yield PolicyFault("defaults.tier", f"there is no tier {policies.defaults.tier!r}; there are {known}")
    owners: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, customer in policies.customers.items():
        path = f"customers.{name}"
        if customer.tier is not None and customer.tier not in policies.tier_names:
            yield PolicyFault(f"{path}.tier", f"there is no tier {customer.tier!r}; there are {known}")
        for project in customer.projects:
            owner = owners.setdefault(project, name)
            if owner != name:
                message = f"{project} is {owner}'s already; only one can pay for it"
                yield PolicyFault(f"{path}.projects", message)
            elif project in policies.shared_projects:
                message = f"{project} is in isolation.shared_projects; a project is one customer's or everybody's"
                yield PolicyFault(f"{path}.projects", message)
        for principal in customer.principals:
            owner = names.setdefault(principal, name)
            if owner != name:
                message = f"{principal} is {owner}'s already; who calls is of one customer"
                yield PolicyFault(f"{path}.principals", message)
        if customer.service_account is not None and not policies.can_impersonate:
            message = "is used with upstream.credentials: service_account only; leave one of them out"
            yield PolicyFault(f"{path}.service_account", message)


def _own_budget_faults(policies: Policies) -> Iterator[PolicyFault]:
    """Those of customers' own budgets, against their tiers; the others are looked at in budget_rules."""
    for name, budget in policies.budgets.items():
        if not budget.is_own:
            continue
        path = f"scoped_budgets.{name}"
        if budget.customer is not None and budget.customer != name:
            message = f"is about all queries of {budget.customer}; call it {budget.customer}, or say which part"
            yield PolicyFault(path, message)
            continue
        customer = policies.customers.get(name)
        if customer is None:
            message = f"there is no customer {name!r} whose limits these are; or say what it is about: customer and a"
            yield PolicyFault(path, f"{message} principal, project, workload or label, or deployment: true")
            continue
        tier_name = customer.tier or (policies.defaults.tier if policies.defaults else None)
        tier = policies.tiers.get(tier_name) if tier_name else None
        if tier is not None:  # an unknown tier is a fault of the customer's
            of_the_tier = set(_tier_faults(path, tier))  # told there, and once
            yield from (fault for fault in _tier_faults(path, with_budget(tier, budget)) if fault not in of_the_tier)
