"""Show all budgets as they stand: limits in force, what is spent and held, and what is raised.

Mounted by control_plane; asks the BudgetStore, a customer at a time, and the present CustomerRegistry. In pages of
customers, by id; the deployment's budget comes last, to those who may see it. A customer that nobody listed is shown
where it is asked for, or where the caller is bound to it, and says that it is not listed.
"""

from datetime import datetime

from aiohttp import web
from pydantic import Field

from bqgate.admin.budget_status import SubBudgetDocument, is_for, write_sub_budget
from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.guard import OWN_PRINCIPAL
from bqgate.admin.operation import Answered, Operation, Parameter
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters, check_unlisted_customer
from bqgate.admin.permissions import Reach, reach_of
from bqgate.admin.schemas import Document, MomentText, UsdText
from bqgate.domain.budget import Balance, Period
from bqgate.domain.budget_scope import EACH
from bqgate.domain.money import format_usd
from bqgate.domain.principal import Identity
from bqgate.domain.tier import Budget, Customer, windows_of
from bqgate.ports import BudgetStore, Clock, PolicySource

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000

_SEES_DEPLOYMENT = "deployment.show"


class ListedBudget(SubBudgetDocument):
    """One budget as it stands."""

    customer: str | None = Field(description="Whose; null: the deployment's.")
    listed: bool = Field(description="false: nobody listed this customer, so it has the default tier's limits.")
    tier: str | None
    daily_limit_usd: UsdText | None = Field(description="The day's limit now; of one of each (*), that of each.")
    monthly_limit_usd: UsdText | None


class BudgetStatusList(Document):
    """A page of budgets by customer, each customer's own first; without a token it is the last."""

    budgets: tuple[ListedBudget, ...]
    next_page_token: str | None
    as_of: MomentText


class BudgetListViews:
    """The view of all budgets."""

    def __init__(self, *, budgets: BudgetStore, policies: PolicySource, clock: Clock) -> None:
        self._budgets = budgets
        self._policies = policies
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        page_size = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE}
        return (
            Operation(
                "budgets.standing",
                "GET",
                "/v1/budgets",
                "All budgets as they stand, by customer",
                "budget",
                self.list_status,
                parameters=(
                    CUSTOMER_IN_QUERY,
                    Parameter("page_token", "next_page_token of the page before."),
                    Parameter("page_size", "How many customers at most.", schema=page_size),
                ),
                answers={200: Answered("A page of budgets.", BudgetStatusList)},
            ),
        )

    async def list_status(self, request: web.Request, identity: Identity) -> web.Response:
        """GET /v1/budgets."""
        parameters = Parameters(request, ("customer", "page_token", "page_size"))
        asked, after = parameters.customer(), parameters.printable("page_token", chars_max=128)
        size = parameters.integer("page_size", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE_MAX)
        customer_registry, now = self._policies.customer_registry, self._clock.now()
        if asked is not None and asked not in customer_registry.customers:
            check_unlisted_customer(asked)
        names = [asked] if asked is not None else sorted(customer_registry.customers)
        names = [name for name in names if after is None or name > after]
        found: list[ListedBudget] = []
        for name in names[:size]:
            found += await self._budget_status(
                customer_registry.customer(name),
                now,
                is_listed=name in customer_registry.customers,
                principal=request.get(OWN_PRINCIPAL),
            )
        is_last = len(names) <= size
        deployment = customer_registry.deployment
        if is_last and asked is None and deployment is not None and _may_see_deployment(identity):
            balances = await self._budgets.fetch_balances(deployment.windows(now))
            found.append(_write(deployment, balances, now, customer=None))
        token = None if is_last else names[size - 1]
        return answer_document(BudgetStatusList(budgets=tuple(found), next_page_token=token, as_of=write_moment(now)))

    async def _budget_status(
        self, customer: Customer, now: datetime, *, is_listed: bool, principal: str | None
    ) -> list[ListedBudget]:
        budgets = [budget for budget in (customer.own_budget, *customer.budgets) if is_for(principal, budget)]
        counted = [budget for budget in budgets if budget.scope.value != EACH]
        balances = (await self._budgets.fetch_status(windows_of(counted, now))).balances
        return [
            _write(
                budget,
                tuple(each for each in balances if each.window.scope == budget.scope),
                now,
                customer=customer,
                is_listed=is_listed,
            )
            for budget in budgets
        ]


def _may_see_deployment(identity: Identity) -> bool:
    return reach_of(_SEES_DEPLOYMENT, identity.role) is Reach.ALL


def _write(
    budget: Budget, balances: tuple[Balance, ...], now: datetime, *, customer: Customer | None, is_listed: bool = True
) -> ListedBudget:
    limits = dict(budget.plan.limits_at(now, budget.zone).by_period())
    # With what was carried over, where the store knows it.
    limits |= {balance.window.period: balance.limit_nanos for balance in balances}
    return ListedBudget(
        **dict(write_sub_budget(budget, balances, now)),
        customer=None if customer is None else customer.id,
        listed=is_listed,
        tier=None if customer is None else customer.tier.name,
        daily_limit_usd=_usd(limits[Period.DAY]),
        monthly_limit_usd=_usd(limits[Period.MONTH]),
    )


def _usd(nanos: int | None) -> str | None:
    return None if nanos is None else format_usd(nanos)
