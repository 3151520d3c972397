"""Change keys: may they be touched by this admin, written with an audit record, told to every replica.

Used by the views of keys. Calls the Registry, which keeps each change in one transaction with its record. After it the
other replicas are told (ChangeFeed) and this one looks at once, so that a revoked key is refused from the next request
on here, and within seconds elsewhere. What leaves: a Problem 403, told to the audit log; the Registry's errors.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from aiohttp import web

from bqgate.admin.events import EventMaker
from bqgate.admin.problem import Problem
from bqgate.admin.schemas_keys import describe_key
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.key import Key
from bqgate.domain.principal import Identity, Role
from bqgate.ports import AuditLog, ChangeFeed, Clock, Registry

# RFC 6750 section 3.1, as the guard's own refusals have it.
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="bqgate", error="insufficient_scope"'}

# Their keys have a customer, and every admin may make and end them.
BOUND_ROLES = frozenset({Role.USER, Role.ANALYST})


class KeyBook(Protocol):
    """The keys as this process knows them. policies' PolicyBook is one."""

    async def refresh(self) -> None:
        """Look for changes now.

        Raises:
            LedgerUnavailable: the database did not answer; the book looks again by itself.
        """


class KeyChanges:
    """Makes the changes that views of keys want."""

    def __init__(
        self,
        *,
        registry: Registry,
        book: KeyBook,
        feed: ChangeFeed,
        audit_log: AuditLog,
        events: EventMaker,
        clock: Clock,
    ) -> None:
        """Change the keys of a registry.

        Args:
            registry: keeps them.
            book: is told to look after a change, here.
            feed: tells the other replicas.
            audit_log: is told of who wanted to touch keys of admins and may not.
            events: makes the audit records.
            clock: says what is valid now.
        """
        self._registry = registry
        self._book = book
        self._feed = feed
        self._audit_log = audit_log
        self._events = events
        self._clock = clock

    def check_may_touch(self, request: web.Request, identity: Identity, role: Role) -> None:
        """Keep admins from keys of admins.

        Raises:
            Problem: 403.
        """
        if role in BOUND_ROLES or identity.role is Role.SUPER_ADMIN:
            return
        target = f"{request.method} {request.path[:200]}"
        detail = f"Keys of the role {role.value} are for super admins."
        self._audit_log.record(self._events.event(request, identity, "access.refused", target, detail=detail))
        raise Problem(403, detail, headers=_CHALLENGE)

    async def add(self, request: web.Request, identity: Identity, key: Key, *, detail: str = "") -> None:
        """Keep a new key.

        Raises:
            LedgerUnavailable: not kept, or unknown: it is of no use to anybody, because its secret is not told.
        """
        event = self._events.event(
            request,
            identity,
            "key.created",
            f"keys/{key.id}",
            customer=key.customer,
            detail=detail,
            after=describe_key(key, now=key.created_at).model_dump(mode="json"),
        )
        await self._registry.add_key(key, event)

    async def end(
        self,
        request: web.Request,
        identity: Identity,
        key: Key,
        action: str,
        ends_at: datetime,
        *,
        is_revoked: bool = False,
        detail: str = "",
    ) -> Key:
        """Give a key an end. Again: nothing changes but the audit log.

        Raises:
            LedgerUnavailable: not ended, or unknown.
        """
        now = self._clock.now()
        ended = key.ended(ends_at, is_revoked=is_revoked)
        event = self._events.event(
            request,
            identity,
            action,
            f"keys/{key.id}",
            customer=key.customer,
            detail=detail,
            before=describe_key(key, now=now).model_dump(mode="json"),
            after=describe_key(ended, now=now).model_dump(mode="json"),
        )
        return await self._registry.end_key(key.id, ends_at=ends_at, is_revoked=is_revoked, event=event)

    async def tell(self) -> None:
        """Let every replica know. Nothing is raised: what is written holds."""
        await self._feed.announce()
        # It is written, and the answer may bear a secret: the book looks again by itself within a second.
        with suppress(LedgerUnavailable):
            await self._book.refresh()


def is_last_super_admin(key: Key, keys: Sequence[Key], now: datetime) -> bool:
    """Whether without this key nobody could make keys of admins any more."""
    valid = [each for each in keys if each.role is Role.SUPER_ADMIN and each.is_valid_at(now)]
    return valid == [key]
