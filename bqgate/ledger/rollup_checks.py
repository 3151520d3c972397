"""Compare the sums by hour and by day with the entries that they are of, for check_books. Pure.

Each question gives the keys of which the two differ. Sums stay when entries are dropped, and then there is nothing to
compare them with.
"""

from typing import Any

import sqlalchemy as sa

from bqgate.domain.entry import EntryKind
from bqgate.ledger.queries import KEPT_SINCE, ORIGIN, SPENDING_KINDS
from bqgate.ledger.rollup_schema import spend_days, spend_hours
from bqgate.ledger.schema import entries
from bqgate.ledger.spend_queries import UtcDay

_HOUR_MICROS = 3_600_000_000
_IS_ADJUSTMENT = entries.c.kind == EntryKind.ADJUSTMENT.value


def hours_that_differ() -> sa.Select[Any]:
    """Hours, each with its customer, principal and origin."""
    key = {
        "hour": entries.c.booked_at - entries.c.booked_at % _HOUR_MICROS,
        "customer": entries.c.customer,
        "principal": entries.c.principal,
        "origin": ORIGIN,
    }
    return _differ(spend_hours, key, spend_hours.c.hour >= KEPT_SINCE)


def days_that_differ() -> sa.Select[Any]:
    """Days, each with all that it is divided by."""
    booked_on = UtcDay(entries.c.booked_at)
    deployment_day = sa.case(
        (entries.c.placed_at.is_not(None), UtcDay(entries.c.placed_at)),
        (entries.c.day_key.is_not(None), booked_on),
        else_="",
    )
    key = {
        "booked_on": booked_on,
        **{name: entries.c[name] for name in ("customer", "principal", "project_id")},
        "workload": _or_none(entries.c.workload),
        "origin": ORIGIN,
        "day_key": _or_none(entries.c.day_key),
        "month_key": _or_none(entries.c.month_key),
        "deployment_day": deployment_day,
    }
    return _differ(spend_days, key, spend_days.c.booked_on >= UtcDay(KEPT_SINCE))


def _or_none(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    return sa.func.coalesce(column, "")


def _differ(rollup: sa.Table, key: dict[str, sa.ColumnElement[Any]], is_kept: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Keys of which what entries add up to, less what the rollup has, is not nothing."""
    one_or_none = {
        "cost_nanos": entries.c.cost_nanos,
        "bytes_billed": entries.c.bytes_billed,
        "slot_ms": entries.c.slot_ms,
        "job_count": sa.case((_IS_ADJUSTMENT, 0), else_=1),
        "adjusted_nanos": sa.case((_IS_ADJUSTMENT, entries.c.cost_nanos), else_=0),
    }
    sums = {name: each for name, each in one_or_none.items() if name in rollup.c}
    are = sa.select(
        *(each.label(name) for name, each in key.items()),
        *(each.label(name) for name, each in sums.items()),
    ).where(entries.c.kind.in_(SPENDING_KINDS), entries.c.booked_at >= KEPT_SINCE)
    told = sa.select(*(rollup.c[name] for name in key), *((-rollup.c[name]).label(name) for name in sums)).where(
        is_kept
    )
    both = sa.union_all(are, told).subquery()
    names = [both.c[name] for name in key]
    return sa.select(*names).group_by(*names).having(sa.or_(*(sa.func.sum(both.c[name]) != 0 for name in sums)))
