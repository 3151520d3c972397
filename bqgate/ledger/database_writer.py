"""Write to the ledger's database while the caller waits, many callers in one transaction.

Used by sql_ledger where there is no journal: `ledger.sync: before_forward`, and whatever is no gate. A write that has
returned is on the database's disk. What leaves: outcomes, and LedgerUnavailable.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from bqgate.domain.entry import Booking
from bqgate.ledger.connections import Connections
from bqgate.ledger.group_commit import GroupCommit
from bqgate.ledger.group_statements import GroupStatements
from bqgate.ledger.lost_races import again_after_lost_races
from bqgate.ledger.price_lists import PriceLists
from bqgate.ledger.writes import Write, encode_write
from bqgate.ports import Clock


class DatabaseWriter:
    """A LedgerWriter that does each write before it returns."""

    taken = 0
    written_count = 0

    def __init__(self, connections: Connections, clock: Clock, *, timeout_s: float, waiting_max: int) -> None:
        self.price_lists = PriceLists(clock)
        self._clock = clock
        self._connections = connections
        self._statements = GroupStatements(connections.dialect)
        self._group_commit = GroupCommit[Write, Booking | None](
            self._write_all, timeout_s=timeout_s, waiting_max=waiting_max
        )

    async def post(self, write: Write) -> Booking | None:
        return await self.submit(write)

    async def submit(self, write: Write) -> Booking | None:
        encode_write(write)  # or it would spoil the whole group
        return await self._group_commit.submit(write)

    async def written(self, *, at_most_s: float | None = None) -> None:
        """Return at once: what was taken is written."""

    async def close(self) -> None:
        await self._group_commit.close()

    async def _write_all(self, group: Sequence[Write]) -> list[Booking | None]:
        """Do writes in one transaction, with the price lists that they name before them."""
        lists = self.price_lists.unwritten(group)

        def do(connection: sa.Connection) -> list[Booking | None]:
            return self._statements.do(connection, [*lists, *group])[len(lists) :]

        results = await again_after_lost_races(
            lambda: self._connections.write(lambda connection: connection.run_sync(do)), self._clock
        )
        self.price_lists.note_written(lists)
        return results
