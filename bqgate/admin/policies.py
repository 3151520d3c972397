"""Show and change what admins may change: tiers, customers, budgets and pricing, one view for all four kinds.

Mounted by control_plane's views; asks the PolicyEditor, which checks a change whole and writes it with its audit
record. Every change names the version that it was made from (If-Match), so that nobody's change is overwritten unseen.
A change holds for the next query on every replica within two seconds. The document that an admin wrote stands for the
settings' one of its name, whole; DELETE takes it away again.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from bqgate.admin.body import JSON, MERGE_PATCH, read_object, refuse_fields
from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.etags import check_if_match, is_known, require_if_match, stale
from bqgate.admin.events import EventMaker
from bqgate.admin.merge_patch import merged
from bqgate.admin.operation import Operation
from bqgate.admin.parameters import Parameters
from bqgate.admin.policy_operations import ResourceViews, operations_of_resource
from bqgate.admin.policy_schemas import RESOURCES, Resource
from bqgate.admin.problem import FieldFault, Problem
from bqgate.domain.audit import AuditEvent
from bqgate.domain.errors import VersionConflict
from bqgate.domain.policy import PRICING_NAME, PolicyKind
from bqgate.domain.principal import Identity
from bqgate.policies.compose import document_faults, path_of
from bqgate.policies.editor import EventOf, PolicyEditor, PolicyView, SettingsOnly
from bqgate.policies.faults import PolicyFault, PolicyFaults

_Document = Mapping[str, Any]


class PolicyViews:
    """The views of one kind of policy."""

    def __init__(self, kind: PolicyKind, *, editor: PolicyEditor, events: EventMaker) -> None:
        self._resource = RESOURCES[kind]
        self._editor = editor
        self._events = events

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        views = ResourceViews(self.list, self.show, self.create, self.replace, self.patch, self.delete)
        return operations_of_resource(self._resource, views)

    async def list(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET the collection."""
        Parameters(request)
        shown = [shown_policy(self._resource, view) for view in self._editor.view(self._resource.kind)]
        return answer_document(self._resource.listed.model_validate({self._resource.plural: shown}))

    async def show(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET one; 304 where the caller has it already."""
        Parameters(request)
        view = self._found(request)
        if is_known(request, view.etag):
            return web.Response(status=304, headers={hdrs.ETAG: view.etag, hdrs.CACHE_CONTROL: "no-store"})
        return self._answer(view)

    async def create(self, request: web.Request, identity: Identity) -> web.Response:
        """POST a new one."""
        Parameters(request)
        body = await read_object(request)
        key = self._resource.key or ""
        # Its name first: where it is no name, nothing can be said of the rest.
        self._validated(self._resource.new, key, body)
        name = body.pop(key)
        document = self._validated(self._resource.model, name, body)
        if self._editor.view_one(self._resource.kind, name) is not None:
            self._refuse_existing(name)
        event_of = self._event_of(request, identity, name, "created")
        try:
            view = await self._editor.put(self._resource.kind, name, document, etag=None, event=event_of)
        except VersionConflict:
            self._refuse_existing(name)
        except PolicyFaults as faults:
            self._refuse_faults(name, faults)
        location = request.rel_url.with_query(None) / name
        return self._answer(view, status=201, headers={hdrs.LOCATION: location.raw_path})

    async def replace(self, request: web.Request, identity: Identity) -> web.Response:
        """PUT one whole."""
        view = self._changeable(request)
        document = self._validated(self._resource.model, view.name, await read_object(request))
        return await self._put(request, identity, view, document)

    async def patch(self, request: web.Request, identity: Identity) -> web.Response:
        """PATCH one, by a JSON merge patch."""
        view = self._changeable(request)
        patched = merged(view.document.model_dump(mode="json"), await read_object(request, (MERGE_PATCH, JSON)))
        return await self._put(request, identity, view, self._validated(self._resource.model, view.name, patched))

    async def delete(self, request: web.Request, identity: Identity) -> web.Response:
        """DELETE what an admin wrote; where the settings have one of its name, theirs holds again."""
        view = self._changeable(request)
        event_of = self._event_of(request, identity, view.name, "deleted")
        try:
            await self._editor.remove(self._resource.kind, view.name, etag=view.etag, event=event_of)
        except VersionConflict:
            raise stale() from None
        except SettingsOnly:
            detail = f"The settings file has this {self._resource.noun}, and no admin changed it; remove it there."
            raise Problem(409, detail) from None
        except PolicyFaults as faults:
            self._refuse_faults(view.name, faults)
        return web.Response(status=204, headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _put(
        self, request: web.Request, identity: Identity, view: PolicyView, document: BaseModel
    ) -> web.Response:
        event_of = self._event_of(request, identity, view.name, "updated")
        try:
            changed = await self._editor.put(self._resource.kind, view.name, document, etag=view.etag, event=event_of)
        except VersionConflict:
            raise stale() from None
        except PolicyFaults as faults:
            self._refuse_faults(view.name, faults)
        return self._answer(changed)

    def _changeable(self, request: web.Request) -> PolicyView:
        Parameters(request)
        require_if_match(request)
        view = self._found(request)
        check_if_match(request, view.etag)
        return view

    def _found(self, request: web.Request) -> PolicyView:
        key = self._resource.key
        name = PRICING_NAME if key is None else request.match_info[key]
        view = self._editor.view_one(self._resource.kind, name)
        if view is None:
            raise Problem(404, f"There is no {self._resource.noun} {name[:128]!r}.", field=key)
        return view

    def _answer(self, view: PolicyView, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        document = self._resource.shown.model_validate(shown_policy(self._resource, view))
        return answer_document(document, status=status, headers={hdrs.ETAG: view.etag} | dict(headers or {}))

    def _event_of(self, request: web.Request, identity: Identity, name: str, verb: str) -> EventOf:
        resource = self._resource

        def event_of(before: _Document | None, after: _Document | None) -> AuditEvent:
            action, target = f"{resource.noun}.{verb}", resource.target(name)
            customer = customer_of(resource.kind, name, after or before or {})
            return self._events.event(request, identity, action, target, customer=customer, before=before, after=after)

        return event_of

    def _validated(self, model: type[BaseModel], name: str, document: _Document) -> BaseModel:
        try:
            return model.model_validate_json(json.dumps(document))
        except ValidationError as invalid:
            self._refuse_faults(name, PolicyFaults(document_faults(self._resource.kind, name, invalid)))

    def _refuse_existing(self, name: str) -> NoReturn:
        detail = f"There is a {self._resource.noun} {name!r} already; change it by PUT or PATCH."
        raise Problem(409, detail, field=self._resource.key)

    def _refuse_faults(self, name: str, faults: PolicyFaults) -> NoReturn:
        """400 for what is wrong with this document, 409 where it is others that would be wrong beside it."""
        own = path_of(self._resource.kind, name)
        fields = [FieldFault(_field(fault, own), fault.message) for fault in faults.faults]
        is_own = any(fault.path == own or fault.path.startswith(f"{own}.") for fault in faults.faults)
        refuse_fields(fields, status=400 if is_own else 409)


def shown_policy(resource: Resource, view: PolicyView) -> dict[str, Any]:
    """A policy as answers show it: its keys, flat, between its name and where it comes from."""
    key = resource.key
    return {
        **({} if key is None else {key: view.name}),
        **view.document.model_dump(mode="json"),
        "source": view.source,
        "changed_at": None if view.changed_at is None else write_moment(view.changed_at),
        "changed_by": view.changed_by,
    }


def customer_of(kind: PolicyKind, name: str, document: Mapping[str, Any]) -> str | None:
    """Whose a policy is, for the audit log."""
    if kind is PolicyKind.BUDGET:
        return None if document.get("deployment") else document.get("customer") or name
    return name if kind is PolicyKind.CUSTOMER else None


def _field(fault: PolicyFault, own: str) -> str:
    """Which key it is: of this document, "" for all of it, or of another one, with its path."""
    return "" if fault.path == own else fault.path.removeprefix(f"{own}.")
