from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bqgate.domain.budget import Period
from bqgate.domain.limits import LimitPlan, Limits, Schedule, TemporaryIncrease
from bqgate.domain.money import MAX_NANOS

BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY = datetime(2026, 11, 27, 12, tzinfo=UTC)  # 13:00 in Berlin
WEEKEND = Schedule(Limits(daily_nanos=20), weekdays=frozenset({5, 6}))
NIGHT = Schedule(Limits(query_nanos=3), from_minute=22 * 60, until_minute=6 * 60)
FRIDAY_NIGHT = Schedule(Limits(daily_nanos=5), weekdays=frozenset({4}), from_minute=22 * 60, until_minute=6 * 60)
WORK = Schedule(Limits(daily_nanos=10), from_minute=9 * 60, until_minute=17 * 60)
EVENING = Schedule(Limits(daily_nanos=10), from_minute=18 * 60)
EARLY = Schedule(Limits(daily_nanos=10), from_minute=22 * 60, until_minute=6 * 60)
GENEROUS = Schedule(Limits(daily_nanos=200), from_minute=9 * 60, until_minute=17 * 60)
BASE = Limits(daily_nanos=100, monthly_nanos=1_000, query_nanos=50)


@pytest.mark.parametrize(
    ("schedules", "hours", "expected"),
    [
        pytest.param((WEEKEND,), 0, BASE, id="a weekday"),
        pytest.param((WEEKEND,), 10, BASE, id="Friday, 23:00 there"),
        pytest.param((WEEKEND,), 11, Limits(20, 1_000, 50), id="Saturday there, Friday in UTC"),
        pytest.param((WEEKEND,), 58, Limits(20, 1_000, 50), id="Sunday, 23:00 there"),
        pytest.param((WEEKEND,), 59, BASE, id="Monday there"),
        pytest.param((NIGHT,), 8, BASE, id="21:00"),
        pytest.param((NIGHT,), 9, Limits(100, 1_000, 3), id="22:00"),
        pytest.param((NIGHT,), 16, Limits(100, 1_000, 3), id="05:00 of the next day"),
        pytest.param((NIGHT,), 17, BASE, id="06:00"),
        pytest.param((FRIDAY_NIGHT,), 16, Limits(5, 1_000, 50), id="Saturday, 05:00: Friday's night"),
        pytest.param((FRIDAY_NIGHT,), 33, BASE, id="Saturday, 22:00"),
        pytest.param((FRIDAY_NIGHT,), -10, BASE, id="Friday, 03:00: Thursday's night"),
        pytest.param((WEEKEND, NIGHT), 16, Limits(20, 1_000, 50), id="two are on: the first holds"),
    ],
)
def test_a_schedule_stands_over_the_limits_while_it_is_on(
    schedules: tuple[Schedule, ...], hours: int, expected: Limits
) -> None:
    """By the weekday and the time of day of the budget's own zone; what it does not say stays as it is."""
    assert LimitPlan(BASE, schedules).limits_at(FRIDAY + timedelta(hours=hours), BERLIN) == expected


@pytest.mark.parametrize(
    ("schedule", "hours", "next_increase_in_hours"),
    [
        pytest.param(WORK, 0, 4, id="13:00, until 17:00"),
        pytest.param(WORK, 4, None, id="17:00: it is off"),
        pytest.param(EVENING, 6, None, id="until midnight: the window ends with it"),
        pytest.param(EARLY, 14, 3, id="03:00, of a night that began the day before"),
        pytest.param(EARLY, 10, None, id="23:00, until 06:00 of the next day: another window"),
        pytest.param(GENEROUS, 0, None, id="what comes is lower"),
    ],
)
def test_a_window_says_when_a_higher_limit_holds(
    schedule: Schedule, hours: int, next_increase_in_hours: int | None
) -> None:
    """The end of the schedule that is on, where it comes before the window's own."""
    now = FRIDAY + timedelta(hours=hours)
    day, _ = LimitPlan(BASE, (schedule,)).windows_at(now, customer="acme", zone=BERLIN)
    assert day.next_increase_at == (
        None if next_increase_in_hours is None else now + timedelta(hours=next_increase_in_hours)
    )


def test_raises_add_up_until_each_ends() -> None:
    """On top of the base and of schedules; a period without a limit has nothing to raise; the most is the most."""
    soon, later = FRIDAY + timedelta(hours=1), FRIDAY + timedelta(hours=20)
    raises = (TemporaryIncrease(soon, daily_nanos=7), TemporaryIncrease(later, daily_nanos=1, monthly_nanos=2))
    plan = LimitPlan(BASE, (WEEKEND,), raises)
    assert plan.limits_at(FRIDAY, BERLIN) == Limits(108, 1_002, 50)
    assert plan.limits_at(soon, BERLIN) == Limits(101, 1_002, 50)
    assert plan.limits_at(FRIDAY + timedelta(hours=12), BERLIN) == Limits(21, 1_002, 50)
    assert plan.limits_at(later, BERLIN) == Limits(20, 1_000, 50)
    assert [plan.increase_nanos_at(FRIDAY), plan.increase_nanos_at(later)] == [8, 0]
    unlimited = LimitPlan(Limits(query_nanos=5), raises=raises)
    assert unlimited.limits_at(FRIDAY, BERLIN) == Limits(query_nanos=5)
    assert LimitPlan(Limits(MAX_NANOS), raises=raises).limits_at(FRIDAY, BERLIN).daily_nanos == MAX_NANOS


def test_both_windows_are_there_whether_limited_or_not() -> None:
    """What has no limit is counted all the same, so that a limit that comes finds the spend."""
    day, month = LimitPlan(Limits(daily_nanos=5)).windows_at(FRIDAY, customer="acme", zone=BERLIN)
    assert [(day.period, day.limit_nanos), (month.period, month.limit_nanos)] == [(Period.DAY, 5), (Period.MONTH, None)]
    assert (day.rollover, month.rollover) == (None, None)


def test_a_window_takes_over_from_the_one_before_by_the_limit_that_held_at_its_end() -> None:
    """A Monday after a weekend of its own; the month before; raises are left out; in the budget's zone."""
    monday = datetime(2026, 11, 30, 0, 30, tzinfo=BERLIN)
    plan = LimitPlan(
        BASE,
        (WEEKEND,),
        (TemporaryIncrease(monday + timedelta(days=9), daily_nanos=7),),
        {Period.DAY: 30, Period.MONTH: 40},
    )
    day, month = plan.windows_at(monday, customer="acme", zone=BERLIN)
    assert day.rollover is not None
    assert month.rollover is not None
    assert (day.key, day.limit_nanos, day.rollover.window.key, day.rollover.window.limit_nanos) == (
        "2026-11-30",
        107,
        "2026-11-29",
        20,
    )
    assert (month.key, month.rollover.window.key, month.rollover.window.limit_nanos) == ("2026-11", "2026-10", 1_000)
    assert day.rollover.window.resets_at == monday.replace(minute=0)
    assert (day.rollover.nanos_max, month.rollover.nanos_max) == (30, 40)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (LimitPlan(BASE), 50),
        (LimitPlan(Limits(100, 90)), 90),
        (LimitPlan(Limits(100, 900), rollover_nanos={Period.DAY: 30}), 130),
        (LimitPlan(Limits(100), raises=(TemporaryIncrease(FRIDAY + timedelta(1), daily_nanos=5),)), 105),
        (LimitPlan(Limits(100, query_nanos=50), (Schedule(Limits(query_nanos=7)),)), 7),
        (LimitPlan(Limits()), None),
    ],
)
def test_one_query_is_bounded_by_what_a_whole_period_can_hold(plan: LimitPlan, expected: int | None) -> None:
    """By its own limit where there is one; with what may roll over and what was raised."""
    assert plan.query_bound_at(FRIDAY, BERLIN) == expected
