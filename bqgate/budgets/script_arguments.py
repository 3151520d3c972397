"""Write the domain's values as the Lua scripts' keys and arguments. Pure.

Used by scripts alone. What follows from windows alone is written once for all queries that are held against the same
ones: admission reckons them once a minute. Amounts are nano-dollars, and asserted to be 0 <= n < 2**53.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from bqgate.budgets.keys import (
    HOLDS_TTL_S,
    attempts_record,
    breaker_ttl_s,
    escape,
    hold_record,
    keys_of,
    names_text,
    to_micros,
    window_name,
    window_ttl_s,
)
from bqgate.budgets.refill import Snapshot
from bqgate.domain.budget import Period, Window, with_rollovers
from bqgate.domain.cost_breaker import GracePolicy
from bqgate.domain.hold import RESTORED_ATTEMPTS, Attempts, Hold
from bqgate.domain.money import check_nanos

Words = list[str | int]

_WRITTEN_MAX = 1_000


@dataclass(frozen=True, slots=True)
class WrittenWindows:
    """Windows of one account as scripts take them; `asked` are these, and behind them those that they take over from.

    `day` is the number of the customer's own day, from 1; 0 where it is none of them.
    """

    windows: tuple[Window, ...]
    asked: tuple[Window, ...]
    keys: list[str]
    limits: Words
    own_count: int
    day: int
    day_ends_at: datetime | None


_written: dict[int, WrittenWindows] = {}


def written(windows: tuple[Window, ...]) -> WrittenWindows:
    """Windows as scripts take them, written once for one tuple."""
    known = _written.get(id(windows))
    if known is not None and known.windows is windows:  # it keeps the tuple, so that no other one has its id
        return known
    if len(_written) >= _WRITTEN_MAX:
        _written.clear()
    made = _written[id(windows)] = _write(windows)
    return made


def _write(windows: tuple[Window, ...]) -> WrittenWindows:
    asked = with_rollovers(windows)
    day = next((number for number, each in enumerate(windows, 1) if each.is_own and each.period is Period.DAY), 0)
    return WrittenWindows(
        windows=windows,
        asked=asked,
        keys=[keys_of(window.customer).window(window_name(window.id)) for window in asked],
        limits=_limits(windows, asked),
        own_count=sum(window.is_own for window in windows),
        day=day,
        day_ends_at=windows[day - 1].resets_at if day else None,
    )


def _limits(windows: tuple[Window, ...], asked: tuple[Window, ...]) -> Words:
    """The last of ARGV of place_hold.lua. Observed budgets have no limit, except the customer's own."""
    numbers = {window.id: number for number, window in enumerate(asked, 1)}
    limits: Words = []
    rollovers: Words = []
    for number, window in enumerate(windows, 1):
        is_limited = window.is_own or window.is_strict
        limits.append(check_nanos(window.limit_nanos) if is_limited and window.limit_nanos is not None else "")
        if window.rollover is not None:
            before = window.rollover.window
            rollovers += [number, numbers[before.id], check_nanos(before.limit_nanos or 0)]
            rollovers.append(check_nanos(window.rollover.nanos_max))
    return limits + rollovers


def judging_arguments(now: datetime, known: WrittenWindows, grace: GracePolicy) -> Words:
    """ARGV[5] to ARGV[14] of place_hold.lua."""
    day_ends_at, emergency_nanos = known.day_ends_at or now, grace.emergency_nanos
    return [
        to_micros(now),
        grace.grace_s * 1_000_000 if emergency_nanos is not None else 0,
        "" if emergency_nanos is None else check_nanos(emergency_nanos),
        grace.cooldown_s * 1_000_000,
        "1" if grace.is_observed else "",
        known.day,
        to_micros(day_ends_at),
        breaker_ttl_s(day_ends_at, now),
        known.own_count,
        len(known.windows),
    ]


def hold_keys(customer: str, hold_id: str, window_keys: Iterable[str]) -> list[str]:
    """KEYS of place_hold.lua and end_hold.lua, by the hold's escaped id."""
    keys = keys_of(customer)
    return [keys.holds, keys.idempotency, keys.ended(hold_id), keys.breaker, keys.attempts, keys.dropped, *window_keys]


def names_of(holds: Iterable[Hold]) -> set[str]:
    """The names of all windows in which holds count."""
    return {name for text in set(map(names_text, holds)) for name in text.split()}


def hold_words(hold: Hold) -> tuple[str, str, int, str]:
    """ARGV[1] to ARGV[4] of place_hold.lua: a hold's id and idempotency key, both escaped, its amount, its record."""
    record = hold_record(hold)
    return escape(hold.id), record.split(" ", 3)[2], hold.amount_nanos, record


def hold_arguments(holds: Iterable[Hold]) -> Words:
    """The last of ARGV of keep_holds.lua and fill_windows.lua."""
    return [word for hold in holds for word in hold_words(hold)]


def fill_arguments(snapshot: Snapshot, now: datetime, leased_until: datetime) -> tuple[list[str], Words]:
    """KEYS and ARGV of fill_windows.lua."""
    keys, holds = keys_of(snapshot.customer), snapshot.open_holds
    to_fill = [window_name(window.id) for window in snapshot.windows]
    names = [*to_fill, *sorted(names_of(holds) - set(to_fill))]
    fills: Words = []
    for window in snapshot.windows:
        started_at = snapshot.grace_started_at(window)
        started_us = "" if started_at is None else to_micros(started_at)
        fills += [snapshot.captured_in(window), started_us, window_ttl_s(window, now)]
    windows, marks = [keys.window(name) for name in names], [keys.ended(escape(hold.id)) for hold in holds]
    return [keys.holds, keys.idempotency, keys.breaker, keys.attempts, keys.dropped, *windows, *marks], [
        len(to_fill),
        len(names),
        len(holds),
        *_breaker_arguments(snapshot, now),
        attempts_record(Attempts(RESTORED_ATTEMPTS, leased_until)),
        snapshot.unknown_since,
        HOLDS_TTL_S,
        *names,
        *fills,
        *hold_arguments(holds),
    ]


def _breaker_arguments(snapshot: Snapshot, now: datetime) -> Words:
    """ARGV[4] to ARGV[7] of fill_windows.lua."""
    day, breaker = snapshot.breaker_day, snapshot.breaker
    if day is None or breaker is None:
        return ["", "", "", ""]
    opened_us, until_us = to_micros(breaker.opened_at), to_micros(breaker.until)
    return [window_name(day.id), opened_us, until_us, breaker_ttl_s(breaker.until, now)]
