"""Make, list, rotate and end keys in the ledger's database itself, past the gate: ``bqgate keys … --local``.

Called by keys. Who can write the database owns the gate, so nobody is asked who they are: this is how the first
super_admin is made, and the way back in when the last one's key is lost. Each change is in the audit log as of
"local:<user of the operating system>". A running gate hears of it as of any other change. What leaves: the same
documents as the admin API's; a sentence and status 1 where the database does not answer.
"""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bqgate.cli.loading import fail, ledger_told, load_or_exit
from bqgate.clock import SystemClock
from bqgate.domain.audit import AuditEvent
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.policy import PolicyKind
from bqgate.domain.principal import Role
from bqgate.domain.units import MS_PER_S
from bqgate.settings import Settings

if TYPE_CHECKING:
    from bqgate.identity.key_files import NewKey
    from bqgate.ledger import SqlRegistry

ResultT = TypeVar("ResultT")

# What a key file names as its project where it has no customer and nobody says one; clients want a name there.
_PROJECT_OF_NOBODY = "bqgate"


class NotDone(Exception):
    """What was asked for cannot be done; the message is for the terminal."""


@dataclass(frozen=True, slots=True)
class Order:
    """The key that somebody wants."""

    role: Role
    kind: KeyKind
    customer: str | None
    principal: str | None
    project_id: str | None
    expires_in_days: int | None


class LocalKeys:
    """The keys in one database.

    Args:
        registry: open.
        settings: of the gate whose database it is; they say how clients reach it.
        now: when this is done.
        actor: who does it.
    """

    def __init__(self, registry: "SqlRegistry", settings: Settings, *, now: datetime, actor: str) -> None:
        self._registry = registry
        self._settings = settings
        self._now = now
        self._actor = actor

    async def create(self, order: Order) -> dict[str, Any]:
        """Keep a new key; the answer has its secret half, which is nowhere else.

        Raises:
            NotDone: there is no such customer.
        """
        from bqgate.identity.key_files import new_key, new_key_id  # noqa: PLC0415 - cryptography takes its time to load
        from bqgate.identity.keyring import email_of  # noqa: PLC0415 - the same

        if order.customer is not None and await self._projects_of(order.customer) is None:
            raise NotDone(f"There is no customer {order.customer!r}: make it first, or correct the name.")
        days, key_id = order.expires_in_days, new_key_id()
        new = await new_key(
            order.kind,
            principal=order.principal or email_of(key_id),
            role=order.role,
            customer=order.customer,
            created_by=self._actor,
            now=self._now,
            ends_at=None if days is None else self._now + timedelta(days=days),
            new_id=lambda: key_id,
        )
        await self._registry.add_key(new.key, self._event("key.created", new.key, after=new.key))
        return await self._handed_out(new, order.project_id)

    async def fetch(self) -> list[dict[str, Any]]:
        """All keys, oldest first."""
        return [self._described(key) for key in await self._registry.fetch_keys()]

    async def kind_of(self, key_id: str) -> KeyKind:
        """What the holder of a key has.

        Raises:
            NotDone: there is no such key.
        """
        return (await self._find(key_id)).kind

    async def rotate(self, key_id: str, *, overlap_minutes: int) -> dict[str, Any]:
        """Keep a new key for the same holder, made for as long a life; the old one ends after the overlap.

        Raises:
            NotDone: there is no such key, or it has ended.
        """
        from bqgate.identity.key_files import new_key  # noqa: PLC0415 - as above

        old = await self._find(key_id)
        if not old.is_valid_at(self._now):
            raise NotDone(f"The key {key_id} has ended; make a new one: bqgate keys create.")
        new = await new_key(
            old.kind,
            principal=old.principal,
            role=old.role,
            customer=old.customer,
            created_by=self._actor,
            now=self._now,
            ends_at=None if old.ends_at is None else self._now + (old.ends_at - old.created_at),
        )
        await self._registry.add_key(
            new.key, self._event("key.created", new.key, after=new.key, detail=f"in place of {key_id}")
        )
        ends_at = self._now + timedelta(minutes=overlap_minutes)
        event = self._event(
            "key.rotated",
            old,
            before=old,
            after=old.ended(ends_at, is_revoked=False),
            detail=f"by {new.key.id}",
        )
        ended = await self._registry.end_key(key_id, ends_at=ends_at, is_revoked=False, event=event)
        replaced = {"replaces": key_id, "replaced_ends_at": self._described(ended)["ends_at"]}
        return await self._handed_out(new, None) | replaced

    async def revoke(self, key_id: str, *, is_forced: bool) -> dict[str, Any]:
        """End a key now.

        Raises:
            NotDone: there is no such key, or it is the last of a super_admin and nobody insists.
        """
        key = await self._find(key_id)
        if not is_forced and await self._is_last_super_admin(key):
            raise NotDone(f"{key_id} is the last key of a super_admin; make another first, or say --force.")
        event = self._event("key.revoked", key, before=key, after=key.ended(self._now, is_revoked=True))
        return self._described(await self._registry.end_key(key_id, ends_at=self._now, is_revoked=True, event=event))

    async def _find(self, key_id: str) -> Key:
        key = next((each for each in await self._registry.fetch_keys() if each.id == key_id), None)
        if key is None:
            raise NotDone(f"There is no key {key_id}; `bqgate keys list --local` shows all.")
        return key

    async def _is_last_super_admin(self, key: Key) -> bool:
        admins = [
            each.id
            for each in await self._registry.fetch_keys()
            if each.role is Role.SUPER_ADMIN and each.is_valid_at(self._now)
        ]
        return admins == [key.id]

    async def _handed_out(self, new: "NewKey", project_id: str | None) -> dict[str, Any]:
        from bqgate.identity.key_files import (  # noqa: PLC0415 - as above
            external_account_document,
            service_account_document,
        )

        url = public_url_of(self._settings)
        if new.key.kind is KeyKind.TOKEN:
            account = external_account_document(public_url=url, token_file=f"{new.key.id}.token")
            return self._described(new.key) | {"token": new.secret, "external_account": account}
        customer = new.key.customer
        projects = [] if customer is None else await self._projects_of(customer) or [customer]
        project_id = project_id or next(iter(projects), _PROJECT_OF_NOBODY)
        key_file = service_account_document(new, public_url=url, project_id=project_id)
        return self._described(new.key) | {"key_file": key_file}

    async def _projects_of(self, customer: str) -> Sequence[str] | None:
        """What admins said of a customer, else the settings; None: there is no such customer."""
        for item in await self._registry.fetch_policies():
            if item.kind is PolicyKind.CUSTOMER and item.name == customer:
                return tuple(item.document.get("projects", ()))
        known = self._settings.customer_registry.customers.get(customer)
        return None if known is None else known.projects

    def _event(
        self, action: str, key: Key, *, before: Key | None = None, after: Key | None = None, detail: str = ""
    ) -> AuditEvent:
        return AuditEvent(
            at=self._now,
            action=action,
            actor=self._actor,
            target=f"keys/{key.id}",
            subject=self._actor,
            customer=key.customer,
            source="local",
            detail=detail,
            before=None if before is None else self._described(before),
            after=None if after is None else self._described(after),
        )

    def _described(self, key: Key) -> dict[str, Any]:
        """A key as the admin API shows it: everything but its public half and its hash."""
        from bqgate.identity.static_tokens import prefix_of  # noqa: PLC0415 - as above

        return {
            "id": key.id,
            "kind": key.kind.value,
            "principal": key.principal,
            "role": key.role.value,
            "customer": key.customer,
            "prefix": prefix_of(key.id) if key.kind is KeyKind.TOKEN else None,
            "created_at": _written(key.created_at),
            "created_by": key.created_by,
            "ends_at": None if key.ends_at is None else _written(key.ends_at),
            "is_revoked": key.is_revoked,
            "is_valid": key.is_valid_at(self._now),
        }


def with_local_keys(
    config: Path | None, work: Callable[[LocalKeys], Awaitable[ResultT]], *, may_make_tables: bool = False
) -> ResultT:
    """Do work on the keys of a gate's database.

    Args:
        config: the gate's settings file.
        work: what is to be done.
        may_make_tables: for the first key, which may be older than the gate's first start. Everything else wants a
            database that is there: on SQLite a misspelt path would be an empty new one.
    """
    from bqgate import ledger  # noqa: PLC0415 - SQLAlchemy takes half a second that other commands need not wait for

    settings = load_or_exit(config, to_serve=False)
    url, timeout_s = settings.ledger.url, settings.ledger.timeout_ms / MS_PER_S

    async def run() -> ResultT:
        connect = ledger.SqlRegistry.open if may_make_tables else ledger.SqlRegistry.open_existing
        registry = await connect(url.reveal(), timeout_s=timeout_s)
        try:
            keys = LocalKeys(registry, settings, now=SystemClock().now(), actor=local_actor())
            return await work(keys)
        finally:
            await registry.close()

    try:
        with ledger_told(settings):
            return asyncio.run(run())
    except NotDone as error:
        fail(str(error))


def public_url_of(settings: Settings) -> str:
    """How clients reach the gate: as the settings say, else where it listens."""
    if settings.identity.public_url is not None:
        return settings.identity.public_url
    server = settings.server
    host = "localhost" if server.host in {"0.0.0.0", "::"} else server.host  # noqa: S104 - every address is none to call
    scheme = "http" if server.tls_cert_file is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}"


def _written(moment: datetime) -> str:
    """RFC 3339 in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def local_actor() -> str:
    """Who runs this, for the audit log, by the operating system's word; the environment could say anything."""
    try:
        return f"local:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's user without a name
        return f"local:uid {os.getuid()}"
