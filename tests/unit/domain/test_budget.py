from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.budget import Balance, Period, Window, windows_at

LIMITS = {Period.DAY: 10, Period.MONTH: 300}


@pytest.mark.parametrize(
    ("zone", "day", "day_resets_at", "month_resets_at"),
    [
        ("UTC", "2026-11-30", datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
        (
            "America/Los_Angeles",
            "2026-11-29",
            datetime(2026, 11, 30, 8, tzinfo=UTC),
            datetime(2026, 12, 1, 8, tzinfo=UTC),
        ),
        ("Asia/Tokyo", "2026-11-30", datetime(2026, 11, 30, 15, tzinfo=UTC), datetime(2026, 11, 30, 15, tzinfo=UTC)),
    ],
)
def test_days_and_months_begin_in_the_customers_time_zone(
    zone: str, day: str, day_resets_at: datetime, month_resets_at: datetime
) -> None:
    """The same moment lies in different days for different customers."""
    windows = windows_at(
        datetime(2026, 11, 30, 3, tzinfo=UTC), customer="acme", zone=ZoneInfo(zone), limits_nanos=LIMITS
    )
    assert [(day, day_resets_at), ("2026-11", month_resets_at)] == [(one.key, one.resets_at) for one in windows]


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - naive bounds
def test_a_window_contains_its_moment_and_ends_after_it(now: datetime) -> None:
    """Whatever the moment and its daylight saving, the window resets later, in at most a month."""
    for window in windows_at(now, customer="a", zone=ZoneInfo("Europe/Berlin"), limits_nanos=LIMITS):
        assert now < window.resets_at
        assert (window.resets_at - now).days <= 31


def test_room_is_what_is_neither_captured_nor_held() -> None:
    """A hold fits exactly up to the limit; without a limit everything fits."""
    resets_at = datetime(2026, 12, 1, tzinfo=UTC)
    balance = Balance(Window("a", Period.DAY, "d", 100, resets_at), captured_nanos=60, held_nanos=30)
    assert (10, 900_000) == (balance.balance_nanos, balance.used_ppm)
    assert balance.has_room_for(10)
    assert not balance.has_room_for(11)
    unlimited = Balance(Window("a", Period.DAY, "d", None, resets_at), 60, 30)
    assert unlimited.has_room_for(10**15)
    assert unlimited.balance_nanos is None
    assert Balance(Window("a", Period.DAY, "d", 0, resets_at), 0, 0).used_ppm == 1_000_000
