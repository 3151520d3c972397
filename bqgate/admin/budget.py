"""Show a customer's budgets, and what a query of some cost would get.

Registered by routes; asks the BudgetStore and the present Directory. Nothing is held: the answer to a check is true at
`as_of`, and another query may take the room. A customer that nobody listed is one of the default tier, as everywhere.
"""

from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bqgate.admin.documents import answer_json, write_balance, write_moment
from bqgate.admin.parameters import Parameters, check_unlisted_customer, read_body
from bqgate.domain.budget import Balance
from bqgate.domain.decision import Decision, Forward, Reject, RejectReason, Throttle, decide, query_bound_nanos
from bqgate.domain.money import format_usd, parse_usd
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

    async def show(self, request: web.Request) -> web.Response:
        """GET /v1/customers/{customer}/budget."""
        Parameters(request)
        customer = self._customer_of(request)
        now = self._clock.now()
        balances = await self._budgets.fetch_balances(customer.windows(now))
        return answer_json(
            {
                "customer": customer.id,
                "tier": customer.tier.name,
                "mode": customer.mode.value,
                "time_zone": customer.zone.key,
                "windows": {balance.window.period.value: write_balance(balance) for balance in balances},
                "emergency_limit_usd": format_usd(customer.tier.emergency_nanos),
                "query_limit_usd": format_usd(query_bound_nanos(customer.tier)),
                "as_of": write_moment(now),
            }
        )

    async def check(self, request: web.Request) -> web.Response:
        """POST /v1/customers/{customer}/budget:check."""
        Parameters(request)
        customer = self._customer_of(request)
        cost_nanos = parse_usd((await read_body(request, BudgetCheck)).cost_usd)
        now = self._clock.now()
        balances = await self._budgets.fetch_balances(customer.windows(now))
        decision = foresee(customer, balances, cost_nanos)
        return answer_json(
            {
                "customer": customer.id,
                "cost_usd": format_usd(cost_nanos),
                **_write_decision(decision),
                "mode": customer.mode.value,
                "windows": {balance.window.period.value: write_balance(balance) for balance in balances},
                "as_of": write_moment(now),
            }
        )

    def _customer_of(self, request: web.Request) -> Customer:
        customer_id = request.match_info["customer"]
        if customer_id not in self._policies.directory.customers:
            check_unlisted_customer(customer_id)
        return self._policies.directory.customer(customer_id)


def foresee(customer: Customer, balances: tuple[Balance, ...], cost_nanos: int) -> Decision:
    """The decision that admission would take on a query whose hold is `cost_nanos`."""
    if customer.mode is Mode.OFF:
        return Forward()
    is_too_big = cost_nanos > query_bound_nanos(customer.tier)
    if is_too_big and customer.mode is Mode.ENFORCE:
        return Reject(RejectReason.QUERY_TOO_BIG, cost_nanos)
    is_placed = customer.mode is Mode.OBSERVE or all(balance.has_room_for(cost_nanos) for balance in balances)
    after = tuple(replace(balance, held_nanos=balance.held_nanos + cost_nanos) for balance in balances)
    return decide(
        balances=after if is_placed else balances,
        placed=is_placed,
        amount_nanos=cost_nanos,
        tier=customer.tier,
        mode=customer.mode,
    )


def _write_decision(decision: Decision) -> dict[str, Any]:
    match decision:
        case Forward(would_reject=would_reject):
            return {"decision": "forward", "would_reject": would_reject.value if would_reject else None}
        case Throttle(wait_ms=wait_ms):
            return {"decision": "throttle", "wait_ms": wait_ms}
        case Reject(reason=reason, balance=balance, suggestion=suggestion):
            return {
                "decision": "reject",
                "reason": reason.value,
                "refused_by": None if balance is None else balance.window.period.value,
                "suggestion": suggestion,
            }
