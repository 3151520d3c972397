"""Make holds and windows for tests of budgets: one customer in UTC, a day and a month, amounts in dollars."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Balance, Period, Window, WindowId, windows_at
from bqgate.domain.budget_scope import CUSTOMER_SCOPE
from bqgate.domain.hold import Hold
from bqgate.domain.money import parse_usd
from tests.support.manual_clock import START

UTC_ZONE = ZoneInfo("UTC")

_numbers = count(1)


def windows_of(
    customer: str = "acme", *, day_usd: str | None = "10", month_usd: str | None = "300", now: datetime = START
) -> tuple[Window, ...]:
    """The day and the month that `now` falls in; a limit of None refuses nothing."""
    limits: Mapping[Period, int | None] = {
        Period.DAY: None if day_usd is None else parse_usd(day_usd),
        Period.MONTH: None if month_usd is None else parse_usd(month_usd),
    }
    return windows_at(now, customer=customer, zone=UTC_ZONE, limits_nanos=limits)


def hold_on(
    windows: tuple[Window, ...],
    usd: str = "1",
    *,
    hold_id: str | None = None,
    idempotency_key: str | None = None,
    placed_at: datetime = START,
    customer: str | None = None,
) -> Hold:
    """A hold on these windows, with an id of its own."""
    return Hold(
        id=hold_id or f"hold-{next(_numbers)}",
        customer=customer or windows[0].customer,
        principal="ada@example.com",
        project_id="acme-prod",
        amount_nanos=parse_usd(usd),
        window_keys={window.period: window.key for window in windows},
        scopes=tuple(dict.fromkeys(window.scope for window in windows if window.scope != CUSTOMER_SCOPE)),
        placed_at=placed_at,
        deadline_at=placed_at + timedelta(hours=6),
        idempotency_key=idempotency_key,
    )


def own_id(period: Period, key: str) -> WindowId:
    """A window of the customer's own budget."""
    return WindowId(CUSTOMER_SCOPE, period, key)


def stands(balances: tuple[Balance, ...]) -> list[tuple[int, int]]:
    """(captured, held) of each balance, nano-dollars."""
    return [(balance.captured_nanos, balance.held_nanos) for balance in balances]


def usd(captured: str, held: str) -> tuple[int, int]:
    """(captured, held) in dollars, as `stands` writes them."""
    return parse_usd(captured), parse_usd(held)
