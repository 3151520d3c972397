"""Show a customer's budgets, and what a query of some cost would get.

Mounted by control_plane; asks the BudgetStore and the present Directory. Nothing is held: the answer to a check is true
at `as_of`, and another query may take the room. A customer that nobody listed is one of the default tier.
"""

from dataclasses import replace
from datetime import datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bqgate.admin.body import read_body
from bqgate.admin.documents import answer_document, write_balance, write_moment
from bqgate.admin.operation import Answered, Operation, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_PATH, Parameters, check_unlisted_customer
from bqgate.admin.schemas import (
    CheckDocument,
    CheckedBudget,
    ForwardedCheck,
    RejectedCheck,
    ThrottledCheck,
)
from bqgate.admin.standing import BudgetDocument, write_breaker, write_emergency, write_grace
from bqgate.domain.cost_breaker import Standing, Terms, judge
from bqgate.domain.decision import Decision, Forward, Reject, RejectReason, Throttle, decide, query_bound_nanos
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.money import format_usd, parse_usd
from bqgate.domain.principal import Identity
from bqgate.domain.tier import Customer, Mode
from bqgate.ports import BudgetStore, Clock, PolicySource


class BudgetCheck(BaseModel):
    """The body of budget:check: a cost in dollars, as text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cost_usd: str = Field(max_length=40)

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
                parameters=(CUSTOMER_IN_PATH,),
                answers={200: Answered("The budgets.", BudgetDocument)},
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
        Parameters(request)
        customer = self._customer_of(request)
        now = self._clock.now()
        standing, tier = await self._budgets.fetch_standing(customer.windows(now)), customer.tier
        return answer_document(
            BudgetDocument(
                customer=customer.id,
                tier=tier.name,
                mode=customer.mode,
                time_zone=customer.zone.key,
                windows={balance.window.period: write_balance(balance) for balance in standing.balances},
                query_limit_usd=format_usd(query_bound_nanos(tier)),
                emergency=write_emergency(standing, tier),
                grace=write_grace(standing, tier, now),
                breaker=write_breaker(standing.breaker, tier, now),
                as_of=write_moment(now),
            )
        )

    async def check(self, request: web.Request, _identity: Identity) -> web.Response:
        """POST /v1/customers/{customer}/budget:check."""
        Parameters(request)
        customer = self._customer_of(request)
        cost_nanos = parse_usd((await read_body(request, BudgetCheck)).cost_usd)
        now = self._clock.now()
        standing = await self._budgets.fetch_standing(customer.windows(now))
        checked = CheckedBudget(
            customer=customer.id,
            cost_usd=format_usd(cost_nanos),
            mode=customer.mode,
            windows={balance.window.period: write_balance(balance) for balance in standing.balances},
            as_of=write_moment(now),
        )
        return answer_document(_write_check(checked, foresee(customer, standing, cost_nanos, now)))

    def _customer_of(self, request: web.Request) -> Customer:
        customer_id = request.match_info["customer"]
        if customer_id not in self._policies.directory.customers:
            check_unlisted_customer(customer_id)
        return self._policies.directory.customer(customer_id)


def foresee(customer: Customer, standing: Standing, cost_nanos: int, now: datetime) -> Decision:
    """The decision that admission would take on a query whose hold is `cost_nanos`."""
    if customer.mode is Mode.OFF:
        return Forward()
    is_too_big = cost_nanos > query_bound_nanos(customer.tier)
    if is_too_big and customer.mode is Mode.ENFORCE:
        return Reject(RejectReason.QUERY_TOO_BIG, cost_nanos)
    placement = foresee_placement(standing, customer.terms, cost_nanos, now)
    return decide(placement, amount_nanos=cost_nanos, tier=customer.tier, mode=customer.mode)


def foresee_placement(standing: Standing, terms: Terms, cost_nanos: int, now: datetime) -> Placement:
    """What a BudgetStore would answer to a hold of that cost."""
    balances = standing.balances
    verdict = judge(balances, standing.breaker, terms, hold_id="", amount_nanos=cost_nanos, now=now)
    if verdict.refusal is not None and not terms.is_observed:
        return Placement(PlacementOutcome.REFUSED, None, balances, verdict.refusal, verdict.breaker)
    after = tuple(replace(balance, held_nanos=balance.held_nanos + cost_nanos) for balance in balances)
    return Placement(
        PlacementOutcome.PLACED, "", after, verdict.refusal, verdict.breaker, grace_ends_at=verdict.grace_ends_at
    )


def _write_check(checked: CheckedBudget, decision: Decision) -> CheckedBudget:
    about = dict(checked)
    match decision:
        case Forward(would_reject=would_reject):
            return ForwardedCheck(**about, would_reject=would_reject)
        case Throttle(wait_ms=wait_ms):
            return ThrottledCheck(**about, wait_ms=wait_ms)
        case Reject(reason=reason, balance=balance, suggestion=suggestion):
            refused_by = None if balance is None else balance.window.period
            return RejectedCheck(**about, reason=reason, refused_by=refused_by, suggestion=suggestion)
