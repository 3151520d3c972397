"""Keep PostgreSQL's entries in monthly partitions: make the next ones, drop those that are past retention.

Run by app at the one replica that holds its lease: at once, and once a day. Dropping a month takes its table away at
once; the keys of its entries, the holds that they ended and their sums by hour go afterwards, in slices of some
megabytes with pauses between, so that nobody waits for it. Whoever has the lease next goes on with that.

A month is kept as long as a hold placed in it is open, or the mirror has not taken all of its entries. Sums by day
stay. What fails is counted, logged, and tried again within the hour: bookings do not depend on it.
"""

from collections.abc import Callable
from functools import partial
from typing import Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger.connections import TIMEOUT_S, Connections
from bqgate.ledger.partition_schema import entry_keys
from bqgate.ledger.partitions import MONTHS_AHEAD, Month, drop_month, empty_net, fetch_months, make_months
from bqgate.ledger.rollup_schema import spend_hours
from bqgate.ledger.rows import from_micros
from bqgate.ledger.schema import holds, retention
from bqgate.ports import Clock, Telemetry

ResultT = TypeVar("ResultT")

INTERVAL_S = 86_400
_AGAIN_S = 3_600
_SLICE_BLOCKS = 512
_PAUSE_S = 0.1


class LedgerUpkeep:
    """What is done for the entries' partitions.

    Args:
        connections: to a PostgreSQL database whose tables are of this version.
        clock: which month it is.
        telemetry: hears what was made, dropped, and could not be.
        retention_months: how many whole months are kept beside the one that runs; None: all.
    """

    def __init__(
        self, connections: Connections, clock: Clock, telemetry: Telemetry, *, retention_months: int | None
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._telemetry = telemetry
        self._retention_months = retention_months

    @classmethod
    def open(
        cls,
        url: str,
        clock: Clock,
        telemetry: Telemetry,
        *,
        retention_months: int | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Self:
        """Connect at the first call.

        Raises:
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        return cls(Connections(url, timeout_s=timeout_s), clock, telemetry, retention_months=retention_months)

    async def run(self) -> None:
        """Do it daily, until cancelled."""
        while True:
            try:
                await self.make_months()
                await self.drop_months()
                await self.clear()
            except LedgerUnavailable as error:
                self._telemetry.count("failures_total", system="ledger", step="upkeep")
                self._telemetry.log("ledger_upkeep_failed", error=str(error))
                await self._clock.sleep(_AGAIN_S)
            else:
                await self._clock.sleep(INTERVAL_S)

    async def make_months(self) -> list[Month]:
        """Make the partitions of this month and the next ones, and of what lies in the net; which were made.

        Raises:
            LedgerUnavailable: not all of them were, for now.
        """
        now = self._clock.now()
        first = Month.of(now)

        def make(connection: sa.Connection) -> list[Month]:
            moved = empty_net(connection, now=now)
            return moved + make_months(connection, (first.after(each) for each in range(MONTHS_AHEAD + 1)))

        made = await self._write(make)
        if made:
            self._telemetry.log("ledger_months_made", months=[month.table for month in made])
        return made

    async def drop_months(self) -> list[Month]:
        """Drop the months that are past retention, oldest first, until one is still needed; which were dropped.

        Raises:
            LedgerUnavailable: not all of them were, for now.
        """
        if self._retention_months is None:
            return []
        kept = Month.of(self._clock.now()).after(-self._retention_months)
        dropped: list[Month] = []
        for month in await self._write(fetch_months):
            if month >= kept or not await self._write(partial(drop_month, month=month)):
                break
            self._telemetry.count("ledger_months_dropped_total")
            self._telemetry.log("ledger_month_dropped", month=month.table)
            dropped.append(month)
        return dropped

    async def clear(self) -> int:
        """Delete what went with dropped entries, slice by slice: keys, ended holds, sums by hour; how many rows.

        Raises:
            LedgerUnavailable: not all of them were; the next call begins anew.
        """
        rows = await self._connections.fetch_rows(sa.select(retention))
        if not rows or rows[0].cleared_since >= rows[0].kept_since:
            return 0
        kept_since = rows[0].kept_since
        its_entry = sa.select(entry_keys.c.id).where(entry_keys.c.hold_id == holds.c.id)
        ended = (holds.c.ended_at < kept_since, holds.c.placed_at < kept_since, ~sa.exists(its_entry))
        count = await self._delete(entry_keys, entry_keys.c.booked_at < kept_since)
        count += await self._delete(holds, sa.and_(*ended))
        count += await self._delete(spend_hours, spend_hours.c.hour < kept_since)
        await self._write(partial(_run, sa.update(retention).values(cleared_since=kept_since)))
        self._telemetry.log("ledger_cleared", rows=count, kept_since=from_micros(kept_since).isoformat())
        return count

    async def close(self) -> None:
        """Give back connections."""
        await self._connections.close()

    async def _delete(self, table: sa.Table, is_past: sa.ColumnElement[bool]) -> int:
        """Delete rows along the table's blocks, which needs no index of its own; how many."""
        block_bytes = sa.cast(sa.func.current_setting("block_size"), sa.BigInteger)
        size = sa.func.pg_relation_size(table.name, type_=sa.BigInteger) // block_bytes
        blocks = (await self._connections.fetch_rows(sa.select(size)))[0][0]
        count = 0
        for first in range(0, blocks, _SLICE_BLOCKS):
            in_slice = sa.text(f"ctid >= '({first},0)'::tid AND ctid < '({first + _SLICE_BLOCKS},0)'::tid")
            count += await self._write(partial(_run, sa.delete(table).where(in_slice, is_past)))
            await self._clock.sleep(_PAUSE_S)
        return count

    async def _write(self, work: Callable[[sa.Connection], ResultT]) -> ResultT:
        async def write(connection: AsyncConnection) -> ResultT:
            return await connection.run_sync(work)

        return await self._connections.write(write)


def _run(change: sa.Update | sa.Delete, connection: sa.Connection) -> int:
    """Execute a change; of how many rows it was."""
    return connection.execute(change).rowcount
