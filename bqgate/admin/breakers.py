"""Show which customers' cost breakers are open, and close one by hand.

Asks the BudgetStore; a reset is first told to the audit log, then remembered in the Ledger, then done in the store: no
money is let go without a record, and a store that is lost in between does not open the breaker again. What failed on
the way (503) is done by asking again, with a record more. A reset forgives nothing: limits and grace judge as they
stand.
"""

from datetime import datetime

from aiohttp import hdrs, web

from bqgate.admin.body import read_body
from bqgate.admin.budget_status import BreakerDocument, write_breaker
from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.events import EventMaker
from bqgate.admin.operation import Answered, Operation
from bqgate.admin.parameters import CUSTOMER_IN_PATH, Parameters, check_unlisted_customer
from bqgate.admin.problem import MEDIA_TYPE, Problem
from bqgate.admin.schemas import Document, MomentText, ProblemDocument
from bqgate.admin.schemas_keys import VoidBody
from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind, CostBreaker
from bqgate.domain.principal import Identity
from bqgate.domain.tier import Customer
from bqgate.ports import BudgetStore, Clock, Ledger, PolicySource, Registry


class OpenBreaker(Document):
    """A customer whose cost breaker is open."""

    customer: str
    breaker: BreakerDocument


class BreakerList(Document):
    """The cost breakers that are open, by customer."""

    breakers: tuple[OpenBreaker, ...]
    as_of: MomentText


class BreakerReset(Document):
    """A cost breaker that was closed."""

    customer: str
    breaker: BreakerDocument
    reset_at: MomentText
    reason: str


class BreakerViews:
    """The views of cost breakers."""

    def __init__(
        self,
        *,
        budgets: BudgetStore,
        ledger: Ledger,
        registry: Registry,
        policies: PolicySource,
        events: EventMaker,
        clock: Clock,
    ) -> None:
        self._budgets = budgets
        self._ledger = ledger
        self._registry = registry
        self._policies = policies
        self._events = events
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return (
            Operation(
                id="breakers.list",
                method=hdrs.METH_GET,
                path="/admin/v1/breakers",
                summary="Cost breakers that are open",
                tag="breakers",
                view=self.list_open,
                answers={200: Answered("The customers whose breaker is open.", BreakerList)},
            ),
            Operation(
                id="breakers.reset",
                method=hdrs.METH_POST,
                path="/admin/v1/breakers/{customer}:reset",
                summary="Close a customer's cost breaker",
                tag="breakers",
                view=self.reset,
                parameters=(CUSTOMER_IN_PATH,),
                body=VoidBody,
                answers={
                    200: Answered("It is closed.", BreakerReset),
                    404: Answered("It is not open.", ProblemDocument, MEDIA_TYPE),
                },
            ),
        )

    async def list_open(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/breakers."""
        Parameters(request)
        now, customer_registry = self._clock.now(), self._policies.customer_registry
        found = await self._budgets.fetch_breakers()
        breakers = tuple(
            OpenBreaker(customer=name, breaker=write_breaker(breaker, customer_registry.customer(name).tier, now))
            for name, breaker in sorted(found.items())
        )
        return answer_document(BreakerList(breakers=breakers, as_of=write_moment(now)))

    async def reset(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /admin/v1/breakers/{customer}:reset."""
        Parameters(request)
        body = await read_body(request, VoidBody)
        name, now = request.match_info["customer"], self._clock.now()
        if name not in self._policies.customer_registry.customers:
            check_unlisted_customer(name)
        customer = self._policies.customer_registry.customer(name)
        breaker = (await self._budgets.fetch_status(customer.windows(now))).breaker
        if breaker is None:
            raise Problem(404, f"The cost breaker of {name!r} is not open.", field="customer")
        before, after = (write_breaker(each, customer.tier, now) for each in (breaker, None))
        event = self._events.event(
            request,
            identity,
            "breaker.reset",
            f"breakers/{name}",
            customer=name,
            detail=body.reason,
            before=before.model_dump(mode="json"),
            after=after.model_dump(mode="json"),
        )
        await self._registry.append_audit((event,))
        await self._ledger.record_breaker_event(_reset_event(customer, breaker, now, identity.name))
        await self._budgets.reset_breaker(name)
        reset = BreakerReset(customer=name, breaker=after, reset_at=write_moment(now), reason=body.reason)
        return answer_document(reset)


def _reset_event(customer: Customer, breaker: CostBreaker, now: datetime, actor: str) -> BreakerEvent:
    """What the ledger remembers: after the trip, whose moment another gate's clock may have told."""
    (day,) = (window for window in customer.windows(now) if window.period is Period.DAY)
    at = max(now, breaker.opened_at)
    return BreakerEvent(customer.id, Period.DAY, day.key, at, BreakerEventKind.RESET, actor)
