"""Make one admin's change: against the version that the admin saw, checked with everything else, before it is written.

Called by the control plane. A change is refused while nothing is written: PolicyFaults where the whole would contradict
itself, VersionConflict where somebody else was first, SettingsOnly where there is nothing of an admin's to remove.
LedgerUnavailable means not written, or unknown. What is written is told to all replicas and holds here when the call
returns. Two changes that were each right alone, made on two replicas in one moment, may contradict each other together:
then both are taken back, with audit records of their own, because no gate could start on them.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pydantic import BaseModel

from bqgate.domain.audit import AuditEvent
from bqgate.domain.errors import BqgateError, LedgerUnavailable, VersionConflict
from bqgate.domain.policy import PRICING_NAME, PolicyItem, PolicyKind
from bqgate.policies.book import PolicyBook
from bqgate.policies.budget_models import Policy
from bqgate.policies.compose import compose, path_of, read_items
from bqgate.policies.faults import PolicyFault, PolicyFaults
from bqgate.policies.models import MODELS
from bqgate.policies.values import NAME_PATTERN
from bqgate.ports import ChangeFeed, Registry

# Makes the audit record of a change: the document before it and after it, None where there is none.
EventOf = Callable[[Mapping[str, Any] | None, Mapping[str, Any] | None], AuditEvent]


class Source(StrEnum):
    """Who says so."""

    SETTINGS = "settings"
    ADMIN = "admin"


class SettingsOnly(BqgateError):
    """This stands in the settings file alone; no admin's change can be taken away from it."""


@dataclass(frozen=True, slots=True)
class PolicyView:
    """One policy as it holds.

    `etag` is a strong entity tag with its quotes (RFC 9110 section 8.8.3). `version` is the Registry's, 0 for one of
    the settings, which has no moment and no author either.
    """

    name: str
    document: Policy
    source: Source
    etag: str
    version: int = 0
    changed_at: datetime | None = None
    changed_by: str | None = None


class PolicyEditor:
    """Shows and changes what a PolicyBook holds."""

    def __init__(self, book: PolicyBook, registry: Registry, feed: ChangeFeed) -> None:
        self._book = book
        self._registry = registry
        self._feed = feed
        self._turn = asyncio.Lock()

    def view(self, kind: PolicyKind) -> tuple[PolicyView, ...]:
        """All of a kind, by name: the admins', and the settings' where no admin wrote one of the same name."""
        views = {name: _settings_view(name, policy) for name, policy in self._book.base.of_kind(kind).items()}
        written, _ = read_items(self._book.items(kind))
        views |= {each.item.name: _admin_view(each.item, each.policy) for each in written}
        return tuple(views[name] for name in sorted(views))

    def view_one(self, kind: PolicyKind, name: str) -> PolicyView | None:
        """One by its name, None where there is none."""
        return next((view for view in self.view(kind) if view.name == name), None)

    async def put(
        self, kind: PolicyKind, name: str, document: BaseModel, *, etag: str | None, event: EventOf
    ) -> PolicyView:
        """Write a policy whole.

        Args:
            kind: what it is.
            name: what it is called; PRICING_NAME for pricing.
            document: of the kind's model, or of one with the same keys.
            etag: of the view that the change was made from; None where there must be none yet.
            event: makes the audit record.

        Raises:
            PolicyFaults: the document, or everything with it, contradicts itself.
            VersionConflict: it is not what it was when it was read, or is there already.
            LedgerUnavailable: not written, or unknown.
        """
        assert isinstance(document, MODELS[kind]), (kind, type(document))
        if not re.fullmatch(NAME_PATTERN, name) or (kind is PolicyKind.PRICING and name != PRICING_NAME):
            raise PolicyFaults([PolicyFault(path_of(kind, name), "is no name of such a policy")])
        after = document.model_dump(mode="json")
        async with self._turn:
            before = await self._present(kind, name, etag)
            record = event(_json(before), after)
            version = 0 if before is None else before.version
            proposed = PolicyItem(kind, name, version, after, record.at, record.actor)
            self._check([*self._others(kind, name), proposed])
            item = await self._registry.write_policy(kind, name, after, expected_version=version, event=record)

            async def undo() -> None:
                back = event(after, _json(before))
                if before is None or before.source is Source.SETTINGS:
                    await self._registry.delete_policy(kind, name, expected_version=item.version, event=back)
                else:
                    was = before.document.model_dump(mode="json")
                    await self._registry.write_policy(kind, name, was, expected_version=item.version, event=back)

            await self._tell(undo)
        return _admin_view(item, document)

    async def remove(self, kind: PolicyKind, name: str, *, etag: str | None, event: EventOf) -> None:
        """Take an admin's policy away, so that the settings' of its name, if any, holds again.

        Raises:
            SettingsOnly: no admin wrote it.
            PolicyFaults: something else needs it, like a customer its tier.
            VersionConflict: it is not what it was when it was read.
            LedgerUnavailable: not removed, or unknown.
        """
        async with self._turn:
            before = await self._present(kind, name, etag)
            if before is None:
                raise VersionConflict(f"There is no {kind} {name!r}.")
            if before.source is Source.SETTINGS:
                raise SettingsOnly(f"The {kind} {name!r} stands in the settings file alone; remove it there.")
            self._check(self._others(kind, name))
            was, below = before.document.model_dump(mode="json"), self._book.base.of_kind(kind).get(name)
            after = None if below is None else below.model_dump(mode="json")
            record = event(was, after)
            await self._registry.delete_policy(kind, name, expected_version=before.version, event=record)

            async def undo() -> None:
                await self._registry.write_policy(kind, name, was, expected_version=0, event=event(after, was))

            await self._tell(undo)

    async def _present(self, kind: PolicyKind, name: str, etag: str | None) -> PolicyView | None:
        """What is there now, having made sure that it is what the admin saw."""
        await self._book.refresh()
        view = self.view_one(kind, name)
        if etag != (None if view is None else view.etag):
            raise VersionConflict(f"The {kind} {name!r} was changed meanwhile, or is there already.")
        return view

    def _others(self, kind: PolicyKind, name: str) -> list[PolicyItem]:
        return [item for item in self._book.items() if (item.kind, item.name) != (kind, name)]

    def _check(self, items: Sequence[PolicyItem]) -> None:
        compose(self._book.base, items)

    async def _tell(self, undo: Callable[[], Awaitable[None]]) -> None:
        """Let all replicas know of what was written, and this one look; take it back where the whole is broken now."""
        await self._feed.announce()
        try:
            await self._book.refresh()
        except LedgerUnavailable:
            return  # it is written; the book looks again by itself
        try:
            self._check(self._book.items())
        except PolicyFaults:
            with suppress(VersionConflict):  # somebody changed it once more, and answers for that
                await undo()
            await self._feed.announce()
            await self._book.refresh()
            raise


def _settings_view(name: str, policy: Policy) -> PolicyView:
    content = json.dumps(policy.model_dump(mode="json"), sort_keys=True)
    return PolicyView(name, policy, Source.SETTINGS, f'"settings-{sha256(content.encode()).hexdigest()[:16]}"')


def _admin_view(item: PolicyItem, policy: BaseModel) -> PolicyView:
    assert isinstance(policy, Policy)
    return PolicyView(
        name=item.name,
        document=policy,
        source=Source.ADMIN,
        etag=f'"v{item.version}"',
        version=item.version,
        changed_at=item.changed_at,
        changed_by=item.changed_by,
    )


def _json(view: PolicyView | None) -> dict[str, Any] | None:
    return None if view is None else view.document.model_dump(mode="json")
