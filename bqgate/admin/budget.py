"""Show a customer's budgets, and what a query of some cost would get.

Mounted by control_plane; asks the BudgetStore and the present CustomerRegistry. Nothing is held: the answer to a check
is true at `as_of`, and another query may take the room. A customer that nobody listed is one of the default tier.
"""

from dataclasses import replace
from datetime import datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bqgate.admin.body import read_body
from bqgate.admin.budget_status import (
    DEPLOYMENT,
    BudgetDocument,
    SubBudgetDocument,
    is_for,
    write_breaker,
    write_emergency,
    write_grace,
    write_increases,
    write_sub_budget,
)
from bqgate.admin.documents import answer_document, write_balance, write_moment
from bqgate.admin.guard import OWN_PRINCIPAL, challenge
from bqgate.admin.operation import Answered, Operation, Parameter, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_PATH, Parameters, check_unlisted_customer
from bqgate.admin.permissions import Reach, reach_of
from bqgate.admin.problem import MEDIA_TYPE, Problem
from bqgate.admin.schemas import (
    CheckDocument,
    CheckedBudget,
    ForwardedCheck,
    RejectedCheck,
    ThrottledCheck,
)
from bqgate.domain import shadow_evaluation
from bqgate.domain.budget import Balance
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, EACH, Spender
from bqgate.domain.cost_breaker import BudgetStatus, GracePolicy, assess
from bqgate.domain.decision import (
    Decision,
    Forward,
    Reject,
    Throttle,
    decide,
    tightest_bound,
)
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.money import format_usd, parse_usd
from bqgate.domain.principal import Identity
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Budget, Customer, Mode, windows_of
from bqgate.policies.values import Line
from bqgate.ports import BudgetStore, Clock, PolicySource

# Whom the query parameters name, by which a budget of each is narrowed.
_NOUNS = (("principal", "principal"), ("project_id", "project"), ("workload", "workload"))
_SPENDER_PARAMETERS = tuple(name for name, _ in _NOUNS)
_NAME_CHARS_MAX = 1_024
_NAME_SCHEMA = {"type": "string", "minLength": 1}  # no maxLength: all three at their longest are no URL

# Whoever may see the deployment's budget is told, too, when it would refuse.
_DEPLOYMENT = "deployment.show"


class BudgetCheck(BaseModel):
    """The body of budget:check: a cost in dollars, as text, and whose query it would be."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    cost_usd: str = Field(max_length=40)
    principal: Line = Field(
        default="", max_length=_NAME_CHARS_MAX, description="Who would ask; without it, nobody's own budget."
    )
    project_id: Line = Field(default="", max_length=_NAME_CHARS_MAX)
    workload: Line | None = Field(default=None, min_length=1, max_length=63)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)

    @field_validator("cost_usd")
    @classmethod
    def _is_amount(cls, text: str) -> str:
        parse_usd(text)
        return text


class BudgetViews:
    """The views of one customer's budgets."""

    def __init__(self, *, budgets: BudgetStore, policies: PolicySource, clock: Clock) -> None:
        self._budgets = budgets
        self._policies = policies
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return (
            Operation(
                "budget.show",
                "GET",
                "/v1/customers/{customer}/budget",
                "A customer's budgets as they stand",
                "budget",
                self.show,
                parameters=(
                    CUSTOMER_IN_PATH,
                    *(
                        Parameter(name, f"Show the budget that each {noun} has, of this one.", schema=_NAME_SCHEMA)
                        for name, noun in _NOUNS
                    ),
                ),
                answers={200: Answered("The budgets.", BudgetDocument)},
            ),
            Operation(
                _DEPLOYMENT,
                "GET",
                "/v1/deployment/budget",
                "The budget over all customers as it stands",
                "budget",
                self.show_deployment,
                answers={
                    200: Answered("The budget.", SubBudgetDocument),
                    404: Answered("There is none.", media_type=MEDIA_TYPE),
                },
            ),
            Operation(
                "budget.check",
                "POST",
                "/v1/customers/{customer}/budget:check",
                "The decision that a query of some cost would get; nothing is held",
                "budget",
                self.check,
                RateClass.BUDGET_CHECKS,
                parameters=(CUSTOMER_IN_PATH,),
                body=BudgetCheck,
                answers={200: Answered("The decision.", CheckDocument)},
            ),
        )

    async def show(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/customers/{customer}/budget."""
        parameters = Parameters(request, _SPENDER_PARAMETERS)
        customer = self._customer_of(request)
        now = self._clock.now()
        # One of each is shown as the asked one's where it is counted for that one: a budget of its name stands over it.
        counted_for = {budget.name: budget for budget in customer.budgets_over(_spender_of(parameters))[1:]}
        parts = [
            counted_for.get(budget.name, budget)
            for budget in customer.budgets
            if is_for(request.get(OWN_PRINCIPAL), budget)
        ]
        counted = [budget for budget in parts if budget.scope.value != EACH]
        windows = (*customer.windows(now), *windows_of(counted, now))
        budget_status, tier = await self._budgets.fetch_status(windows), customer.tier
        own = BudgetStatus(tuple(each for each in budget_status.balances if each.window.is_own), budget_status.breaker)
        bound = customer.own_budget.query_bound_at(now)
        return answer_document(
            BudgetDocument(
                customer=customer.id,
                listed=customer.id in self._policies.customer_registry.customers,
                tier=tier.name,
                mode=customer.mode,
                time_zone=customer.zone.key,
                windows={balance.window.period: write_balance(balance) for balance in own.balances},
                query_limit_usd=format_usd(bound or 0),
                emergency=write_emergency(own, customer.grace_at(now)),
                grace=write_grace(own, tier, now),
                breaker=write_breaker(budget_status.breaker, tier, now),
                raises=write_increases(customer.raises, now),
                budgets=tuple(write_sub_budget(budget, _of_scope(budget_status, budget), now) for budget in parts),
                as_of=write_moment(now),
            )
        )

    async def show_deployment(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/deployment/budget."""
        Parameters(request)
        deployment, now = self._policies.customer_registry.deployment, self._clock.now()
        if deployment is None:
            raise Problem(404, "The deployment has no budget; write one with deployment: true.")
        balances = await self._budgets.fetch_balances(deployment.windows(now))
        return answer_document(write_sub_budget(deployment, balances, now))

    async def check(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /v1/customers/{customer}/budget:check.

        Who may not see the deployment's budget is not told of it here: by asking often, it would learn what all others
        spend.
        """
        Parameters(request)
        customer = self._customer_of(request)
        asked = await read_body(request, BudgetCheck)
        cost_nanos = parse_usd(asked.cost_usd)
        now = self._clock.now()
        own = request.get(OWN_PRINCIPAL)
        if own is not None and asked.principal not in {"", own}:
            # By asking often, it would learn what a colleague spends.
            headers = challenge("insufficient_scope")
            raise Problem(403, f"You may ask for yourself only, as {own}.", headers=headers, field="principal")
        spender = Spender(asked.principal or own or "", asked.project_id, asked.workload, asked.labels)
        budgets = customer.budgets_over(spender)
        if reach_of(_DEPLOYMENT, identity.role) is Reach.ALL:
            budgets = self._policies.customer_registry.budgets_over(customer, spender)
        budget_status = await self._budgets.fetch_status(windows_of(budgets, now))
        checked = CheckedBudget(
            customer=customer.id,
            cost_usd=format_usd(cost_nanos),
            mode=customer.mode,
            windows={each.window.period: write_balance(each) for each in budget_status.balances if each.window.is_own},
            as_of=write_moment(now),
        )
        return answer_document(
            _write_check(checked, preview_decision(customer, budgets, budget_status, cost_nanos, now))
        )

    def _customer_of(self, request: web.Request) -> Customer:
        customer_id = request.match_info["customer"]
        if customer_id not in self._policies.customer_registry.customers:
            check_unlisted_customer(customer_id)
        return self._policies.customer_registry.customer(customer_id)


def preview_decision(
    customer: Customer, budgets: tuple[Budget, ...], budget_status: BudgetStatus, cost_nanos: int, now: datetime
) -> Decision:
    """The decision that admission would take on a query whose hold is `cost_nanos`."""
    if customer.mode is Mode.OFF:
        return Forward()
    bound = tightest_bound(budgets, Mode.ENFORCE, now)
    if bound is not None and cost_nanos > bound[1]:
        return Reject(RejectReason.QUERY_TOO_BIG, cost_nanos, budget=bound[0], bound_nanos=bound[1])
    grace, wait_ms = customer.grace_at(now), customer.tier.throttle_wait_ms
    placement = preview_placement(budget_status, grace, cost_nanos, now)
    decision = decide(placement, amount_nanos=cost_nanos, grace=grace, wait_ms=wait_ms)
    if not isinstance(decision, Forward) or all(budget.mode is Mode.ENFORCE for budget in budgets):
        return decision
    shadow_decision = shadow_evaluation.shadow_decide(
        placement, decision, amount_nanos=cost_nanos, grace=grace, wait_ms=wait_ms, budgets=budgets, now=now
    )
    reason = None if shadow_decision is None else shadow_decision.reason
    return Forward(None if reason is None else RejectReason(reason))


def preview_placement(budget_status: BudgetStatus, grace: GracePolicy, cost_nanos: int, now: datetime) -> Placement:
    """What a BudgetStore would answer to a hold of that cost."""
    balances = budget_status.balances
    verdict = assess(balances, budget_status.breaker, grace, hold_id="", amount_nanos=cost_nanos, now=now)
    if verdict.refuses:
        return Placement(PlacementOutcome.REFUSED, None, balances, verdict.refusal, verdict.breaker)
    after = tuple(replace(balance, held_nanos=balance.held_nanos + cost_nanos) for balance in balances)
    return Placement(
        PlacementOutcome.PLACED, "", after, verdict.refusal, verdict.breaker, grace_ends_at=verdict.grace_ends_at
    )


def _spender_of(parameters: Parameters) -> Spender:
    return Spender(
        principal=parameters.principal() or "",
        project_id=parameters.printable("project_id", chars_max=_NAME_CHARS_MAX) or "",
        workload=parameters.printable("workload", chars_max=_NAME_CHARS_MAX),
    )


def _of_scope(budget_status: BudgetStatus, budget: Budget) -> tuple[Balance, ...]:
    return tuple(balance for balance in budget_status.balances if balance.window.scope == budget.scope)


def _write_check(checked: CheckedBudget, decision: Decision) -> CheckedBudget:
    about = dict(checked)
    match decision:
        case Forward(would_reject=would_reject):
            return ForwardedCheck(**about, would_reject=would_reject)
        case Throttle(wait_ms=wait_ms):
            return ThrottledCheck(**about, wait_ms=wait_ms)
        case Reject(reason=reason, balance=balance, suggestion=suggestion, budget=budget):
            return RejectedCheck(
                **about,
                reason=reason,
                refused_by=None if balance is None else balance.window.period,
                budget=_about(balance, budget),
                suggestion=suggestion,
            )


def _about(balance: Balance | None, budget: Budget | None) -> str | None:
    """What the budget is about that refused."""
    if balance is not None:
        account, scope = balance.window.customer, balance.window.scope
    elif budget is not None:
        account, scope = budget.account, budget.scope
    else:
        return None
    return DEPLOYMENT if account == DEPLOYMENT_ACCOUNT else str(scope)
