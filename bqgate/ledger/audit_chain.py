"""Append to the audit log so that its chain never forks, and find where somebody broke it.

Used by registry. Appending is for a transaction that holds `lock_registry`: whoever comes next waits, and then sees the
record to go on from (READ COMMITTED gives each statement the newest rows). The primary key is the second net: two
records can never have one place. Verifying reads 1,000 records at a time, so that memory stays flat on any length.

What a chain of hashes shows by itself is a record that was changed, removed, put in or moved. Who cuts off its end, or
writes all of it anew, leaves a chain that is whole; that shows against a witness from elsewhere: the log lines
`audit_head`, which have the place and hash of the last record at their time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.audit import GENESIS, AuditEvent, AuditRecord, chain_hash, chained
from bqgate.ledger.connections import Connections
from bqgate.ledger.registry_rows import record_of, record_row, storable
from bqgate.ledger.registry_schema import audit, registry_revision

PAGE_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The place and hash of the last record at some time, as a log line tells them."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditBreak:
    """The first place where the log is not as it was written, and what is wrong there."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """How many records stand unbroken from the first on, the last one's hash, and what comes then, if anything."""

    records: int
    head_hash: str
    broken: AuditBreak | None = None


async def lock_registry(connection: AsyncConnection) -> int:
    """Keep every other writer of the registry waiting until this transaction ends; the present revision."""
    found = await connection.execute(sa.select(registry_revision.c.revision).with_for_update())
    revision: int = found.scalar_one()
    return revision


async def append(connection: AsyncConnection, events: Sequence[AuditEvent]) -> tuple[AuditRecord, ...]:
    """Chain events behind the last record, in order. The transaction holds the lock."""
    last = (
        await connection.execute(sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1))
    ).first()
    seq, previous_hash = (0, GENESIS) if last is None else (last.seq, last.hash)
    records: list[AuditRecord] = []
    for event in events:
        record = chained(seq + 1, storable(event), previous_hash)
        seq, previous_hash = record.seq, record.hash
        records.append(record)
    await connection.execute(sa.insert(audit), [record_row(record) for record in records])
    return tuple(records)


async def verify(
    connections: Connections,
    *,
    witness: AuditHead | None = None,
    on_page: Callable[[int, int], None] | None = None,
) -> AuditVerdict:
    """Look at every record that is there now, oldest first, up to the first break.

    Args:
        connections: to the registry's database.
        witness: a head that was noted elsewhere; the log must still have that record.
        on_page: is told how many records were looked at, and of how many.

    Raises:
        LedgerUnavailable: the database did not answer.
    """
    end = await _fetch_end(connections)
    head = AuditHead(0, GENESIS)
    after: int | None = None
    while rows := await _fetch_page(connections, after, end):
        for row in rows:
            broken = _break_at(row, head, witness)
            if broken is not None:
                return AuditVerdict(head.seq, head.hash, broken)
            head = AuditHead(row.seq, row.hash)
        after = head.seq
        if on_page is not None:
            on_page(head.seq, end)
    if witness is not None and witness.seq > head.seq:
        why = f"the log ends before this record, but the witness saw record {witness.seq}"
        return AuditVerdict(head.seq, head.hash, AuditBreak(head.seq + 1, why))
    return AuditVerdict(head.seq, head.hash)


def _break_at(row: sa.Row[Any], head: AuditHead, witness: AuditHead | None) -> AuditBreak | None:
    """What is wrong with a record that should come right behind `head`."""
    expected = head.seq + 1
    if row.seq > expected:
        return AuditBreak(expected, f"the record is missing; the next one there is {row.seq}")
    if row.seq < expected:
        return AuditBreak(row.seq, "records count from 1; there is none of this number")
    if row.previous_hash != head.hash:
        return AuditBreak(expected, "it does not continue from the record before it")
    try:
        record = record_of(row)
        is_whole = record.hash == chain_hash(record.seq, record.event, record.previous_hash)
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    if not is_whole:
        return AuditBreak(expected, "its content is not what its hash was made of")
    if witness is not None and witness.seq == expected and witness.hash != row.hash:
        return AuditBreak(expected, "it is not the record that the witness saw; the log was written anew")
    return None


async def _fetch_end(connections: Connections) -> int:
    async def fetch(connection: AsyncConnection) -> int:
        return (await connection.execute(sa.select(sa.func.max(audit.c.seq)))).scalar() or 0

    return await connections.read(fetch)


async def _fetch_page(connections: Connections, after: int | None, end: int) -> Sequence[sa.Row[Any]]:
    page = sa.select(audit).where(audit.c.seq <= end).order_by(audit.c.seq).limit(PAGE_RECORDS)
    if after is not None:
        page = page.where(audit.c.seq > after)

    async def fetch(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
        rows: Sequence[sa.Row[Any]] = (await connection.execute(page)).all()
        return rows

    return await connections.read(fetch)
