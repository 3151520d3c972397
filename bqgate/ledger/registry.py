"""Implement ports.Registry on SQLite and PostgreSQL, in the ledger's database.

Opened by app and cli, called by policies (what holds), identity (keys, the audit log) and the control plane (changes,
the audit log). Every change is one transaction with its audit record and the next revision, under one lock for all
writers (audit_chain.lock_registry), so that neither versions nor places in the audit log are given out twice. What
leaves: values of the domain, VersionConflict, LedgerUnavailable. A change that has returned is on disk.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.audit import AuditEvent, AuditFilter, AuditPage, AuditRecord
from bqgate.domain.errors import VersionConflict
from bqgate.domain.key import Key
from bqgate.domain.policy import PolicyItem, PolicyKind
from bqgate.ledger import audit_chain
from bqgate.ledger.audit_chain import AuditHead, AuditVerdict, lock_registry
from bqgate.ledger.connections import TIMEOUT_S, Connections, ResultT, read_url
from bqgate.ledger.migrate import check_revision, migrate
from bqgate.ledger.registry_rows import key_of, key_row, policy_of, policy_row, record_of, storable_text
from bqgate.ledger.registry_schema import audit, keys, policies, registry_revision
from bqgate.ledger.rows import to_micros

# A page of the audit log is held in memory whole, whatever its reader asks for.
PAGE_RECORDS_MAX = 1_000
_BIGINT_MAX = 2**63 - 1


class SqlRegistry:
    """The registry in a database. Any number of them, in any number of processes, may share it.

    Args:
        connections: to a database whose tables are of this version; `open` sees to that.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        insert = postgresql.insert if connections.dialect == "postgresql" else sqlite.insert
        # An INSERT's count of rows is kept on request only; with psycopg it would read -1.
        self._add_policy = insert(policies).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        self._add_key = insert(keys).on_conflict_do_nothing().execution_options(preserve_rowcount=True)

    @classmethod
    async def open(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Connect. SQLite's tables are made or upgraded; PostgreSQL's must be (`bqgate migrate`).

        Raises:
            LedgerUnavailable: no connection, or PostgreSQL's tables are of another version.
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        if read_url(url, is_async=False).get_backend_name() != "sqlite":
            return await cls.open_existing(url, timeout_s=timeout_s)
        await migrate(url)
        return cls(Connections(url, timeout_s=timeout_s))

    @classmethod
    async def open_existing(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Connect to a database that has this version's tables. None are made, and no file of SQLite's either.

        Raises:
            LedgerUnavailable: no connection, no file, or its tables are of another version.
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        await check_revision(url, timeout_s=timeout_s)
        return cls(Connections(url, timeout_s=timeout_s))

    async def fetch_revision(self) -> int:
        """A number that grows with every change of a policy or key, 0 before the first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        rows = await self._rows(sa.select(registry_revision.c.revision))
        return int(rows[0].revision)

    async def fetch_policies(self) -> tuple[PolicyItem, ...]:
        """Every document that admins wrote, by kind and name.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        wanted = sa.select(policies).order_by(policies.c.kind, policies.c.name)
        return tuple(policy_of(row) for row in await self._rows(wanted))

    async def write_policy(
        self, kind: PolicyKind, name: str, document: Mapping[str, Any], *, expected_version: int, event: AuditEvent
    ) -> PolicyItem:
        """Write a document where its version is the expected one; 0 expects that there is none.

        Its moment and author are those of the event.

        Raises:
            VersionConflict: somebody else changed it first; nothing was written.
            LedgerUnavailable: not written, or unknown.
        """

        async def write(connection: AsyncConnection, revision: int) -> PolicyItem:
            author = storable_text(event.actor)
            item = PolicyItem(kind, storable_text(name), revision, dict(document), event.at, author)
            if expected_version == 0:
                written = await connection.execute(self._add_policy, policy_row(item))
            else:
                there = _policy_at(kind, name, expected_version)
                written = await connection.execute(sa.update(policies).where(there).values(policy_row(item)))
            if written.rowcount != 1:
                raise VersionConflict(f"{kind} {name!r} is not at version {expected_version}.")
            return item

        return await self._change(write, event)

    async def delete_policy(self, kind: PolicyKind, name: str, *, expected_version: int, event: AuditEvent) -> None:
        """Remove a document, so that the settings' word holds again.

        Raises:
            VersionConflict: it is not there in that version; nothing was removed.
            LedgerUnavailable: not removed, or unknown.
        """

        async def delete(connection: AsyncConnection, _revision: int) -> None:
            removed = await connection.execute(sa.delete(policies).where(_policy_at(kind, name, expected_version)))
            if removed.rowcount != 1:
                raise VersionConflict(f"{kind} {name!r} is not at version {expected_version}.")

        await self._change(delete, event)

    async def fetch_keys(self) -> tuple[Key, ...]:
        """Every key, ended ones too, oldest first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        return tuple(key_of(row) for row in await self._rows(sa.select(keys).order_by(keys.c.created_at, keys.c.id)))

    async def add_key(self, key: Key, event: AuditEvent) -> None:
        """Keep a new key.

        Raises:
            VersionConflict: there is a key of this id.
            LedgerUnavailable: not kept, or unknown.
        """

        async def add(connection: AsyncConnection, _revision: int) -> None:
            added = await connection.execute(self._add_key, key_row(key))
            if added.rowcount != 1:
                raise VersionConflict(f"There is a key {key.id} already.")

        await self._change(add, event)

    async def end_key(self, key_id: str, *, ends_at: datetime, is_revoked: bool, event: AuditEvent) -> Key:
        """Give a key an end, which is never later than the one it has. Again: nothing but the audit record is added.

        Raises:
            VersionConflict: there is no key of this id.
            LedgerUnavailable: not ended, or unknown.
        """

        async def end(connection: AsyncConnection) -> Key:
            revision = await lock_registry(connection)
            its_id = keys.c.id == storable_text(key_id)
            row = (await connection.execute(sa.select(keys).where(its_id))).first()
            if row is None:
                raise VersionConflict("There is no key of this id.")
            key = key_of(row)
            ended = key.ended(ends_at, is_revoked=is_revoked)
            if ended != key:
                await connection.execute(sa.update(keys).where(its_id).values(key_row(ended)))
                await _set_revision(connection, revision + 1)
            await audit_chain.append(connection, [event])
            return ended

        return await self._connections.write(end)

    async def append_audit(self, events: Sequence[AuditEvent]) -> tuple[AuditRecord, ...]:
        """Chain events to the audit log, in order, all or none.

        Raises:
            LedgerUnavailable: not written, or unknown.
        """
        if not events:
            return ()

        async def append(connection: AsyncConnection) -> tuple[AuditRecord, ...]:
            await lock_registry(connection)
            return await audit_chain.append(connection, events)

        return await self._connections.write(append)

    async def fetch_audit(self, wanted: AuditFilter) -> AuditPage:
        """Records newest first, a page at a time; a page has 1 to 1,000 records, whatever is asked for.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        size = min(max(wanted.page_size, 1), PAGE_RECORDS_MAX)
        found = tuple(record_of(row) for row in await self._rows(_audit_page(wanted).limit(size + 1)))
        if len(found) <= size:
            return AuditPage(found)
        return AuditPage(found[:size], next_before_seq=found[size - 1].seq)

    async def verify_audit(
        self, *, witness: AuditHead | None = None, on_page: Callable[[int, int], None] | None = None
    ) -> AuditVerdict:
        """Look for the first break of the audit log's chain, a thousand records at a time.

        Args:
            witness: the place and hash of a record as a log line noted them; shows a log that was cut off or rewritten.
            on_page: is told how many records were looked at, and of how many.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
        return await audit_chain.verify(self._connections, witness=witness, on_page=on_page)

    async def close(self) -> None:
        """Give back connections."""
        await self._connections.close()

    async def _change(self, change: Callable[[AsyncConnection, int], Awaitable[ResultT]], event: AuditEvent) -> ResultT:
        """Make a change, whose version is the next revision, and its audit record: both or neither."""

        async def transact(connection: AsyncConnection) -> ResultT:
            revision = await lock_registry(connection) + 1
            result = await change(connection, revision)
            await _set_revision(connection, revision)
            await audit_chain.append(connection, [event])
            return result

        return await self._connections.write(transact)

    async def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return await self._connections.fetch_rows(statement)


async def _set_revision(connection: AsyncConnection, revision: int) -> None:
    await connection.execute(sa.update(registry_revision).values(revision=revision))


def _policy_at(kind: PolicyKind, name: str, version: int) -> sa.ColumnElement[bool]:
    if not 0 < version <= _BIGINT_MAX:
        return sa.false()  # a number that no database column can hold is nobody's version
    at = (policies.c.kind == kind.value, policies.c.name == storable_text(name), policies.c.version == version)
    return sa.and_(*at)


def _audit_page(wanted: AuditFilter) -> sa.Select[Any]:
    page = sa.select(audit).order_by(audit.c.seq.desc())
    for column, name in (
        (audit.c.actor, wanted.actor),
        (audit.c.action, wanted.action),
        (audit.c.customer, wanted.customer),
    ):
        if name is not None:
            page = page.where(column == storable_text(name))
    if wanted.since is not None:
        page = page.where(audit.c.at >= to_micros(wanted.since))
    if wanted.until is not None:
        page = page.where(audit.c.at < to_micros(wanted.until))
    if wanted.before_seq is not None:
        page = page.where(audit.c.seq < max(min(wanted.before_seq, _BIGINT_MAX), 0))
    return page
