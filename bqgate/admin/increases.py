"""Raise a budget for a while, list what is raised, and end a raise before its time.

Mounted by control_plane's views; asks the PolicyEditor, which writes raises into the budget's document with an audit
record. A change holds for the next query on every replica within two seconds. A raise ends by itself, or by an admin;
those that are over are left out of the document with the next one. A raise adds, so it needs no If-Match; posted again
while it runs it is the same raise (policies.increases), so that a retry or a second click adds nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import hdrs, web
from pydantic import Field, ValidationError, create_model

from bqgate.admin.body import read_body, refuse_fields
from bqgate.admin.budget_status import IncreaseDocument, write_increases
from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.events import EventMaker
from bqgate.admin.operation import Answered, Operation, Parameter, Place
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters
from bqgate.admin.policies import customer_of, shown_policy
from bqgate.admin.policy_schemas import RESOURCES
from bqgate.admin.problem import MEDIA_TYPE, FieldFault, Problem
from bqgate.admin.schemas import Document, MomentText
from bqgate.admin.schemas_keys import VoidBody
from bqgate.domain.errors import VersionConflict
from bqgate.domain.limits import TemporaryIncrease
from bqgate.domain.policy import PolicyKind
from bqgate.domain.principal import Identity
from bqgate.policies.budget_models import INCREASES_MAX, BudgetPolicy, IncreasePolicy, Raising
from bqgate.policies.budgets import increases_of
from bqgate.policies.editor import EventOf, PolicyEditor, PolicyView
from bqgate.policies.faults import PolicyFaults
from bqgate.policies.increases import end_of, find_repeated, increase_ids, remembered, running
from bqgate.policies.values import Line, Moment
from bqgate.ports import Clock, PolicySource

# Nobody means a raise of years; that is a limit.
INCREASE_MAX = timedelta(days=366)
_TRIES_MAX = 3
_NAME = Parameter("name", "A budget's name, or a customer's.", Place.PATH)
_BUSY = "It is being changed by others all the time; try again."


class IncreaseBody(Raising):
    """What is put on top, until when, and why."""

    until: Moment = Field(description="When it ends; a year from now at most.")
    reason: Line = Field(min_length=1, max_length=500, description="Why; the audit log keeps it.")


class ListedIncrease(IncreaseDocument):
    """A raise that runs, and on top of which budget."""

    budget: str
    customer: str | None = Field(description="Whose budget it is; null: the deployment's.")


class IncreaseList(Document):
    """The raises that run, the next to end first."""

    raises: tuple[ListedIncrease, ...]
    as_of: MomentText


class IncreaseEnded(Document):
    """A raise that was ended before its time."""

    budget: str
    id: str
    ended_at: MomentText
    reason: str


IncreasedBudget = create_model(
    "IncreasedBudget",
    __base__=RESOURCES[PolicyKind.BUDGET].shown,
    __doc__="A budget with the raise that was put on top of it.",
    raised=(IncreaseDocument, Field(description="The raise, with the id by which it can be ended.")),
)


@dataclass(frozen=True, slots=True)
class IncreaseViews:
    """The views of raises."""

    editor: PolicyEditor
    policies: PolicySource
    events: EventMaker
    clock: Clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        tag, etag = RESOURCES[PolicyKind.BUDGET].plural, {"ETag": "The budget's version."}
        raise_id = Parameter("raise_id", "The raise's id.", Place.PATH)
        return (
            Operation(
                "budgets.raise",
                hdrs.METH_POST,
                "/admin/v1/budgets/{name}:raise",
                "Put an amount on top of a budget's limits for a while",
                tag,
                self.raise_budget,
                parameters=(_NAME,),
                body=IncreaseBody,
                answers={
                    200: Answered("This raise runs already; nothing was added.", IncreasedBudget, headers=etag),
                    201: Answered("The budget with the raise.", IncreasedBudget, headers=etag),
                    404: Answered("There is neither such a budget nor such a customer.", media_type=MEDIA_TYPE),
                    409: Answered("It contradicts what else holds, or is changed all the time.", media_type=MEDIA_TYPE),
                },
            ),
            Operation(
                "raises.list",
                hdrs.METH_GET,
                "/admin/v1/raises",
                "The raises that run",
                tag,
                self.list_running,
                parameters=(CUSTOMER_IN_QUERY, Parameter("budget", "Of the budget of this name only.")),
                answers={200: Answered("The raises.", IncreaseList)},
            ),
            Operation(
                "raises.end",
                hdrs.METH_POST,
                "/admin/v1/budgets/{name}/raises/{raise_id}:end",
                "End a raise now",
                tag,
                self.end,
                parameters=(_NAME, raise_id),
                body=VoidBody,
                answers={
                    200: Answered("It has ended.", IncreaseEnded, headers=etag),
                    404: Answered("There is no such raise.", media_type=MEDIA_TYPE),
                    409: Answered("It is over already, or is changed all the time.", media_type=MEDIA_TYPE),
                },
            ),
        )

    async def raise_budget(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /admin/v1/budgets/{name}:raise."""
        Parameters(request)
        name = request.match_info["name"]
        body = await read_body(request, IncreaseBody)
        now = self.clock.now()
        if not now < body.until <= now + INCREASE_MAX:
            raise Problem(400, f"until is not in the {INCREASE_MAX.days} days from now.", field="until")
        raised = IncreasePolicy(**dict(body), by=identity.name[:320])
        repeated: list[IncreasePolicy] = []

        def change(view: PolicyView | None) -> BudgetPolicy | None:
            repeated[:] = _repeated(raised, view, now)
            if repeated:
                return None
            document = self._with_increase(name, view, raised, now)
            _check_limits(document, raised)
            return document

        event_of = self._event_of(request, identity, name, "budget.raised", body.reason)
        view = await self._changed(name, change, event_of)
        resource = RESOURCES[PolicyKind.BUDGET]
        told = _find_increase(view, repeated[0] if repeated else raised)
        shown = IncreasedBudget.model_validate(
            {**shown_policy(resource, view), "raised": write_increases((told,), now)[0].model_dump()}
        )
        return answer_document(shown, status=200 if repeated else 201, headers={hdrs.ETAG: view.etag})

    async def list_running(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/raises."""
        parameters = Parameters(request, ("customer", "budget"))
        wanted, budget, now = parameters.customer(), parameters.text("budget"), self.clock.now()
        found = []
        for view in self.editor.view(PolicyKind.BUDGET):
            policy = _policy_of(view)
            customer = customer_of(PolicyKind.BUDGET, view.name, policy.model_dump())
            if budget in {None, view.name} and wanted in {None, customer}:
                found += [
                    ListedIncrease(budget=view.name, customer=customer, **each.model_dump())
                    for each in write_increases(increases_of(policy), now)
                ]
        found.sort(key=lambda each: (each.until, each.budget, each.id))
        return answer_document(IncreaseList(raises=tuple(found), as_of=write_moment(now)))

    async def end(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /admin/v1/budgets/{name}/raises/{raise_id}:end."""
        Parameters(request)
        name, raise_id = request.match_info["name"], request.match_info["raise_id"]
        body = await read_body(request, VoidBody)
        now = self.clock.now()

        def change(view: PolicyView | None) -> BudgetPolicy:
            raises = () if view is None else _policy_of(view).raises
            places = {each: place for place, each in enumerate(increase_ids(raises))}
            if view is None or raise_id not in places:
                detail = (
                    f"Budget {name[:128]!r} has no raise {raise_id[:64]!r}: there was none, or it was over and is "
                    "forgotten. GET /admin/v1/raises lists those that run."
                )
                raise Problem(404, detail, field="raise_id")
            ended = raises[places[raise_id]]
            if end_of(ended) <= now:
                by = f", ended by {ended.ended_by}" if ended.ended_at is not None else ""
                raise Problem(409, f"This raise is over since {write_moment(end_of(ended))}{by}.", field="raise_id")
            changed = [each.model_dump() for each in raises]
            changed[places[raise_id]] |= {"ended_at": now, "ended_by": identity.name[:320]}
            return BudgetPolicy.model_validate({**view.document.model_dump(), "raises": changed})

        detail = f"{raise_id}: {body.reason}"
        view = await self._changed(name, change, self._event_of(request, identity, name, "budget.raise_ended", detail))
        ended = IncreaseEnded(budget=name, id=raise_id, ended_at=write_moment(now), reason=body.reason)
        return answer_document(ended, headers={hdrs.ETAG: view.etag})

    async def _changed(
        self, name: str, change: Callable[[PolicyView | None], BudgetPolicy | None], event_of: EventOf
    ) -> PolicyView:
        """The budget after a change, made again where somebody else was faster; as it was where there is nothing to do.

        Raises:
            Problem: it contradicts what else holds, or others change it all the time.
        """
        for _ in range(_TRIES_MAX):
            view = self.editor.view_one(PolicyKind.BUDGET, name)
            document = change(view)
            if document is None:
                assert view is not None, "what is there already is there"
                return view
            try:
                etag = None if view is None else view.etag
                return await self.editor.put(PolicyKind.BUDGET, name, document, etag=etag, event=event_of)
            except VersionConflict:
                continue
            except PolicyFaults as faults:
                refuse_fields([FieldFault(fault.path, fault.message) for fault in faults.faults], status=409)
        raise Problem(409, _BUSY)

    def _with_increase(self, name: str, view: PolicyView | None, raised: IncreasePolicy, now: datetime) -> BudgetPolicy:
        if view is None and name not in self.policies.customer_registry.customers:
            raise Problem(404, f"There is neither a budget nor a customer {name[:128]!r}.", field="name")
        before = {} if view is None else view.document.model_dump()
        bears = () if view is None else _policy_of(view).raises
        still, kept = running(bears, now), remembered(bears, now)
        # What is over makes room for what is not.
        kept = kept if len(kept) < INCREASES_MAX else still
        raises = (*(each.model_dump() for each in kept), raised.model_dump())
        try:
            return BudgetPolicy.model_validate({**before, "raises": raises})
        except ValidationError:
            raise Problem(409, f"It is raised {len(still)} times already; wait until one has ended.") from None

    def _event_of(self, request: web.Request, identity: Identity, name: str, action: str, detail: str) -> EventOf:
        return lambda before, after: self.events.event(
            request,
            identity,
            action,
            f"budgets/{name}",
            customer=customer_of(PolicyKind.BUDGET, name, after or before or {}),
            detail=detail,
            before=before,
            after=after,
        )


def _policy_of(view: PolicyView) -> BudgetPolicy:
    assert isinstance(view.document, BudgetPolicy), view.name
    return view.document


def _repeated(raised: IncreasePolicy, view: PolicyView | None, now: datetime) -> list[IncreasePolicy]:
    """The raise that this one repeats, if there is one."""
    try:
        found = None if view is None else find_repeated(raised, _policy_of(view).raises, now)
    except ValueError as error:
        raise Problem(409, f"request_id {error}.", field="request_id") from None
    return [] if found is None else [found]


def _find_increase(view: PolicyView, raised: IncreasePolicy) -> TemporaryIncrease:
    """A raise as the budget bears it, with its id."""
    policy = _policy_of(view)
    return next(told for told, each in zip(increases_of(policy), policy.raises, strict=True) if each == raised)


def _check_limits(document: BudgetPolicy, raised: IncreasePolicy) -> None:
    """Refuse to raise what is not there: it would change nothing. A customer's own budget has its tier's limits.

    Raises:
        Problem: the budget has no such limit, at no time.
    """
    for key in ("daily_usd", "monthly_usd"):
        says = [getattr(each, key) for each in (document, *(document.schedules or ()))]
        if getattr(raised, key) is not None and not document.is_own and not any(says):
            raise Problem(409, f"This budget has no {key} that could be raised.", field=key)
