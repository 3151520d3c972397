"""Implement ports.SweepStore in the ledger's database.

Opened by app beside the ledger, over connections of its own. A job's region is part of its key, because BigQuery's job
ids are unique within one (https://cloud.google.com/bigquery/docs/reference/rest/v2/JobReference). Raises
LedgerUnavailable.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.job import JobRef
from bqgate.domain.place import Place
from bqgate.ledger.connections import TIMEOUT_S, Connections
from bqgate.ledger.rows import from_micros, to_micros
from bqgate.ledger.schema import IS_OPEN, entries, holds, sweep_marks, sweep_pending
from bqgate.ports import PendingJob

# Of one project; those made first come first, and the others when these have ended.
PENDING_MAX = 2_000
_DROPPED_AT_ONCE = 500


class SqlSweepState:
    """Marks and pending jobs in a database. Any number of replicas may share it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        insert = postgresql.insert if connections.dialect == "postgresql" else sqlite.insert
        mark = insert(sweep_marks)
        self._mark = mark.on_conflict_do_update(
            index_elements=[sweep_marks.c.project_id, sweep_marks.c.region],
            set_={"swept_until": mark.excluded.swept_until},
            where=sweep_marks.c.swept_until < mark.excluded.swept_until,
        )
        self._pend = insert(sweep_pending).on_conflict_do_nothing()

    @classmethod
    def open(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Connect at the first call. The tables must be of this version.

        Raises:
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        return cls(Connections(url, timeout_s=timeout_s))

    async def fetch_marks(self) -> Mapping[Place, datetime]:
        """All marks."""
        rows = await self._connections.fetch_rows(sa.select(sweep_marks))
        return {Place(row.project_id, row.region): from_micros(row.swept_until) for row in rows}

    async def fetch_pending(self, project_id: str) -> tuple[PendingJob, ...]:
        """Jobs of a project that ran on, oldest first, at most PENDING_MAX."""
        wanted = (
            sa.select(sweep_pending)
            .where(sweep_pending.c.project_id == project_id)
            .order_by(sweep_pending.c.created_at, sweep_pending.c.job_id)
            .limit(PENDING_MAX)
        )
        return tuple(
            PendingJob(JobRef(row.project_id, row.job_id, row.job_location), from_micros(row.created_at))
            for row in await self._connections.fetch_rows(wanted)
        )

    async def advance(self, place: Place, *, swept_until: datetime, pending: Sequence[PendingJob]) -> None:
        """Set a mark and note pending jobs in one transaction."""
        mark = {"project_id": place.project_id, "region": place.region, "swept_until": to_micros(swept_until)}
        rows = [_row(each) for each in pending]

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(self._mark, mark)
            if rows:
                await connection.execute(self._pend, rows)

        await self._connections.write(write)

    async def note_pending(self, pending: Sequence[PendingJob]) -> None:
        """Note pending jobs."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(self._pend, [_row(each) for each in pending])

        if pending:
            await self._connections.write(write)

    async def drop_marks(self, places: Sequence[Place]) -> None:
        """Forget places."""

        async def write(connection: AsyncConnection) -> None:
            for place in places:
                mark = (sweep_marks.c.project_id == place.project_id, sweep_marks.c.region == place.region)
                await connection.execute(sweep_marks.delete().where(*mark))

        if places:
            await self._connections.write(write)

    async def drop_pending(self, jobs: Sequence[JobRef]) -> None:
        """Forget jobs, in pieces that both databases take."""
        pieces = [jobs[start : start + _DROPPED_AT_ONCE] for start in range(0, len(jobs), _DROPPED_AT_ONCE)]
        key = sa.tuple_(sweep_pending.c.project_id, sweep_pending.c.region, sweep_pending.c.job_id)

        async def write(connection: AsyncConnection) -> None:
            for piece in pieces:
                named = [(job.project_id, _region(job), job.job_id) for job in piece]
                await connection.execute(sweep_pending.delete().where(key.in_(named)))

        if pieces:
            await self._connections.write(write)

    async def fetch_booked_places(self, *, since: datetime) -> frozenset[Place]:
        """Projects and regions of entries booked since a moment."""
        wanted = (
            sa.select(entries.c.job_project_id, entries.c.job_region)
            .where(entries.c.booked_at >= to_micros(since), entries.c.job_project_id.is_not(None))
            .distinct()
        )
        return frozenset(
            Place(row.job_project_id, row.job_region or "") for row in await self._connections.fetch_rows(wanted)
        )

    async def fetch_beginning(self) -> datetime | None:
        """When the ledger began: by its entries and its open holds, of which there are indexes."""
        first = sa.select(
            sa.select(sa.func.min(holds.c.placed_at)).where(IS_OPEN).scalar_subquery(),
            sa.select(sa.func.min(entries.c.booked_at)).scalar_subquery(),
        )
        found = [micros for micros in (await self._connections.fetch_rows(first))[0] if micros is not None]
        return from_micros(min(found)) if found else None

    async def close(self) -> None:
        """Give back connections."""
        await self._connections.close()


def _row(pending: PendingJob) -> dict[str, Any]:
    return {
        "project_id": pending.ref.project_id,
        "region": _region(pending.ref),
        "job_id": pending.ref.job_id,
        "job_location": pending.ref.location,
        "created_at": to_micros(pending.created_at),
    }


def _region(job: JobRef) -> str:
    return (job.location or "").lower()
