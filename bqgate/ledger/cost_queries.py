"""Build the ledger's question about what was booked since a moment as SQL.

Called by sql_ledger, which runs it; pure. The moment may be in the midst of an hour: the rest of that hour is added up
from its entries, the rest of that day from the sums by hour, and all that comes after from the sums by day. One
statement, so that all three are of one moment; sums are exact whole numbers in both databases.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bqgate.domain.entry import EntryKind
from bqgate.ledger.queries import ORIGIN, SPENDING_KINDS
from bqgate.ledger.rollup_schema import spend_days, spend_hours
from bqgate.ledger.rows import to_micros
from bqgate.ledger.schema import entries

_SUMS = ("cost_nanos", "bytes_billed", "slot_ms", "job_count")


def costs_since(since: datetime, customer: str | None) -> sa.Select[Any]:
    """Spend by customer, principal and origin. Adjustments change the sums but are no jobs."""
    hour, day = _next_hour(since), _next_day(since)
    parts = sa.union_all(
        _of_entries(since, hour, customer), _of_hours(hour, day, customer), _of_days(day, customer)
    ).subquery()
    key = (parts.c.customer, parts.c.principal, parts.c.origin)
    sums = {name: sa.func.sum(parts.c[name]) for name in _SUMS}
    return (
        sa.select(*key, *(each.label(name) for name, each in sums.items()))
        .group_by(*key)
        .order_by(sums["cost_nanos"].desc(), *key)
    )


def _next_hour(moment: datetime) -> datetime:
    """The first whole hour that does not begin before a moment."""
    began = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return began if began == moment else began + timedelta(hours=1)


def _next_day(moment: datetime) -> datetime:
    began = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return began if began == moment else began + timedelta(days=1)


def _of_entries(since: datetime, until: datetime, customer: str | None) -> sa.Select[Any]:
    # Not the bare column: SQLite would walk all of another index, in the order of customers.
    name = sa.func.coalesce(entries.c.customer, sa.literal_column("''"))
    found = sa.select(
        name.label("customer"),
        entries.c.principal,
        ORIGIN.label("origin"),
        entries.c.cost_nanos,
        entries.c.bytes_billed,
        entries.c.slot_ms,
        sa.case((entries.c.kind == EntryKind.CHARGE.value, 1), else_=0).label("job_count"),
    ).where(
        entries.c.kind.in_(SPENDING_KINDS),
        entries.c.booked_at >= to_micros(since),
        entries.c.booked_at < to_micros(until),
    )
    return found if customer is None else found.where(entries.c.customer == customer)


def _of_hours(since: datetime, until: datetime, customer: str | None) -> sa.Select[Any]:
    found = _summed(spend_hours).where(spend_hours.c.hour >= to_micros(since), spend_hours.c.hour < to_micros(until))
    return found if customer is None else found.where(spend_hours.c.customer == customer)


def _of_days(since: datetime, customer: str | None) -> sa.Select[Any]:
    found = _summed(spend_days).where(spend_days.c.booked_on >= since.date().isoformat())
    return found if customer is None else found.where(spend_days.c.customer == customer)


def _summed(table: sa.Table) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in ("customer", "principal", "origin", *_SUMS)))
