"""Raise a budget for a while: an amount on top of its limits, until when, why, and by whom.

Mounted by control_plane's views; asks the PolicyEditor, which writes the raise into the budget's document with its
audit record. It holds for the next query on every replica within two seconds, and ends by itself: the clock is all that
ends it. Raises that have ended are left out of the document with the next one. A raise adds, so it needs no If-Match.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import hdrs, web
from pydantic import Field, ValidationError

from bqgate.admin.body import read_body, refuse_fields
from bqgate.admin.documents import answer_document
from bqgate.admin.events import EventMaker
from bqgate.admin.operation import Answered, Operation, Parameter, Place
from bqgate.admin.parameters import Parameters
from bqgate.admin.policies import customer_of, shown_policy
from bqgate.admin.policy_schemas import RESOURCES
from bqgate.admin.problem import MEDIA_TYPE, FieldFault, Problem
from bqgate.domain.errors import VersionConflict
from bqgate.domain.policy import PolicyKind
from bqgate.domain.principal import Identity
from bqgate.policies.budget_models import BudgetPolicy, RaisePolicy, Raising
from bqgate.policies.editor import EventOf, PolicyEditor, PolicyView
from bqgate.policies.faults import PolicyFaults
from bqgate.policies.values import Line, Moment
from bqgate.ports import Clock, PolicySource

# Nobody means a raise of years; that is a limit.
RAISE_MAX = timedelta(days=366)
_TRIES_MAX = 3


class RaiseBody(Raising):
    """What is put on top, until when, and why."""

    until: Moment = Field(description="When it ends; a year from now at most.")
    reason: Line = Field(min_length=1, max_length=500, description="Why; the audit log keeps it.")


@dataclass(frozen=True, slots=True)
class RaiseViews:
    """The view that raises a budget."""

    editor: PolicyEditor
    policies: PolicySource
    events: EventMaker
    clock: Clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        resource = RESOURCES[PolicyKind.BUDGET]
        return (
            Operation(
                "budgets.raise",
                hdrs.METH_POST,
                "/admin/v1/budgets/{name}:raise",
                "Put an amount on top of a budget's limits for a while",
                resource.plural,
                self.raise_budget,
                parameters=(Parameter("name", "A budget's name, or a customer's.", Place.PATH),),
                body=RaiseBody,
                answers={
                    200: Answered("The budget with the raise.", resource.shown, headers={"ETag": "Its version."}),
                    404: Answered("There is neither such a budget nor such a customer.", media_type=MEDIA_TYPE),
                    409: Answered("It contradicts what else holds, or is changed all the time.", media_type=MEDIA_TYPE),
                },
            ),
        )

    async def raise_budget(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /admin/v1/budgets/{name}:raise."""
        Parameters(request)
        name = request.match_info["name"]
        body = await read_body(request, RaiseBody)
        now = self.clock.now()
        if not now < body.until <= now + RAISE_MAX:
            raise Problem(400, f"until is not in the {RAISE_MAX.days} days from now.", field="until")
        raised = RaisePolicy(**dict(body), by=identity.name[:320])
        for _ in range(_TRIES_MAX):
            view = self.editor.view_one(PolicyKind.BUDGET, name)
            document = self._with_raise(name, view, raised, now)
            _check_limits(document, raised)
            event_of = self._event_of(request, identity, name, document, body.reason)
            try:
                changed = await self.editor.put(
                    PolicyKind.BUDGET, name, document, etag=None if view is None else view.etag, event=event_of
                )
            except VersionConflict:
                continue
            except PolicyFaults as faults:
                refuse_fields([FieldFault(fault.path, fault.message) for fault in faults.faults], status=409)
            resource = RESOURCES[PolicyKind.BUDGET]
            shown = resource.shown.model_validate(shown_policy(resource, changed))
            return answer_document(shown, headers={hdrs.ETAG: changed.etag})
        raise Problem(409, "It is being changed by others all the time; try again.")

    def _with_raise(self, name: str, view: PolicyView | None, raised: RaisePolicy, now: datetime) -> BudgetPolicy:
        if view is None and name not in self.policies.directory.customers:
            raise Problem(404, f"There is neither a budget nor a customer {name[:128]!r}.", field="name")
        before = view.document.model_dump() if view is not None else {}
        running = [each for each in before.get("raises", ()) if now < each["until"]]
        try:
            return BudgetPolicy.model_validate({**before, "raises": (*running, raised.model_dump())})
        except ValidationError:
            raise Problem(409, f"It is raised {len(running)} times already; wait until one has ended.") from None

    def _event_of(
        self, request: web.Request, identity: Identity, name: str, document: BudgetPolicy, reason: str
    ) -> EventOf:
        customer = customer_of(PolicyKind.BUDGET, name, document.model_dump())
        return lambda before, after: self.events.event(
            request,
            identity,
            "budget.raised",
            f"budgets/{name}",
            customer=customer,
            detail=reason,
            before=before,
            after=after,
        )


def _check_limits(document: BudgetPolicy, raised: RaisePolicy) -> None:
    """Refuse to raise what is not there: it would change nothing. A customer's own budget has its tier's limits.

    Raises:
        Problem: the budget has no such limit, at no time.
    """
    for key in ("daily_usd", "monthly_usd"):
        says = [getattr(each, key) for each in (document, *(document.schedules or ()))]
        if getattr(raised, key) is not None and not document.is_own and not any(says):
            raise Problem(409, f"This budget has no {key} that could be raised.", field=key)
