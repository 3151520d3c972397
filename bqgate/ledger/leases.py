"""Implement ports.LeaseStore in the ledger's database: one row for each lease, changed only if nobody else has.

Opened by app beside the ledger, over connections of its own. Raises LedgerUnavailable.
"""

from typing import Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.ledger.connections import TIMEOUT_S, Connections
from bqgate.ledger.schema import leases
from bqgate.ports import LeaseRecord


class SqlLeases:
    """Leases in a database. Any number of replicas may share it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._insert = postgresql.insert if connections.dialect == "postgresql" else sqlite.insert

    @classmethod
    def open(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Connect at the first call. The tables must be of this version.

        Raises:
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        return cls(Connections(url, timeout_s=timeout_s))

    async def fetch_lease(self, name: str) -> LeaseRecord:
        """The lease as it stands."""

        async def fetch(connection: AsyncConnection) -> LeaseRecord:
            wanted = sa.select(leases.c.holder, leases.c.beat).where(leases.c.name == name)
            row = (await connection.execute(wanted)).first()
            return LeaseRecord("", 0) if row is None else LeaseRecord(row.holder, row.beat)

        return await self._connections.read(fetch)

    async def take_lease(self, name: str, *, holder: str, seen: LeaseRecord) -> bool:
        """Write `holder` and the next beat, if the lease stands as it was seen."""
        row = {"name": name, "holder": holder, "beat": seen.beat + 1}
        changed: sa.Insert | sa.Update
        if seen.beat == 0:
            changed = self._insert(leases).values(row).on_conflict_do_nothing()
        else:
            stands = sa.and_(leases.c.name == name, leases.c.holder == seen.holder, leases.c.beat == seen.beat)
            changed = leases.update().where(stands).values(row)

        async def take(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(changed.execution_options(preserve_rowcount=True))).rowcount)

        return await self._connections.write(take)

    async def close(self) -> None:
        """Give back connections."""
        await self._connections.close()
