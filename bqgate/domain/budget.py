"""Say what a budget is: a limit over a window of time, and what is captured and held against it.

Built from a LimitPlan (windows_at), filled by a BudgetStore, judged by decision.decide. A new window is a new key;
nothing is ever reset. Amounts are nano-dollars; moments are aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope
from bqgate.domain.units import PPM


class Period(StrEnum):
    """How long a budget's window is; calendar days and months in the customer's time zone."""

    DAY = "day"
    MONTH = "month"


class WindowId(NamedTuple):
    """A window within its account."""

    scope: BudgetScope
    period: Period
    key: str


@dataclass(frozen=True, slots=True)
class Rollover:
    """What a window takes over from the one before it: that one's unused limit, at most `nanos_max`."""

    window: "Window"
    nanos_max: int


@dataclass(frozen=True, slots=True)
class Window:
    """One budget at one moment. `customer` is the account in which it is counted: a customer, or the deployment.

    `limit_nanos` None: it counts and refuses nothing. `is_observed`: the same, whatever the limit, which is there to
    tell what enforcing would do. `throttle_ppm` is the share from which queries are throttled; None: they are not.
    `next_increase_at` is when a higher limit holds, before it resets; None: none does. `is_own`: it is the customer's
    own: these have grace, an emergency limit and a cost breaker; others do not.
    """

    customer: str
    period: Period
    key: str  # "2026-11-24" or "2026-11"
    limit_nanos: int | None
    resets_at: datetime
    scope: BudgetScope = CUSTOMER_SCOPE
    is_observed: bool = False
    throttle_ppm: int | None = None
    rollover: Rollover | None = None
    next_increase_at: datetime | None = None
    id: WindowId = field(init=False, repr=False, compare=False)
    is_own: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Say once what every query asks of a window, which is made once a minute."""
        object.__setattr__(self, "id", WindowId(self.scope, self.period, self.key))
        object.__setattr__(self, "is_own", self.scope == CUSTOMER_SCOPE and self.customer != DEPLOYMENT_ACCOUNT)

    @property
    def is_strict(self) -> bool:
        """Whether what does not fit is refused without grace."""
        return not self.is_own and not self.is_observed


@dataclass(frozen=True, slots=True)
class Balance:
    """A window and what stands against it. Invariant 2: captured + held <= limit, unless a job overran its hold.

    In grace the bound is the emergency limit. `grace_started_at` is when the first hold was placed past the limit;
    None: none was. `carried_nanos` is what the window before left to it.
    """

    window: Window
    captured_nanos: int
    held_nanos: int
    grace_started_at: datetime | None = None
    carried_nanos: int = 0

    @property
    def limit_nanos(self) -> int | None:
        """The window's limit with what was carried over."""
        return None if self.window.limit_nanos is None else self.window.limit_nanos + self.carried_nanos

    @property
    def used_nanos(self) -> int:
        return self.captured_nanos + self.held_nanos

    @property
    def balance_nanos(self) -> int | None:
        """What is left, negative after an overrun; None without a limit."""
        limit_nanos = self.limit_nanos
        return None if limit_nanos is None else limit_nanos - self.captured_nanos - self.held_nanos

    @property
    def used_ppm(self) -> int:
        """The share in use, in parts per million, rounded down; 0 without a limit, full for a limit of zero."""
        limit_nanos = self.limit_nanos
        if not limit_nanos:
            return 0 if limit_nanos is None else PPM
        return (self.captured_nanos + self.held_nanos) * PPM // limit_nanos

    @property
    def is_throttled(self) -> bool:
        """Whether the share from which queries are throttled is reached."""
        throttle_ppm = self.window.throttle_ppm
        return throttle_ppm is not None and not self.window.is_observed and self.used_ppm >= throttle_ppm

    def has_room_for(self, amount_nanos: int) -> bool:
        return self.limit_nanos is None or self.used_nanos + amount_nanos <= self.limit_nanos


def with_rollovers(windows: tuple[Window, ...]) -> tuple[Window, ...]:
    """The windows, and behind them those that they take over from, each once."""
    before = {window.rollover.window.id: window.rollover.window for window in windows if window.rollover is not None}
    return (*windows, *(window for window_id, window in before.items() if window_id not in {w.id for w in windows}))


def carried_nanos(rollover: Rollover, *, captured_nanos: int, held_nanos: int) -> int:
    """What a window takes over, by what stands against the one before. What is held there is not unused yet.

    Only that window's own limit counts: what it had taken over itself, or was raised by, ends with it.
    """
    unused_nanos = (rollover.window.limit_nanos or 0) - captured_nanos - held_nanos
    return min(max(unused_nanos, 0), rollover.nanos_max)


def windows_at(
    now: datetime,
    *,
    customer: str,
    zone: ZoneInfo,
    limits_nanos: Mapping[Period, int | None],
    scope: BudgetScope = CUSTOMER_SCOPE,
    is_observed: bool = False,
    throttle_ppm: int | None = None,
) -> tuple[Window, ...]:
    """The windows that `now` falls in, one for each period that has an entry in `limits_nanos`."""
    today = now.astimezone(zone).date()
    return tuple(
        Window(
            customer=customer,
            period=period,
            key=today.isoformat() if period is Period.DAY else today.isoformat()[:7],
            limit_nanos=limit,
            resets_at=_midnight(_next_start(today, period), zone),
            scope=scope,
            is_observed=is_observed,
            throttle_ppm=throttle_ppm,
        )
        for period, limit in limits_nanos.items()
    )


def start_of(period: Period, now: datetime, zone: ZoneInfo) -> datetime:
    """When the window of `now` began."""
    today = now.astimezone(zone).date()
    return _midnight(today if period is Period.DAY else today.replace(day=1), zone)


def start_of_key(period: Period, key: str) -> datetime:
    """When a window of UTC days or months began, by its key."""
    day = date.fromisoformat(key if period is Period.DAY else f"{key}-01")
    return datetime.combine(day, time.min, tzinfo=UTC)


def _next_start(today: date, period: Period) -> date:
    if period is Period.DAY:
        return today + timedelta(days=1)
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)
