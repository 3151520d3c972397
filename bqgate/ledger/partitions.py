"""Make, fill and drop the monthly partitions of PostgreSQL's entries, each in the caller's transaction.

Called by upkeep, by migrate, and by restore, whose entries are of months that have no partition yet. A month is a
table, entries_2026_11, of what was booked in that month of UTC; entries_default takes what fits no month, so that no
booking ever fails for want of one. Making or dropping one locks the table for a moment: whoever reads or writes
meanwhile is kept waiting no longer than LOCK_TIMEOUT, after which the change is given up, to be tried again later.

Triggers that are about rows come with the parent; the one that keeps a month append-only whoever names it directly is
made with the month.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from bqgate.ledger.mirror_schema import mirror, mirror_queue
from bqgate.ledger.rows import from_micros, to_micros
from bqgate.ledger.schema import IS_OPEN, entries, holds, retention

NET = "entries_default"
LOCK_TIMEOUT = "2s"
MONTHS_AHEAD = 4
# Entries booked longer ago than this, or later than the months that are made ahead, stay in the net.
_MONTHS_BACK_MAX = 240
_PARTITIONS = (
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'entries'::regclass"
)
_NAME_FORMAT = "entries_%Y_%m"


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of UTC."""

    number: int  # months since the year 0

    @classmethod
    def of(cls, moment: datetime) -> "Month":
        """The month in which a moment is."""
        utc = moment.astimezone(UTC)
        return cls(utc.year * 12 + utc.month - 1)

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime(self.number // 12, self.number % 12 + 1, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment of the next."""
        return self.after(1).start

    @property
    def table(self) -> str:
        """The name of its partition."""
        return self.start.strftime(_NAME_FORMAT)

    def after(self, months: int) -> "Month":
        """The month so many months later."""
        return Month(self.number + months)


def fetch_months(connection: sa.Connection) -> list[Month]:
    """The months that have a partition, oldest first."""
    return sorted(_months_named(connection.exec_driver_sql(_PARTITIONS).scalars()))


def make_months(connection: sa.Connection, months: Iterable[Month]) -> list[Month]:
    """Make the partitions of these months, of those that have none; which were made."""
    there = set(fetch_months(connection))
    missing = sorted(set(months) - there)
    if missing:
        _set_lock_timeout(connection)
    for month in missing:
        _create(connection, month.table)
        _attach(connection, month)
    return missing


def empty_net(connection: sa.Connection, *, now: datetime) -> list[Month]:
    """Move what lies in the net, because its month had no partition, into one of its month; which were made.

    The net itself is replaced and what it had is copied, since nobody deletes from it.
    """
    last = Month.of(now).after(MONTHS_AHEAD)
    first = Month.of(now).after(-_MONTHS_BACK_MAX)
    booked_at = sa.table(NET, sa.column("booked_at", sa.BigInteger)).c.booked_at
    in_reach = booked_at.between(to_micros(first.start), to_micros(last.end) - 1)
    if connection.execute(sa.select(booked_at).where(in_reach).limit(1)).first() is None:
        return []
    _set_lock_timeout(connection)
    connection.exec_driver_sql(f"ALTER TABLE entries DETACH PARTITION {NET}")
    month_start = sa.func.date_trunc("month", sa.func.to_timestamp(booked_at / 1_000_000).op("AT TIME ZONE")("UTC"))
    found = connection.execute(sa.select(month_start).distinct().where(in_reach)).scalars()
    months = sorted(Month.of(each.replace(tzinfo=UTC)) for each in found)
    connection.exec_driver_sql(f"ALTER TABLE {NET} RENAME TO entries_moving")
    _create(connection, NET)
    for month in months:
        _create(connection, month.table)
        _copy(connection, month.table, f"booked_at >= {to_micros(month.start)} AND booked_at < {to_micros(month.end)}")
    _copy(connection, NET, f"NOT (booked_at >= {to_micros(first.start)} AND booked_at < {to_micros(last.end)})")
    for month in months:
        _attach(connection, month)
    connection.exec_driver_sql(f"ALTER TABLE entries ATTACH PARTITION {NET} DEFAULT")
    connection.exec_driver_sql("DROP TABLE entries_moving")
    return months


def drop_month(connection: sa.Connection, *, month: Month) -> bool:
    """Drop a month's entries and remember from when on they are kept; False: something still needs them.

    That is a hold placed before its end that is still open, or an entry that the mirror has not taken yet.
    """
    end_micros = to_micros(month.end)
    open_hold = sa.select(holds.c.id).where(IS_OPEN, holds.c.placed_at < end_micros)
    unmirrored = sa.select(mirror_queue.c.entry_id).where(mirror_queue.c.booked_at < end_micros)
    unwalked = sa.select(mirror.c.id).where(mirror.c.is_filled.is_(False))
    needs = (open_hold, unmirrored.where(mirror_queue.c.refusal.is_(None)), unwalked)
    if connection.execute(sa.select(sa.or_(*(sa.exists(each) for each in needs)))).scalar_one():
        return False
    _set_lock_timeout(connection)
    changed = connection.execute(sa.update(retention).values(kept_since=end_micros))
    if not changed.rowcount:
        connection.execute(sa.insert(retention).values(id=1, kept_since=end_micros, cleared_since=0))
    connection.exec_driver_sql(f"DROP TABLE {month.table}")
    return True


def fetch_this_month(connection: sa.Connection) -> Month:
    """The month that it is by the database's clock."""
    return Month.of(connection.execute(sa.select(sa.func.now())).scalar_one())


def months_of(booked_at: Iterable[int], *, last: Month) -> set[Month]:
    """The months of entries that were booked at these microseconds, but for those that stay in the net."""
    reach = range(to_micros(last.after(-_MONTHS_BACK_MAX).start), to_micros(last.end))
    return {Month.of(from_micros(each)) for each in booked_at if each in reach}


def _months_named(names: Iterable[str]) -> Iterator[Month]:
    for name in names:
        with suppress(ValueError):  # the net, or somebody's own
            yield Month.of(datetime.strptime(name, _NAME_FORMAT).replace(tzinfo=UTC))


def _set_lock_timeout(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def _create(connection: sa.Connection, name: str) -> None:
    """A table like the partitions, that is none yet."""
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    connection.exec_driver_sql(
        f"CREATE TRIGGER entries_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_append_only()"
    )


def _attach(connection: sa.Connection, month: Month) -> None:
    bounds = f"FROM ({to_micros(month.start)}) TO ({to_micros(month.end)})"
    connection.exec_driver_sql(f"ALTER TABLE entries ATTACH PARTITION {month.table} FOR VALUES {bounds}")


def _copy(connection: sa.Connection, name: str, where: str) -> None:
    columns = ", ".join(column.name for column in entries.columns)
    connection.exec_driver_sql(
        f"INSERT INTO {name} ({columns}) SELECT {columns} FROM entries_moving WHERE {where}"  # noqa: S608 - ours
    )
