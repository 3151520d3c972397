"""Hand out keys, show which there are, replace and revoke them.

Asks the Registry, which keeps each change in one transaction with its audit record, and identity's key_files, which
makes the secrets. A secret leaves in the answer that made it, never to be cached, and is nowhere else: neither kept,
logged nor shown again. Changes are made by key_changes.

Admins make, replace and revoke keys of users and analysts; keys of admins are for super admins. The last super_admin
key that is valid is not revoked without force: nobody could make another but whoever can write the database.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from aiohttp import hdrs, web

from bqgate.admin.body import read_body
from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.key_changes import BOUND_ROLES, KeyChanges, is_last_super_admin
from bqgate.admin.operation import Answered, Operation, Parameter, Place
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters
from bqgate.admin.problem import MEDIA_TYPE, Problem
from bqgate.admin.schemas import ProblemDocument
from bqgate.admin.schemas_keys import (
    LIFE_DAYS_MAX,
    KeyCreated,
    KeyDescription,
    KeyPage,
    KeyRotated,
    NewKeyBody,
    RotationBody,
    describe_key,
)
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Identity, Role
from bqgate.identity.key_files import (
    NewKey,
    external_account_document,
    new_key,
    new_key_id,
    service_account_document,
)
from bqgate.identity.keyring import email_of
from bqgate.ports import Clock, PolicySource, Registry

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000

_ROLES = tuple(role.value for role in Role if role is not Role.OPEN)
# What a file names as its project where neither its customer nor whoever made it says one.
_PROJECT_OF_NOBODY = "bqgate"
_KEY_ID = Parameter("key_id", "The key's id.", Place.PATH, {"type": "string", "pattern": "^[0-9a-f]{16}$"})
_FORCE = Parameter(
    "force", "Revoke even the last super_admin key.", schema={"type": "string", "enum": ["true", "false"]}
)
_LIST_PARAMETERS = (
    CUSTOMER_IN_QUERY,
    Parameter("role", "Of this role only.", schema={"type": "string", "enum": list(_ROLES)}),
    Parameter("page_token", "next_page_token of the page before."),
    Parameter(
        "page_size",
        "How many at most.",
        schema={"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE},
    ),
)
_ROTATE = "Make a key in another's place, which ends after an overlap"
_LOCATION = {"Location": "Where the key is shown, without its secret."}


class KeyViews:
    """The views of keys."""

    def __init__(
        self,
        *,
        registry: Registry,
        policies: PolicySource,
        changes: KeyChanges,
        clock: Clock,
        public_url: str | None,
    ) -> None:
        """Answer for the keys of a registry.

        Args:
            registry: has them.
            policies: says which customers there are.
            changes: makes the changes.
            clock: says what is valid now.
            public_url: where clients reach the gate, for the files; None: as the request was addressed.
        """
        self._registry = registry
        self._policies = policies
        self._changes = changes
        self._clock = clock
        self._public_url = public_url
        self._revoking = asyncio.Lock()

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        path, one = "/admin/v1/keys", "/admin/v1/keys/{key_id}"
        shown = {200: Answered("The key.", KeyDescription), 404: _problem("There is no such key.")}
        made = {201: Answered("The key, and its secret, once.", KeyCreated, headers=_LOCATION)}
        replaced = {
            201: Answered("The new key, and its secret, once.", KeyRotated, headers=_LOCATION),
            404: _problem("There is no such key."),
            409: _problem("The key has ended."),
        }
        ended = {
            204: Answered("It has ended.", media_type=""),
            404: _problem("There is no such key."),
            409: _problem("It is the last valid super_admin key."),
        }
        pages = {200: Answered("A page of keys.", KeyPage)}
        told = (
            # Before the path without a verb, which would take it for a key's id.
            ("rotate", "POST", f"{one}:rotate", _ROTATE, self.rotate, (_KEY_ID,), RotationBody, replaced),
            ("list", "GET", path, "Keys, oldest first, ended ones too", self.list, _LIST_PARAMETERS, None, pages),
            ("create", "POST", path, "Make a key file or a static token", self.create, (), NewKeyBody, made),
            ("show", "GET", one, "One key, without its secret", self.show, (_KEY_ID,), None, shown),
            ("revoke", "DELETE", one, "End a key now", self.revoke, (_KEY_ID, _FORCE), None, ended),
        )
        return tuple(
            Operation(
                f"keys.{verb}", method, at, summary, "keys", view, parameters=parameters, body=body, answers=answers
            )
            for verb, method, at, summary, view, parameters, body, answers in told
        )

    async def list(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/keys."""
        parameters = Parameters(request, ("customer", "role", "page_token", "page_size"))
        customer, role = parameters.customer(), parameters.text("role")
        if role is not None and role not in _ROLES:
            raise Problem(400, f"role must be one of {', '.join(_ROLES)}.", field="role")
        size = parameters.integer("page_size", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE_MAX)
        now = self._clock.now()
        keys = _after(await self._registry.fetch_keys(), parameters.text("page_token"))
        wanted = [key for key in keys if customer in {None, key.customer} and role in {None, key.role.value}]
        page = KeyPage(
            keys=tuple(describe_key(key, now=now) for key in wanted[:size]),
            next_page_token=wanted[size - 1].id if len(wanted) > size else None,
            as_of=write_moment(now),
        )
        return answer_document(page)

    async def show(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/keys/{key_id}."""
        Parameters(request)
        key = _found(await self._registry.fetch_keys(), request)
        return answer_document(describe_key(key, now=self._clock.now()))

    async def create(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /admin/v1/keys."""
        Parameters(request)
        body = await read_body(request, NewKeyBody)
        role, kind, now = Role(body.role), KeyKind(body.kind), self._clock.now()
        self._changes.check_may_touch(request, identity, role)
        self._check_customer(role, body.customer)
        key_id = new_key_id()
        new = await new_key(
            kind,
            principal=body.principal or email_of(key_id),
            role=role,
            customer=body.customer,
            created_by=identity.name,
            now=now,
            ends_at=_end_of(body, now),
            new_id=lambda: key_id,
        )
        await self._changes.add(request, identity, new.key)
        await self._changes.tell()
        created = KeyCreated(**_document(new.key, now), **self._secret_of(request, new, body.project_id))
        return _answer_created(created)

    async def rotate(self, request: web.Request, identity: Identity) -> web.Response:
        """POST /admin/v1/keys/{key_id}:rotate. A key that had an end is followed by one that lives as long."""
        Parameters(request)
        body = await read_body(request, RotationBody) if request.body_exists else RotationBody()
        now = self._clock.now()
        old = _found(await self._registry.fetch_keys(), request)
        self._changes.check_may_touch(request, identity, old.role)
        if not old.is_valid_at(now):
            raise Problem(409, "This key has ended; make a new one.")
        new = await new_key(
            old.kind,
            principal=old.principal,
            role=old.role,
            customer=old.customer,
            created_by=identity.name,
            now=now,
            ends_at=None if old.ends_at is None else now + (old.ends_at - old.created_at),
        )
        await self._changes.add(request, identity, new.key, detail=f"in place of {old.id}")
        overlap_ends_at = now + timedelta(minutes=body.overlap_minutes)
        ended = await self._changes.end(
            request, identity, old, "key.rotated", overlap_ends_at, detail=f"by {new.key.id}"
        )
        await self._changes.tell()
        rotated = KeyRotated(
            **_document(new.key, now),
            **self._secret_of(request, new, body.project_id),
            replaces=old.id,
            replaced_ends_at=write_moment(ended.ends_at or overlap_ends_at),
        )
        return _answer_created(rotated)

    async def revoke(self, request: web.Request, identity: Identity) -> web.Response:
        """DELETE /admin/v1/keys/{key_id}. Again: nothing changes but the audit log."""
        force = Parameters(request, ("force",)).text("force")
        if force not in {None, "true", "false"}:
            raise Problem(400, "force must be true or false.", field="force")
        # Two admins who revoke each other's key at once on one replica shall not both succeed.
        async with self._revoking:
            now = self._clock.now()
            keys = await self._registry.fetch_keys()
            key = _found(keys, request)
            self._changes.check_may_touch(request, identity, key.role)
            if force != "true" and is_last_super_admin(key, keys, now):
                detail = "This is the last valid super_admin key; make another first, or say force=true."
                raise Problem(409, detail)
            await self._changes.end(request, identity, key, "key.revoked", now, is_revoked=True)
        await self._changes.tell()
        return web.Response(status=204, headers={hdrs.CACHE_CONTROL: "no-store"})

    def _check_customer(self, role: Role, customer: str | None) -> None:
        if customer is None:
            if role in BOUND_ROLES:
                raise Problem(400, f"Keys of the role {role.value} need a customer.", field="customer")
        elif customer not in self._policies.customer_registry.customers:
            detail = f"There is no customer {customer!r}: make it first, or correct the name."
            raise Problem(400, detail, field="customer")

    def _secret_of(self, request: web.Request, new: NewKey, project_id: str | None) -> dict[str, Any]:
        """The members of the answer that are shown once."""
        public_url = self._public_url or f"{request.scheme}://{request.host}"
        if new.key.kind is KeyKind.TOKEN:
            file = external_account_document(public_url=public_url, token_file=f"bqgate-{new.key.id}.token")
            return {"token": new.secret, "external_account": file}
        project_id = project_id or self._project_of(new.key.customer)
        return {"key_file": service_account_document(new, public_url=public_url, project_id=project_id)}

    def _project_of(self, customer: str | None) -> str:
        if customer is None:
            return _PROJECT_OF_NOBODY
        projects = self._policies.customer_registry.customer(customer).projects
        return projects[0] if projects else customer


def _problem(description: str) -> Answered:
    return Answered(description, ProblemDocument, MEDIA_TYPE)


def _answer_created(created: KeyCreated) -> web.Response:
    return answer_document(created, status=201, headers={hdrs.LOCATION: f"/admin/v1/keys/{created.id}"})


def _document(key: Key, now: datetime) -> dict[str, Any]:
    return describe_key(key, now=now).model_dump(mode="json")


def _end_of(body: NewKeyBody, now: datetime) -> datetime | None:
    if body.expires_in_days is not None:
        return now + timedelta(days=body.expires_in_days)
    if body.ends_at is not None and not now < body.ends_at <= now + timedelta(days=LIFE_DAYS_MAX):
        raise Problem(400, f"ends_at must lie ahead, by {LIFE_DAYS_MAX} days at most.", field="ends_at")
    return body.ends_at


def _found(keys: Sequence[Key], request: web.Request) -> Key:
    key_id = request.match_info["key_id"]
    key = next((each for each in keys if each.id == key_id), None)
    if key is None:
        raise Problem(404, f"There is no key {key_id[:100]!r}.", field="key_id")
    return key


def _after(keys: Sequence[Key], token: str | None) -> Sequence[Key]:
    """The keys behind the one that ended the page before. Keys are never removed, so it is still there."""
    if token is None:
        return keys
    place = next((place for place, key in enumerate(keys) if key.id == token), None)
    if place is None:
        raise Problem(400, "page_token is not one that the list of keys gave.", field="page_token")
    return keys[place + 1 :]
