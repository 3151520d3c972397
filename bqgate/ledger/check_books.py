"""Look whether holds and charges agree, for `bqgate ledger verify`.

Called by cli, reads only. The ledger's own transactions and unique indexes keep all of this true; what is found here
was written by somebody else, or after an index was dropped. Each question reads the tables once, by their indexes where
they are there, and gives a count and a few examples, so that memory stays flat on any number of rows.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.entry import EntryKind
from bqgate.domain.hold import HoldState
from bqgate.ledger.connections import Connections
from bqgate.ledger.schema import IS_CHARGE_OF_EU, IS_CHARGE_OF_REGION, IS_CHARGE_OF_US, entries, holds

# Whole tables are read; the limits of a query's path are not for this.
PATIENCE_S = 600.0
_EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True)
class BooksFault:
    """What does not agree, how often, and the ids of the first few."""

    what: str
    count: int
    examples: tuple[str, ...]


async def check_books(url: str, *, timeout_s: float = PATIENCE_S) -> tuple[BooksFault, ...]:
    """Everything in which holds and charges do not agree; empty where they do.

    Args:
        url: of a ledger whose tables are of this version.
        timeout_s: the longest that one question may take.

    Raises:
        LedgerUnavailable: the database did not answer.
        ValueError: the URL is not one of SQLite or PostgreSQL.
    """
    connections = Connections(url, timeout_s=timeout_s)
    try:
        faults = [await _ask(connections, what, question) for what, question in _QUESTIONS]
    finally:
        await connections.close()
    return tuple(fault for fault in faults if fault.count)


async def _ask(connections: Connections, what: str, question: sa.Select[Any]) -> BooksFault:
    culprits = question.subquery()
    count = sa.select(sa.func.count()).select_from(culprits)
    examples = sa.select(culprits).limit(_EXAMPLES_MAX)

    async def ask(connection: AsyncConnection) -> BooksFault:
        found = (await connection.execute(count)).scalar_one()
        rows = (await connection.execute(examples)).all() if found else []
        return BooksFault(what, int(found), tuple(" ".join(str(part) for part in row) for row in rows))

    return await connections.read(ask)


def _captured_without_charge() -> sa.Select[Any]:
    its_charge = sa.and_(entries.c.hold_id == holds.c.id, entries.c.kind == EntryKind.CHARGE.value)
    return (
        sa.select(holds.c.id)
        .outerjoin(entries, its_charge)
        .where(holds.c.state == HoldState.CAPTURED.value, entries.c.id.is_(None))
    )


def _booked_but_open() -> sa.Select[Any]:
    return sa.select(holds.c.id).join(entries, entries.c.hold_id == holds.c.id).where(holds.c.ended_at.is_(None))


def _booked_twice(where: sa.TextClause, *more: sa.Column[Any]) -> sa.Select[Any]:
    job = (entries.c.job_project_id, entries.c.job_id, *more)
    return sa.select(*job).where(where).group_by(*job).having(sa.func.count() > 1)


def _hold_booked_twice() -> sa.Select[Any]:
    of_a_hold = sa.select(entries.c.hold_id).where(entries.c.hold_id.is_not(None))
    return of_a_hold.group_by(entries.c.hold_id).having(sa.func.count() > 1)


_QUESTIONS: tuple[tuple[str, sa.Select[Any]], ...] = (
    ("captured holds without a charge", _captured_without_charge()),
    ("holds that are open though they were booked", _booked_but_open()),
    ("holds with more than one entry", _hold_booked_twice()),
    ("jobs charged twice (US, or no location)", _booked_twice(IS_CHARGE_OF_US)),
    ("jobs charged twice (EU, or no location)", _booked_twice(IS_CHARGE_OF_EU)),
    ("jobs charged twice (another region)", _booked_twice(IS_CHARGE_OF_REGION, entries.c.job_region)),
)
