"""Build the ledger's question about spend over time as SQL.

Called by sql_ledger, which runs it; pure. Answered from the sums by day, and from the entries where they are divided by
a label. Days are the entries' own day keys, in their customers' time zones; the few things about dates that SQLite and
PostgreSQL say differently are compiled for each. Sums are exact whole numbers in
both; the totals come with each row, so that rows and totals are of one moment.
"""

from datetime import UTC, datetime, time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from bqgate.domain.entry import EntryKind
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery
from bqgate.ledger.queries import SPENDING_KINDS
from bqgate.ledger.rollup_schema import spend_days
from bqgate.ledger.rows import from_micros
from bqgate.ledger.schema import entries
from bqgate.ledger.window_queries import booked_since_before

_GROUP_COLUMNS = {
    SpendGroup.PRINCIPAL: spend_days.c.principal,
    SpendGroup.PROJECT: spend_days.c.project_id,
    SpendGroup.WORKLOAD: spend_days.c.workload,
    SpendGroup.ORIGIN: spend_days.c.origin,
}


class UtcDay(FunctionElement[str]):
    """The day of UTC, as text, of a moment in microseconds."""

    type = sa.Text()
    inherit_cache = True


class _MondayOf(FunctionElement[str]):
    """The Monday on or before a day; both as text."""

    type = sa.Text()
    inherit_cache = True


class _LabelOf(FunctionElement[str]):
    """The value of one key of a JSON object of texts; NULL where it has none."""

    type = sa.Text()
    inherit_cache = True


@compiles(UtcDay, "sqlite")
def _utc_day_in_sqlite(element: UtcDay, compiler: SQLCompiler, **options: Any) -> str:
    return f"strftime('%Y-%m-%d', {compiler.process(element.clauses, **options)} / 1000000, 'unixepoch')"


@compiles(UtcDay, "postgresql")
def _utc_day_in_postgresql(element: UtcDay, compiler: SQLCompiler, **options: Any) -> str:
    micros = compiler.process(element.clauses, **options)
    return f"to_char(to_timestamp({micros} / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(_MondayOf, "sqlite")
def _monday_in_sqlite(element: _MondayOf, compiler: SQLCompiler, **options: Any) -> str:
    # Forward to Sunday, where it is none, and back to the Monday before.
    return f"date({compiler.process(element.clauses, **options)}, 'weekday 0', '-6 days')"


@compiles(_MondayOf, "postgresql")
def _monday_in_postgresql(element: _MondayOf, compiler: SQLCompiler, **options: Any) -> str:
    day = compiler.process(element.clauses, **options)
    return f"to_char(date_trunc('week', CAST({day} AS timestamp)), 'YYYY-MM-DD')"


@compiles(_LabelOf, "sqlite")
def _label_in_sqlite(element: _LabelOf, compiler: SQLCompiler, **options: Any) -> str:
    # A path would be compared with the key as it is escaped in the text, so that keys with an umlaut were not found.
    labels, key = (compiler.process(each, **options) for each in element.clauses)
    return f"(SELECT value FROM json_each({labels}) WHERE key = {key})"  # noqa: S608 - both are SQLAlchemy's own SQL


@compiles(_LabelOf, "postgresql")
def _label_in_postgresql(element: _LabelOf, compiler: SQLCompiler, **options: Any) -> str:
    labels, key = (compiler.process(each, **options) for each in element.clauses)
    return f"({labels} ->> CAST({key} AS text))"


def spend_over_time(wanted: SpendQuery) -> sa.Select[Any]:
    """Rows of periods, customers and groups, with the totals of all of them, those past `rows_max` too."""
    found = _spending(wanted).subquery()
    key = (found.c.period, found.c.customer, found.c.value)
    cost_nanos = sa.func.sum(found.c.cost_nanos)
    sums = {
        "cost_nanos": cost_nanos,
        "bytes_billed": sa.func.sum(found.c.bytes_billed),
        "slot_ms": sa.func.sum(found.c.slot_ms),
        "job_count": sa.func.sum(found.c.job_count),
    }
    return (
        sa.select(
            *key,
            *(each.label(name) for name, each in sums.items()),
            *(sa.func.sum(each).over().label(f"all_{name}") for name, each in sums.items()),
            sa.func.count().over().label("row_count"),
        )
        .group_by(*key)
        .order_by(found.c.period.desc(), cost_nanos.desc(), found.c.customer, sa.func.coalesce(found.c.value, ""))
        .limit(wanted.rows_max)
    )


def _spending(wanted: SpendQuery) -> sa.Select[Any]:
    """What counts, with its period and its group: sums by day, or entries where they are divided by a label."""
    source = _entries_of(wanted) if wanted.group is SpendGroup.LABEL else _days_of(wanted)
    found = source.subquery()
    counts = sa.select(
        _period_of(wanted.period, found.c.day).label("period"),
        *(found.c[name] for name in ("customer", "value", "cost_nanos", "bytes_billed", "slot_ms", "job_count")),
    ).where(found.c.day >= wanted.since.isoformat())
    return counts if wanted.until is None else counts.where(found.c.day <= wanted.until.isoformat())


def _days_of(wanted: SpendQuery) -> sa.Select[Any]:
    # What counts in no day of a budget counts in the day of UTC in which it was booked.
    day = sa.func.coalesce(sa.func.nullif(spend_days.c.day_key, ""), spend_days.c.booked_on)
    value = sa.null() if wanted.group is SpendGroup.CUSTOMER else sa.func.nullif(_GROUP_COLUMNS[wanted.group], "")
    booked_on = from_micros(_booked_since(wanted)).date().isoformat()
    found = sa.select(
        day.label("day"),
        spend_days.c.customer,
        sa.cast(value, sa.Text).label("value"),
        spend_days.c.cost_nanos,
        spend_days.c.bytes_billed,
        spend_days.c.slot_ms,
        spend_days.c.job_count,
    ).where(spend_days.c.booked_on >= booked_on)
    return _bounded(found, spend_days, wanted)


def _entries_of(wanted: SpendQuery) -> sa.Select[Any]:
    assert wanted.label_key is not None, "the group of a label has its key"
    # Not the bare column: SQLite would walk all of another index, in the order of customers, to save a sort.
    customer = sa.func.coalesce(entries.c.customer, sa.literal_column("''"))
    found = sa.select(
        sa.func.coalesce(entries.c.day_key, UtcDay(entries.c.booked_at)).label("day"),
        customer.label("customer"),
        _LabelOf(entries.c.labels, sa.literal(wanted.label_key)).label("value"),
        entries.c.cost_nanos,
        entries.c.bytes_billed,
        entries.c.slot_ms,
        sa.case((entries.c.kind == EntryKind.CHARGE.value, 1), else_=0).label("job_count"),
    ).where(entries.c.kind.in_(SPENDING_KINDS), entries.c.booked_at >= _booked_since(wanted))
    return _bounded(found, entries, wanted)


def _booked_since(wanted: SpendQuery) -> int:
    return booked_since_before(datetime.combine(wanted.since, time(), tzinfo=UTC))


def _bounded(found: sa.Select[Any], table: sa.Table, wanted: SpendQuery) -> sa.Select[Any]:
    if wanted.customer is not None:
        found = found.where(table.c.customer == wanted.customer)
    if wanted.principal is not None:
        found = found.where(table.c.principal == wanted.principal)
    return found


def _period_of(period: SpendPeriod, day: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    match period:
        case SpendPeriod.DAY:
            return day
        case SpendPeriod.WEEK:
            return _MondayOf(day)
        case SpendPeriod.MONTH:
            return sa.func.substr(day, 1, 7)
