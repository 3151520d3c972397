"""Say how a budget's limits change with time: schedules, temporary raises, and what rolls over. Pure.

A LimitPlan is what a policy says; at each moment it gives the windows of a budget with the limits that hold then.
Weekdays and times of day are those of the budget's time zone. Amounts are nano-dollars, moments aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Period, Rollover, Window, start_of, windows_at
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope
from bqgate.domain.money import MAX_NANOS

EVERY_DAY = frozenset(range(7))
MINUTES_PER_DAY = 24 * 60
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one budget. None: no limit; in a schedule: as without it."""

    daily_nanos: int | None = None
    monthly_nanos: int | None = None
    query_nanos: int | None = None

    def by_period(self) -> dict[Period, int | None]:
        return {Period.DAY: self.daily_nanos, Period.MONTH: self.monthly_nanos}

    def over(self, other: "Limits") -> "Limits":
        """These, and the other's where these say nothing."""
        return Limits(
            daily_nanos=other.daily_nanos if self.daily_nanos is None else self.daily_nanos,
            monthly_nanos=other.monthly_nanos if self.monthly_nanos is None else self.monthly_nanos,
            query_nanos=other.query_nanos if self.query_nanos is None else self.query_nanos,
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Other limits on some weekdays (0 is Monday), between two times of day.

    Times are minutes since midnight; one that ends before it starts runs over midnight, and is of the day on which it
    starts. Equal times are the whole day.
    """

    limits: Limits
    weekdays: frozenset[int] = EVERY_DAY
    from_minute: int = 0
    until_minute: int = MINUTES_PER_DAY

    def is_on(self, local: datetime) -> bool:
        """Whether it holds at a moment of the budget's time zone."""
        minute, weekday = local.hour * 60 + local.minute, local.weekday()
        if self.from_minute < self.until_minute:
            return weekday in self.weekdays and self.from_minute <= minute < self.until_minute
        if minute >= self.from_minute:
            return weekday in self.weekdays
        return minute < self.until_minute and (weekday - 1) % 7 in self.weekdays

    def ends_at(self, local: datetime) -> datetime:
        """When it ends, where it is on at this moment."""
        runs_over_midnight = self.from_minute >= self.until_minute
        is_before_midnight = local.hour * 60 + local.minute >= self.from_minute
        days, minute = divmod(self.until_minute, MINUTES_PER_DAY)
        end_on = local.date() + timedelta(days=days + (runs_over_midnight and is_before_midnight))
        return datetime.combine(end_on, time(minute // 60, minute % 60), tzinfo=local.tzinfo).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class TemporaryIncrease:
    """An amount on top of a limit until a moment, by whom and why."""

    until: datetime
    daily_nanos: int = 0
    monthly_nanos: int = 0
    reason: str = ""
    by: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """A budget's limits through time.

    The first schedule that is on stands over `base`; raises that have not ended come on top. `rollover_nanos` is how
    much of a period's unused limit the next one takes over at most; a period without an entry takes over nothing.
    """

    base: Limits
    schedules: tuple[Schedule, ...] = ()
    raises: tuple[TemporaryIncrease, ...] = ()
    rollover_nanos: Mapping[Period, int] = field(default_factory=dict)

    def limits_at(self, now: datetime, zone: ZoneInfo) -> Limits:
        """The limits that hold at a moment."""
        limits = self._scheduled_at(now, zone)
        running = [each for each in self.raises if now < each.until]
        if not running:
            return limits
        return replace(
            limits,
            daily_nanos=_increased(limits.daily_nanos, sum(each.daily_nanos for each in running)),
            monthly_nanos=_increased(limits.monthly_nanos, sum(each.monthly_nanos for each in running)),
        )

    def increase_nanos_at(self, now: datetime) -> int:
        """What running raises add to the day."""
        return sum(each.daily_nanos for each in self.raises if now < each.until)

    def query_bound_at(self, now: datetime, zone: ZoneInfo) -> int | None:
        """The most that one query may cost: its own bound, never more than a whole period can hold. None: no bound."""
        limits = self.limits_at(now, zone)
        wholes = [
            limit + self.rollover_nanos.get(period, 0)
            for period, limit in limits.by_period().items()
            if limit is not None
        ]
        return min([*wholes, *([] if limits.query_nanos is None else [limits.query_nanos])], default=None)

    def windows_at(
        self,
        now: datetime,
        *,
        customer: str,
        zone: ZoneInfo,
        scope: BudgetScope = CUSTOMER_SCOPE,
        is_observed: bool = False,
        throttle_ppm: int | None = None,
    ) -> tuple[Window, ...]:
        """The day and the month of a moment, also where one has no limit: it is counted all the same."""
        windows = windows_at(
            now,
            customer=customer,
            zone=zone,
            limits_nanos=self.limits_at(now, zone).by_period(),
            scope=scope,
            is_observed=is_observed,
            throttle_ppm=throttle_ppm,
        )
        if self.rollover_nanos:
            windows = tuple(replace(window, rollover=self._rollover(window, now, zone)) for window in windows)
        if self.schedules:
            windows = tuple(
                replace(window, next_increase_at=self._next_increase_at(window, now, zone)) for window in windows
            )
        return windows

    def _next_increase_at(self, window: Window, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When the schedule that is on ends, where a higher limit holds then and the window is still the same."""
        local = now.astimezone(zone)
        on = self._schedule_at(local)
        if on is None or window.limit_nanos is None:
            return None
        end = on.ends_at(local)
        later_nanos = self.limits_at(end, zone).by_period()[window.period]
        is_higher = later_nanos is None or later_nanos > window.limit_nanos
        return end if is_higher and end < window.resets_at else None

    def _rollover(self, window: Window, now: datetime, zone: ZoneInfo) -> Rollover | None:
        """From the period before, by the limit that held at its end; raises are left out."""
        nanos_max = self.rollover_nanos.get(window.period, 0)
        if nanos_max == 0 or window.limit_nanos is None:
            return None
        last = start_of(window.period, now, zone) - _MICROSECOND
        limits_nanos = {window.period: self._scheduled_at(last, zone).by_period()[window.period]}
        (before,) = windows_at(last, customer=window.customer, zone=zone, limits_nanos=limits_nanos, scope=window.scope)
        return Rollover(before, nanos_max)

    def _scheduled_at(self, now: datetime, zone: ZoneInfo) -> Limits:
        if not self.schedules:
            return self.base
        on = self._schedule_at(now.astimezone(zone))
        return self.base if on is None else on.limits.over(self.base)

    def _schedule_at(self, local: datetime) -> Schedule | None:
        return next((schedule for schedule in self.schedules if schedule.is_on(local)), None)


def _increased(limit_nanos: int | None, by_nanos: int) -> int | None:
    return None if limit_nanos is None else min(limit_nanos + by_nanos, MAX_NANOS)
