"""Build the ledger's questions about what was spent in budgets' windows as SQL.

Called by account_spend and sql_ledger, which run them; pure. Answered from the sums by day, whose rows are few; only
budgets of labels need the entries themselves, and read those that were booked since their window began. Sums are exact
whole numbers in both databases.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bqgate.domain.budget import Period, Window, start_of_key
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, ScopeKind
from bqgate.domain.entry import EntryKind
from bqgate.ledger.queries import SPENDING_KINDS
from bqgate.ledger.rollup_schema import spend_days
from bqgate.ledger.rows import to_micros
from bqgate.ledger.schema import entries

_DAY_COLUMNS = {Period.DAY: spend_days.c.day_key, Period.MONTH: spend_days.c.month_key}
_ENTRY_COLUMNS = {Period.DAY: entries.c.day_key, Period.MONTH: entries.c.month_key}
_SCOPE_COLUMNS = {
    ScopeKind.PRINCIPAL: spend_days.c.principal,
    ScopeKind.PROJECT: spend_days.c.project_id,
    ScopeKind.WORKLOAD: spend_days.c.workload,
}
# A day begins up to 14 hours before UTC's, and an entry is booked after its hold was placed.
_BEFORE_ITS_DAY = timedelta(days=2)


def spend_of(windows: Sequence[Window]) -> sa.Select[Any]:
    """One row with a column for each window, so that all are of one moment."""
    return _sums_in(windows, spend_days.c.cost_nanos, SPENDING_KINDS)


def adjusted_in(windows: Sequence[Window]) -> sa.Select[Any]:
    """The same, of adjustments alone."""
    return _sums_in(windows, spend_days.c.adjusted_nanos, (EntryKind.ADJUSTMENT.value,))


def spend_of_each(window: Window) -> sa.Select[Any]:
    """Rows of each value of the window's kind of scope; its own value is not asked for."""
    column = _SCOPE_COLUMNS[window.scope.kind]
    return (
        sa.select(column.label("value"), sa.func.sum(spend_days.c.cost_nanos).label("cost_nanos"))
        .where(spend_days.c.customer == window.customer, _DAY_COLUMNS[window.period] == window.key, column != "")
        .group_by(column)
    )


def booked_since_before(moment: datetime) -> int:
    """From when on entries are booked that count in a day which begins at this moment of UTC, in any time zone."""
    earliest = datetime.min.replace(tzinfo=UTC)
    return to_micros(moment - _BEFORE_ITS_DAY if moment - earliest > _BEFORE_ITS_DAY else moment)


def _sums_in(windows: Sequence[Window], column: sa.Column[Any], kinds: Sequence[str]) -> sa.Select[Any]:
    sums = [
        _of_entries(window, kinds) if window.scope.kind is ScopeKind.LABEL else _of_days(window, column)
        for window in windows
    ]
    return sa.select(*(each.scalar_subquery().label(f"window_{place}") for place, each in enumerate(sums)))


def _of_days(window: Window, column: sa.Column[Any]) -> sa.Select[Any]:
    total = sa.select(sa.func.coalesce(sa.func.sum(column), 0))
    if window.customer == DEPLOYMENT_ACCOUNT:
        return total.where(_counts_in_deployment(window))
    in_window = total.where(spend_days.c.customer == window.customer, _DAY_COLUMNS[window.period] == window.key)
    if window.scope.kind is ScopeKind.CUSTOMER:
        return in_window
    return in_window.where(_SCOPE_COLUMNS[window.scope.kind] == window.scope.value)


def _counts_in_deployment(window: Window) -> sa.ColumnElement[bool]:
    if window.period is Period.DAY:
        return spend_days.c.deployment_day == window.key
    return spend_days.c.deployment_day.between(f"{window.key}-01", f"{window.key}-31")


def _of_entries(window: Window, kinds: Sequence[str]) -> sa.Select[Any]:
    key, _, text = window.scope.value.partition("=")
    return sa.select(sa.func.coalesce(sa.func.sum(entries.c.cost_nanos), 0)).where(
        entries.c.customer == window.customer,
        entries.c.booked_at >= booked_since_before(start_of_key(window.period, window.key)),
        _ENTRY_COLUMNS[window.period] == window.key,
        entries.c.kind.in_(kinds),
        entries.c.labels[key].as_string() == text,
    )
