"""Read what an account has spent in its windows, and what is remembered of its grace and its cost breaker.

Called by sql_ledger; asks through the function that it is given.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bqgate.domain.budget import Period, Window, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE
from bqgate.domain.cost_breaker import BreakerEventKind
from bqgate.domain.entry import CustomerSpend
from bqgate.ledger import queries, window_queries
from bqgate.ledger.rows import from_micros

Ask = Callable[[sa.Select[Any]], Awaitable[Sequence[sa.Row[Any]]]]


async def fetch_spend(ask: Ask, windows: Sequence[Window]) -> CustomerSpend:
    """Booked spend of each window, all of one moment; then what is remembered of grace and breaker."""
    if not windows:
        return CustomerSpend(captured_nanos={})
    sums = (await ask(window_queries.spend_of(windows)))[0]
    grace_started_at: dict[WindowId, datetime] = {}
    tripped_at: dict[str, datetime] = {}
    for row in await ask(queries.breaker_events_of(windows)):
        match BreakerEventKind(row.kind):
            case BreakerEventKind.GRACE_STARTED:
                own_window = WindowId(CUSTOMER_SCOPE, Period(row.period), row.window_key)
                grace_started_at.setdefault(own_window, from_micros(row.at))
            case BreakerEventKind.TRIPPED:
                tripped_at[row.window_key] = from_micros(row.at)
            case BreakerEventKind.CLOSED | BreakerEventKind.RESET:
                tripped_at.pop(row.window_key, None)
    return CustomerSpend(
        captured_nanos={window.id: int(nanos) for window, nanos in zip(windows, sums, strict=True)},
        grace_started_at=grace_started_at,
        tripped_at=tripped_at,
    )


async def fetch_adjusted(ask: Ask, windows: Sequence[Window]) -> Mapping[WindowId, int]:
    """What adjustments come to in each window, all of one moment."""
    if not windows:
        return {}
    sums = (await ask(window_queries.adjusted_in(windows)))[0]
    return {window.id: int(nanos) for window, nanos in zip(windows, sums, strict=True)}
