"""Say what a budget is: a limit over a window of time, and what is captured and held against it.

Built by the tier and the customer's time zone (windows_at), filled by a BudgetStore, judged by decision.decide.
A new window is a new key; nothing is ever reset. Amounts are nano-dollars; moments are aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from bqgate.domain.units import PPM


class Period(StrEnum):
    """How long a budget's window is; calendar days and months in the customer's time zone."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Window:
    """One budget of one customer at one moment. `limit_nanos` None: nothing is refused here (mode observe)."""

    customer: str
    period: Period
    key: str  # "2026-11-24" or "2026-11"
    limit_nanos: int | None
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """A window and what stands against it. Invariant 2: captured + held <= limit, unless a job overran its hold.

    In grace the bound is the emergency limit. `grace_started_at` is when the first hold was placed past the limit;
    None: none was.
    """

    window: Window
    captured_nanos: int
    held_nanos: int
    grace_started_at: datetime | None = None

    @property
    def used_nanos(self) -> int:
        return self.captured_nanos + self.held_nanos

    @property
    def balance_nanos(self) -> int | None:
        """What is left, negative after an overrun; None without a limit."""
        return None if self.window.limit_nanos is None else self.window.limit_nanos - self.used_nanos

    @property
    def used_ppm(self) -> int:
        """The share in use, in parts per million, rounded down; 0 without a limit, full for a limit of zero."""
        if self.window.limit_nanos is None:
            return 0
        if self.window.limit_nanos == 0:
            return PPM
        return self.used_nanos * PPM // self.window.limit_nanos

    def has_room_for(self, amount_nanos: int) -> bool:
        return self.window.limit_nanos is None or self.used_nanos + amount_nanos <= self.window.limit_nanos


def windows_at(
    now: datetime, *, customer: str, zone: ZoneInfo, limits_nanos: Mapping[Period, int | None]
) -> tuple[Window, ...]:
    """The windows that `now` falls in, one for each period that has an entry in `limits_nanos`."""
    today = now.astimezone(zone).date()
    return tuple(
        Window(
            customer=customer,
            period=period,
            key=today.isoformat() if period is Period.DAY else today.isoformat()[:7],
            limit_nanos=limit,
            resets_at=datetime.combine(_next_start(today, period), time.min, tzinfo=zone).astimezone(UTC),
        )
        for period, limit in limits_nanos.items()
    )


def _next_start(today: date, period: Period) -> date:
    if period is Period.DAY:
        return today + timedelta(days=1)
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)
