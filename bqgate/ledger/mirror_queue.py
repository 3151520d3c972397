"""Implement ports.MirrorQueue on SQLite and PostgreSQL, in the ledger's database.

Opened by app, called by exports.Mirror. Why nothing is lost and nothing comes twice:

- An entry and its place in the queue are one transaction, by a trigger on `entries`; so an order of commits, clocks and
  late bookings do not matter.
- A mirror may begin while gates book. `begin` writes its row; from then on triggers see it. PostgreSQL's transactions
  that were under way then may not have: `fill` waits until all of them have ended (`horizon`), then walks over the
  entries that are there, page by page. Nothing leaves the queue before the walk is over, so an entry that both the
  walk and a trigger have met is in it once.
- A batch's rows are written down before anything is sent. Its end takes them out of the queue, in one transaction that
  looks whether this attempt is still the one that is under way.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bqgate.domain.entry import Entry
from bqgate.ledger.connections import TIMEOUT_S, Connections
from bqgate.ledger.mirror_schema import mirror, mirror_queue
from bqgate.ledger.rows import entry_of, from_micros, to_micros
from bqgate.ledger.schema import entries
from bqgate.ports import MirrorBacklog, MirrorBatch, MirrorState

_CHARS_MAX = 500
_PAGE_ENTRIES = 500
_WALKED = ("horizon", "filled_at", "filled_id")


class SqlMirrorQueue:
    """The mirror's queue in a database whose tables are of this version. Any number of replicas may share it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._is_postgresql = connections.dialect == "postgresql"
        self._insert = postgresql.insert if self._is_postgresql else sqlite.insert

    @classmethod
    def open(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Connect at the first call.

        Raises:
            ValueError: the URL is not one of SQLite or PostgreSQL.
        """
        return cls(Connections(url, timeout_s=timeout_s))

    async def fetch_state(self) -> MirrorState | None:
        """How far the mirror is; None: there is none."""

        async def fetch(connection: AsyncConnection) -> MirrorState | None:
            row = (await connection.execute(sa.select(mirror))).first()
            if row is None:
                return None
            last = MirrorBatch(row.epoch, row.batch, row.attempt, await _count(connection, row.batch))
            return MirrorState(row.target, row.epoch, last, row.is_open, row.row_count, row.policies)

        return await self._connections.read(fetch)

    async def begin(self, target: str, epoch: str, *, seen: MirrorState | None) -> bool:
        """Begin a mirror anew, where nobody has done anything since; have triggers fill its queue from now on."""
        begun = {"target": target, "epoch": epoch, "batch": 0, "attempt": 0, "row_count": 0, "policies": {}}
        row = {"id": 1, **begun, "is_filled": False, "is_open": False, **dict.fromkeys(_WALKED)}

        async def write(connection: AsyncConnection) -> bool:
            if seen is None:
                change: sa.Insert | sa.Update = self._insert(mirror).values(row).on_conflict_do_nothing()
            else:
                its_batch = (mirror.c.epoch, mirror.c.batch, mirror.c.attempt)
                last = (seen.epoch, seen.last.number, seen.last.attempt)
                change = sa.update(mirror).where(sa.tuple_(*its_batch) == last).values(row)
            if not (await connection.execute(change.execution_options(preserve_rowcount=True))).rowcount:
                return False
            await connection.execute(sa.delete(mirror_queue))
            return True

        return await self._connections.write(write)

    async def fill(self, count_max: int) -> bool:
        """Walk over the next entries of before the mirror; True: all of them are in the queue."""
        if self._is_postgresql and not await self._know_all():
            return False

        async def walk(connection: AsyncConnection) -> bool:
            state = await _locked(connection)
            if state is None or state.is_filled:
                return state is not None
            page = sa.select(entries.c.id, entries.c.booked_at).order_by(entries.c.booked_at, entries.c.id)
            if state.filled_at is not None:
                reached = sa.tuple_(sa.literal(state.filled_at), sa.literal(state.filled_id))
                page = page.where(sa.tuple_(entries.c.booked_at, entries.c.id) > reached)
            rows = (await connection.execute(page.limit(count_max))).all()
            if rows:
                queued = [{"entry_id": row.id, "booked_at": row.booked_at} for row in rows]
                await connection.execute(self._insert(mirror_queue).on_conflict_do_nothing(), queued)
            is_filled = len(rows) < count_max
            last = {"filled_at": rows[-1].booked_at, "filled_id": rows[-1].id} if rows else {}
            await connection.execute(sa.update(mirror).values(**last, is_filled=is_filled))
            return is_filled

        return await self._connections.write(walk)

    async def open_batch(self, count_max: int) -> MirrorBatch | None:
        """The batch on its way, else a new one of the oldest entries that wait."""

        async def open_one(connection: AsyncConnection) -> MirrorBatch | None:
            state = await _locked(connection)
            if state is None or not state.is_filled:
                return None
            number, attempt = state.batch, state.attempt
            if not state.is_open:
                number, attempt = state.batch + 1, 1
                waiting = (
                    sa.select(mirror_queue.c.entry_id)
                    .where(mirror_queue.c.batch.is_(None), mirror_queue.c.refusal.is_(None))
                    .order_by(mirror_queue.c.booked_at, mirror_queue.c.entry_id)
                    .limit(count_max)
                )
                taken = sa.update(mirror_queue).where(mirror_queue.c.entry_id.in_(waiting)).values(batch=number)
                if (await connection.execute(taken)).rowcount == 0:
                    return None
                await connection.execute(sa.update(mirror).values(batch=number, attempt=attempt, is_open=True))
            return MirrorBatch(state.epoch, number, attempt, await _count(connection, number))

        return await self._connections.write(open_one)

    async def fetch_batch(self, batch: MirrorBatch) -> AsyncIterator[tuple[Entry, ...]]:
        """The entries of a batch, the oldest first, a page at a time: the event loop is others' too."""
        place = sa.tuple_(mirror_queue.c.booked_at, mirror_queue.c.entry_id)
        wanted = (
            sa.select(entries)
            .join(mirror_queue, mirror_queue.c.entry_id == entries.c.id)
            .where(mirror_queue.c.batch == batch.number)
            .order_by(mirror_queue.c.booked_at, mirror_queue.c.entry_id)
            .limit(_PAGE_ENTRIES)
        )

        async def fetch(connection: AsyncConnection) -> tuple[Entry, ...]:
            return tuple(entry_of(row) for row in (await connection.execute(page)).all())

        page = wanted
        while found := await self._connections.read(fetch):
            yield found
            last = sa.tuple_(sa.literal(to_micros(found[-1].booked_at)), sa.literal(found[-1].id))
            page = wanted.where(place > last)

    async def close_batch(self, batch: MirrorBatch) -> bool:
        """Take a batch's entries out of the queue, where this attempt is the one under way."""

        async def end(connection: AsyncConnection) -> bool:
            state = await _locked(connection)
            if not _is_under_way(state, batch):
                return False
            taken = await connection.execute(sa.delete(mirror_queue).where(mirror_queue.c.batch == batch.number))
            count = mirror.c.row_count + taken.rowcount
            await connection.execute(sa.update(mirror).values(is_open=False, row_count=count))
            return True

        return await self._connections.write(end)

    async def retry_batch(self, batch: MirrorBatch, *, keep: int | None = None, refusal: str = "") -> None:
        """Go on with another attempt, with fewer entries, or without them; see ports.MirrorQueue."""
        its_rows = mirror_queue.c.batch == batch.number

        async def change(connection: AsyncConnection) -> None:
            if not _is_under_way(await _locked(connection), batch):
                return
            if refusal:
                aside = sa.update(mirror_queue).where(its_rows).values(batch=None, refusal=refusal[:_CHARS_MAX])
                await connection.execute(aside)
                await connection.execute(sa.update(mirror).values(is_open=False))
                return
            if keep is not None:
                oldest = (
                    sa.select(mirror_queue.c.entry_id)
                    .where(its_rows)
                    .order_by(mirror_queue.c.booked_at, mirror_queue.c.entry_id)
                    .limit(keep)
                )
                others = its_rows & mirror_queue.c.entry_id.not_in(oldest)
                await connection.execute(sa.update(mirror_queue).where(others).values(batch=None))
            await connection.execute(sa.update(mirror).values(attempt=mirror.c.attempt + 1))

        await self._connections.write(change)

    async def retry_refused(self) -> None:
        """Let entries that were set aside be tried again."""
        refused = sa.update(mirror_queue).where(mirror_queue.c.refusal.is_not(None)).values(refusal=None)
        await self._write(refused)

    async def keep_policies(self, policies: Mapping[str, str]) -> None:
        """Remember which row access policies were made, and how."""
        await self._write(sa.update(mirror).values(policies=dict(policies)))

    async def fetch_backlog(self) -> MirrorBacklog:
        """What is not mirrored."""
        oldest = sa.select(sa.func.min(mirror_queue.c.booked_at)).scalar_subquery()
        refused = sa.select(sa.func.count()).where(mirror_queue.c.refusal.is_not(None)).scalar_subquery()

        async def fetch(connection: AsyncConnection) -> MirrorBacklog:
            row = (await connection.execute(sa.select(oldest.label("oldest"), refused.label("refused")))).one()
            return MirrorBacklog(None if row.oldest is None else from_micros(row.oldest), row.refused)

        return await self._connections.read(fetch)

    async def close(self) -> None:
        """Give back connections."""
        await self._connections.close()

    async def _know_all(self) -> bool:
        """Whether every transaction that may not have heard of the mirror has ended.

        The first call notes which ones there are, after the mirror's row was committed; those that begin later see it.
        """

        async def look(connection: AsyncConnection) -> bool:
            state = await _locked(connection)
            if state is None:
                return False
            snapshot = sa.func.pg_current_snapshot()
            newest = sa.cast(sa.func.pg_snapshot_xmax(snapshot), sa.Text).label("newest")
            oldest = sa.cast(sa.func.pg_snapshot_xmin(snapshot), sa.Text).label("oldest")
            row = (await connection.execute(sa.select(newest, oldest))).one()
            if state.horizon is None:
                await connection.execute(sa.update(mirror).values(horizon=row.newest))
                return False
            return int(row.oldest) >= int(state.horizon)

        return await self._connections.write(look)

    async def _write(self, statement: sa.Update) -> None:
        async def write(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._connections.write(write)


async def _locked(connection: AsyncConnection) -> sa.Row[Any] | None:
    """The mirror's row, which no other replica changes until this transaction ends."""
    return (await connection.execute(sa.select(mirror).with_for_update())).first()


async def _count(connection: AsyncConnection, batch: int) -> int:
    count = sa.select(sa.func.count()).select_from(mirror_queue).where(mirror_queue.c.batch == batch)
    return int((await connection.execute(count)).scalar_one())


def _is_under_way(state: sa.Row[Any] | None, batch: MirrorBatch) -> bool:
    if state is None or not state.is_open:
        return False
    return (state.epoch, state.batch, state.attempt) == (batch.epoch, batch.number, batch.attempt)
