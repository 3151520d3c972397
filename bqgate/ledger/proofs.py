"""Implement ports.ProofSource in the ledger's database: what a proof against BigQuery reads.

Opened by app for the command line, over connections of its own that may take long. Raises LedgerUnavailable.
"""

from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa

from bqgate.domain.entry import Entry, EntryKind, Origin
from bqgate.ledger.check_books import PATIENCE_S
from bqgate.ledger.connections import Connections
from bqgate.ledger.queries import HAS_ITS_CHARGE, ORIGIN
from bqgate.ledger.rows import entry_of, to_micros
from bqgate.ledger.schema import entries

PAGE = 1_000
_IS_CHARGE = entries.c.kind == EntryKind.CHARGE.value


class SqlProofs:
    """Reads a ledger for a proof."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @classmethod
    def open(cls, url: str, *, timeout_s: float = PATIENCE_S) -> Self:
        """Connect at the first call. The tables must be of this version.

        Raises:
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        return cls(Connections(url, timeout_s=timeout_s))

    async def fetch_charges_made(
        self, project_id: str, *, since: datetime, until: datetime, customer: str | None, after_id: str
    ) -> tuple[Entry, ...]:
        """Charges of a project's jobs, PAGE of them at most."""
        wanted = (
            sa.select(entries)
            .where(_IS_CHARGE, entries.c.job_project_id == project_id, _made(since, until), entries.c.id > after_id)
            .order_by(entries.c.id)
            .limit(PAGE)
        )
        return tuple(entry_of(row) for row in await self._connections.fetch_rows(_of(customer, wanted)))

    async def fetch_jobless(self, *, since: datetime, until: datetime, customer: str | None) -> tuple[int, int]:
        """How many charges that cost something have no job and were not metered, and what they cost."""
        wanted = sa.select(
            sa.func.count().label("charge_count"), sa.func.coalesce(sa.func.sum(entries.c.cost_nanos), 0).label("nanos")
        ).where(
            _IS_CHARGE,
            entries.c.job_id.is_(None),
            entries.c.cost_nanos != 0,
            ORIGIN != Origin.METERED.value,
            _made(since, until),
        )
        row = (await self._connections.fetch_rows(_of(customer, wanted)))[0]
        return int(row.charge_count), int(row.nanos)

    async def fetch_stray_adjustments(
        self, *, since: datetime, until: datetime, customer: str | None
    ) -> tuple[Entry, ...]:
        """Adjustments without a charge, PAGE of them at most."""
        charges = entries.alias("charges")
        wanted = (
            sa.select(entries)
            .outerjoin(charges, sa.and_(charges.c.id == entries.c.adjusts, charges.c.kind == EntryKind.CHARGE.value))
            .where(
                entries.c.kind == EntryKind.ADJUSTMENT.value,
                charges.c.id.is_(None),
                HAS_ITS_CHARGE,
                _made(since, until),
            )
            .order_by(entries.c.id)
            .limit(PAGE)
        )
        return tuple(entry_of(row) for row in await self._connections.fetch_rows(_of(customer, wanted)))

    async def close(self) -> None:
        """Give back connections."""
        await self._connections.close()


def _made(since: datetime, until: datetime) -> sa.ColumnElement[bool]:
    start, end = to_micros(since), to_micros(until)
    return sa.or_(
        sa.and_(entries.c.placed_at >= start, entries.c.placed_at < end),
        sa.and_(entries.c.placed_at.is_(None), entries.c.booked_at >= start, entries.c.booked_at < end),
    )


def _of(customer: str | None, wanted: sa.Select[Any]) -> sa.Select[Any]:
    return wanted if customer is None else wanted.where(entries.c.customer == customer)
