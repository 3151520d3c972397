"""Build the ledger's question about spend over time as SQL.

Called by sql_ledger, which runs it; pure. Days are the entries' own day keys, in their customers' time zones; the few
things about dates that SQLite and PostgreSQL say differently are compiled for each. Sums are exact whole numbers in
both; the totals come with each row, so that rows and totals are of one moment.
"""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from bqgate.domain.entry import EntryKind
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery
from bqgate.ledger.queries import ORIGIN, SPENDING_KINDS
from bqgate.ledger.rows import to_micros
from bqgate.ledger.schema import entries

# A day begins up to 14 hours before UTC's, and an entry is booked after its hold was placed.
_BEFORE_ITS_DAY = timedelta(days=2)

_GROUP_COLUMNS = {
    SpendGroup.PRINCIPAL: entries.c.principal,
    SpendGroup.PROJECT: entries.c.project_id,
    SpendGroup.WORKLOAD: entries.c.workload,
    SpendGroup.ORIGIN: ORIGIN,
}


class _UtcDay(FunctionElement[str]):
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


@compiles(_UtcDay, "sqlite")
def _utc_day_in_sqlite(element: _UtcDay, compiler: SQLCompiler, **options: Any) -> str:
    return f"strftime('%Y-%m-%d', {compiler.process(element.clauses, **options)} / 1000000, 'unixepoch')"


@compiles(_UtcDay, "postgresql")
def _utc_day_in_postgresql(element: _UtcDay, compiler: SQLCompiler, **options: Any) -> str:
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
        "job_count": sa.func.sum(found.c.is_job),
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
    """The entries that count, each with its period and its group."""
    # An entry that counts in no day of a budget counts in the day of UTC in which it was booked.
    day = sa.func.coalesce(entries.c.day_key, _UtcDay(entries.c.booked_at))
    begin = datetime.combine(wanted.since, time(), tzinfo=UTC)
    floor = begin - _BEFORE_ITS_DAY if begin - datetime.min.replace(tzinfo=UTC) > _BEFORE_ITS_DAY else begin
    # Not the bare column: SQLite would walk all of another index, in the order of customers, to save a sort.
    customer = sa.func.coalesce(entries.c.customer, sa.literal_column("''"))
    found = sa.select(
        _period_of(wanted.period, day).label("period"),
        customer.label("customer"),
        _value_of(wanted).label("value"),
        entries.c.cost_nanos,
        entries.c.bytes_billed,
        entries.c.slot_ms,
        sa.case((entries.c.kind == EntryKind.CHARGE.value, 1), else_=0).label("is_job"),
    ).where(
        entries.c.kind.in_(SPENDING_KINDS),
        entries.c.booked_at >= to_micros(floor),
        day >= wanted.since.isoformat(),
    )
    if wanted.until is not None:
        found = found.where(day <= wanted.until.isoformat())
    if wanted.customer is not None:
        found = found.where(entries.c.customer == wanted.customer)
    if wanted.principal is not None:
        found = found.where(entries.c.principal == wanted.principal)
    return found


def _period_of(period: SpendPeriod, day: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    match period:
        case SpendPeriod.DAY:
            return day
        case SpendPeriod.WEEK:
            return _MondayOf(day)
        case SpendPeriod.MONTH:
            return sa.func.substr(day, 1, 7)


def _value_of(wanted: SpendQuery) -> sa.ColumnElement[Any]:
    match wanted.group:
        case SpendGroup.CUSTOMER:
            return sa.cast(sa.null(), sa.Text)
        case SpendGroup.LABEL:
            assert wanted.label_key is not None, "the group of a label has its key"
            return _LabelOf(entries.c.labels, sa.literal(wanted.label_key))
        case group:
            return _GROUP_COLUMNS[group]
