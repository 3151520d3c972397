"""Make the rules that hold of what the settings say and what admins changed: documents in, PolicySnapshot out.

Called by settings (without items) and by book (with the Registry's). Pure. An item stands in for the settings' entity
of its name, whole; a customer's budget goes over the limits of its tier. PolicyFaults leaves it when the whole
contradicts itself, with every reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from bqgate.domain.policy import PRICING_NAME, PolicyItem, PolicyKind, PolicySnapshot
from bqgate.domain.throttling import Slowdown, Throttling
from bqgate.domain.tier import Customer, CustomerRegistry, Threshold, Tier, weaker
from bqgate.policies.budget_models import BudgetPolicy, Policy
from bqgate.policies.budgets import deployment_of, increases_of, parts_of, rollover_of, schedules_of
from bqgate.policies.faults import PolicyFault, PolicyFaults
from bqgate.policies.messages import message_of
from bqgate.policies.models import MODELS, CustomerPolicy, DefaultsPolicy, PricingPolicy, TierPolicy, keys_around
from bqgate.policies.prices import PriceTables, price_list
from bqgate.policies.rules import Policies, faults_of, with_budget

PolicyT = TypeVar("PolicyT", bound=Policy)

_S_PER_MINUTE = 60

_SECTIONS = {
    PolicyKind.TIER: "tiers",
    PolicyKind.CUSTOMER: "customers",
    PolicyKind.BUDGET: "scoped_budgets",
    PolicyKind.PRICING: "pricing",
}


@dataclass(frozen=True, slots=True)
class SettingsPolicies:
    """What the settings say, which holds where no admin said otherwise.

    `can_impersonate`: upstream.credentials are the gate's own, so that customers may have a service_account.
    """

    tiers: Mapping[str, TierPolicy]
    customers: Mapping[str, CustomerPolicy]
    pricing: PricingPolicy
    defaults: DefaultsPolicy
    price_tables: PriceTables
    budgets: Mapping[str, BudgetPolicy] = field(default_factory=dict)
    shared_projects: frozenset[str] = frozenset()
    can_impersonate: bool = False

    def of_kind(self, kind: PolicyKind) -> Mapping[str, Policy]:
        """The settings' policies of a kind by name."""
        match kind:
            case PolicyKind.TIER:
                return self.tiers
            case PolicyKind.CUSTOMER:
                return self.customers
            case PolicyKind.PRICING:
                return {PRICING_NAME: self.pricing}
            case PolicyKind.BUDGET:
                return self.budgets


@dataclass(frozen=True, slots=True)
class Written:
    """What an admin wrote, read."""

    item: PolicyItem
    policy: Policy


def read_items(items: Sequence[PolicyItem]) -> tuple[tuple[Written, ...], tuple[PolicyFault, ...]]:
    """What admins wrote; and what is wrong with documents that are none of this version's."""
    written: list[Written] = []
    faults: list[PolicyFault] = []
    for item in items:
        try:
            written.append(Written(item, MODELS[item.kind].model_validate(dict(item.document))))
        except ValidationError as invalid:
            faults.extend(document_faults(item.kind, item.name, invalid))
    return tuple(written), tuple(faults)


def compose(base: SettingsPolicies, items: Sequence[PolicyItem]) -> PolicySnapshot:
    """The rules that hold.

    Args:
        base: what the settings say.
        items: what admins wrote; of each kind and name at most one.

    Raises:
        PolicyFaults: an item is no such document, or the whole contradicts itself.
    """
    written, unreadable = read_items(items)
    if unreadable:
        raise PolicyFaults(unreadable)
    given: dict[PolicyKind, dict[str, Policy]] = {kind: {} for kind in PolicyKind}
    for each in written:
        given[each.item.kind][each.item.name] = each.policy
    tiers = {**base.tiers, **_only(TierPolicy, given[PolicyKind.TIER])}
    customers = {**base.customers, **_only(CustomerPolicy, given[PolicyKind.CUSTOMER])}
    budgets = {**base.budgets, **_only(BudgetPolicy, given[PolicyKind.BUDGET])}
    pricing = _only(PricingPolicy, given[PolicyKind.PRICING]).get(PRICING_NAME, base.pricing)
    faults = list(
        faults_of(
            Policies(
                tiers=tiers,
                customers=customers,
                pricing=pricing,
                defaults=base.defaults,
                tier_names=tiers.keys(),
                shared_projects=base.shared_projects,
                can_impersonate=base.can_impersonate,
                budgets=budgets,
            )
        )
    )
    if faults:
        raise PolicyFaults(faults)
    return PolicySnapshot(_customer_registry(base, tiers, customers, budgets), price_list(pricing, base.price_tables))


def path_of(kind: PolicyKind, name: str) -> str:
    """Where a policy stands, as faults name it: tiers.gold, customers.acme, scoped_budgets.acme, pricing."""
    return _SECTIONS[kind] if kind is PolicyKind.PRICING else f"{_SECTIONS[kind]}.{name}"


def document_faults(kind: PolicyKind, name: str, invalid: ValidationError) -> list[PolicyFault]:
    """What is wrong with a document by itself, each with the path of its key."""
    faults = []
    for error in invalid.errors(include_url=False):
        where = ".".join([path_of(kind, name), *(str(part) for part in error["loc"])])
        faults.append(PolicyFault(where, message_of(error, keys_around(MODELS[kind], error["loc"]))))
    return faults


def _only(model: type[PolicyT], policies: Mapping[str, Policy]) -> dict[str, PolicyT]:
    return {name: policy for name, policy in policies.items() if isinstance(policy, model)}


def _customer_registry(
    base: SettingsPolicies,
    tiers: Mapping[str, TierPolicy],
    customers: Mapping[str, CustomerPolicy],
    budgets: Mapping[str, BudgetPolicy],
) -> CustomerRegistry:
    defaults = base.defaults
    shared = {name: _tier(name, tier) for name, tier in tiers.items()}
    own = {name: budget for name, budget in budgets.items() if budget.is_own}

    def tier_of(name: str, customer: CustomerPolicy) -> Tier:
        tier_name = customer.tier or defaults.tier
        return _tier(tier_name, with_budget(tiers[tier_name], own[name])) if name in own else shared[tier_name]

    def customer_of(name: str, policy: CustomerPolicy) -> Customer:
        mode = weaker(policy.mode or defaults.mode, defaults.deployment_mode)
        return Customer(
            id=name,
            tier=tier_of(name, policy),
            mode=mode,
            zone=policy.time_zone,
            projects=policy.projects,
            data=policy.data,
            account=policy.service_account,
            reservations=policy.reservations,
            raises=increases_of(own[name]) if name in own else (),
            budgets=parts_of(name, mode, policy.time_zone, budgets, deployment_mode=defaults.deployment_mode),
        )

    return CustomerRegistry(
        customers={name: customer_of(name, customer) for name, customer in customers.items()},
        customer_by_project={project: name for name, customer in customers.items() for project in customer.projects},
        default_tier=shared[defaults.tier],
        default_mode=weaker(defaults.mode, defaults.deployment_mode),
        customer_by_email={email: name for name, customer in customers.items() for email in customer.principals},
        shared_projects=base.shared_projects,
        deployment=deployment_of(budgets, deployment_mode=defaults.deployment_mode),
    )


def _throttling(policy: TierPolicy) -> Throttling:
    return Throttling(
        customer_concurrency_max=policy.customer_concurrency_max,
        principal_concurrency_max=policy.principal_concurrency_max,
        priority=policy.priority,
        priority_by_workload=policy.workload_priorities,
        slowdown=Slowdown(
            to_batch=policy.throttle_to_batch,
            max_slots=policy.throttle_max_slots,
            job_timeout_ms=policy.throttle_job_timeout_ms,
        ),
    )


def _tier(name: str, policy: TierPolicy) -> Tier:
    return Tier(
        name=name,
        daily_nanos=policy.daily_usd.nanos,
        monthly_nanos=policy.monthly_usd.nanos,
        emergency_nanos=policy.emergency_usd.nanos,
        query_nanos=policy.query_usd.nanos if policy.query_usd else None,
        throttle_wait_ms=policy.throttle_wait_ms,
        thresholds=tuple(Threshold(each.used_ratio.ppm, each.action) for each in policy.thresholds),
        throttling=_throttling(policy),
        grace_s=policy.grace_minutes * _S_PER_MINUTE,
        breaker_cooldown_s=policy.breaker_cooldown_minutes * _S_PER_MINUTE,
        cancels_in_emergency=policy.cancel_in_emergency,
        schedules=schedules_of(policy.schedules),
        rollover_nanos=rollover_of(policy),
    )
