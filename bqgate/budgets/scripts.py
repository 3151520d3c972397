"""Call the Lua scripts with the domain's values and read their answers back into them: the typed door.

Used by redis_store alone. Each method is one script and one round trip (EVALSHA; EVAL when Redis has forgotten the
script), idempotent, and never tried again here: whether a call without an answer did its work is for the caller to
say. Amounts are nano-dollars: what goes in is asserted to be 0 <= n < 2**53, because Lua computes in doubles; what
comes out is decimal text, read exactly and asserted to be no less than zero (sums without a limit may pass 2**53).
UnknownWindows and redis' errors leave it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from bqgate.budgets.keys import (
    CustomerKeys,
    breaker_ttl_s,
    escape,
    from_micros,
    hold_record,
    to_micros,
    unescape,
    window_name,
    window_names,
    window_ttl_s,
)
from bqgate.budgets.redis_client import RedisClient
from bqgate.budgets.refill import ENDED_TTL_S, Snapshot, UnknownWindows
from bqgate.domain.budget import Balance, Period, Window, WindowId, carried_nanos, with_carries
from bqgate.domain.cost_breaker import Breaker, Refusal, Standing, Terms
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.money import check_nanos


class _Script:
    """One .lua file of this package."""

    def __init__(self, file_name: str) -> None:
        self._text = resources.files("bqgate.budgets").joinpath(file_name).read_text("utf-8")
        # EVALSHA names scripts by SHA-1: https://redis.io/docs/latest/commands/evalsha/
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: RedisClient, keys: Sequence[str], args: Sequence[str | int]) -> list[str]:
        """Run it; the answer is a list of texts, the first of which says how it went."""
        reply: Any
        try:
            reply = await client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            reply = await client.eval(self._text, len(keys), *keys, *args)
        assert isinstance(reply, list), reply
        assert all(isinstance(word, str) for word in reply), reply
        return reply


_PLACE_HOLD = _Script("place_hold.lua")
_END_HOLD = _Script("end_hold.lua")
_RESTORE_HOLD = _Script("restore_hold.lua")
_FETCH_BALANCES = _Script("fetch_balances.lua")
_FILL_WINDOWS = _Script("fill_windows.lua")


async def place_hold(client: RedisClient, hold: Hold, windows: tuple[Window, ...], terms: Terms) -> Placement:
    """Run place_hold.lua.

    Raises:
        UnknownWindows: nothing was touched.
    """
    asked = with_carries(windows)
    word, *rest = await _PLACE_HOLD.run(
        client,
        _hold_keys(hold, [window_name(window.id) for window in asked]),
        [
            escape(hold.id),
            escape(hold.idempotency_key or ""),
            check_nanos(hold.amount_nanos),
            hold_record(hold),
            *_judging_args(hold.placed_at, windows, terms),
            *_limit_args(windows, asked),
        ],
    )
    _expect_known(word, rest, asked)
    open_id, refusal, tripped, grace_starts, *standing = rest
    breaker, balances = _breaker(standing[:4]), _balances(windows, asked, standing[4:])
    started_in = tuple(windows[int(number) - 1] for number in grace_starts.split())
    placement = Placement(
        PlacementOutcome(word),
        unescape(open_id) or None,
        balances,
        Refusal(refusal) if refusal else None,
        breaker,
        has_tripped=tripped == "1",
        grace_started_in=started_in,
    )
    if placement.outcome is not PlacementOutcome.PLACED or placement.refusal is not None:
        return placement
    short = [balance for balance in balances if balance.window.is_own and (balance.balance_nanos or 0) < 0]
    if not short:
        return placement
    starts = [balance.grace_started_at for balance in short if balance.grace_started_at is not None]
    assert len(starts) == len(short), (terms, balances)  # past a limit only in grace
    return replace(placement, grace_ends_at=min(starts) + timedelta(seconds=terms.grace_s))


def _judging_args(now: datetime, windows: tuple[Window, ...], terms: Terms) -> list[str | int]:
    """ARGV[5] to ARGV[12] of place_hold.lua."""
    day = next((place for place, window in enumerate(windows, 1) if window.is_own and window.period is Period.DAY), 0)
    resets_at = windows[day - 1].resets_at if day else now
    return [
        to_micros(now),
        terms.grace_s * 1_000_000 if terms.has_grace else 0,
        "" if terms.emergency_nanos is None else check_nanos(terms.emergency_nanos),
        terms.cooldown_s * 1_000_000,
        "1" if terms.is_observed else "",
        day,
        to_micros(resets_at),
        breaker_ttl_s(resets_at, now),
    ]


def _limit_args(windows: tuple[Window, ...], asked: tuple[Window, ...]) -> list[str | int]:
    """ARGV[13] and what follows it of place_hold.lua. What is only observed bears no limit there, but for the own."""
    numbers = {window.id: number for number, window in enumerate(asked, 1)}
    args: list[str | int] = [sum(window.is_own for window in windows), len(windows)]
    for window in windows:
        is_limited = window.is_own or window.is_strict
        args.append(check_nanos(window.limit_nanos) if is_limited and window.limit_nanos is not None else "")
        if window.carry is None:
            args += [0, "", ""]
        else:
            before = window.carry.window
            args += [numbers[before.id], check_nanos(before.limit_nanos or 0), check_nanos(window.carry.nanos_max)]
    return args


async def end_hold(client: RedisClient, hold: Hold, cost_nanos: int, now: datetime) -> bool:
    """Run end_hold.lua; a second time where the hold was placed in other windows than `hold` says."""
    names = " ".join(window_names(hold.window_ids))
    while True:
        reply = await _END_HOLD.run(
            client,
            _hold_keys(hold, names.split()),
            [escape(hold.id), check_nanos(cost_nanos), names, ENDED_TTL_S, to_micros(now)],
        )
        if reply[0] != "elsewhere":
            return reply[0] == "ended"
        assert reply[1] != names, reply
        names = reply[1]


async def restore_hold(client: RedisClient, hold: Hold) -> bool:
    """Run restore_hold.lua."""
    keys = CustomerKeys(hold.customer)
    windows = [keys.window(name) for name in window_names(hold.window_ids)]
    reply = await _RESTORE_HOLD.run(
        client,
        [keys.holds, keys.idempotency, keys.ended(hold.id), *windows],
        [escape(hold.id), escape(hold.idempotency_key or ""), check_nanos(hold.amount_nanos), hold_record(hold)],
    )
    return reply[0] == "restored"


async def fetch_standing(client: RedisClient, windows: tuple[Window, ...]) -> Standing:
    """Run fetch_balances.lua. The breaker's day may be over.

    Raises:
        UnknownWindows: at least one is not there.
    """
    keys = CustomerKeys(windows[0].customer)
    asked = with_carries(windows)
    names = [keys.window(window_name(window.id)) for window in asked]
    word, *rest = await _FETCH_BALANCES.run(client, [keys.breaker, *names], [])
    _expect_known(word, rest, asked)
    return Standing(_balances(windows, asked, rest[4:]), _breaker(rest[:4]))


async def fetch_breaker(client: RedisClient, key: str) -> Breaker | None:
    """The breaker of a key, None where it has gone. Its day may be over."""
    fields = await client.hmget(key, ["opened_at_us", "until_us", "trial", "emergency_nanos"])
    return _breaker([str(field or "") for field in fields])


async def fill_windows(client: RedisClient, snapshot: Snapshot, now: datetime) -> None:
    """Run fill_windows.lua."""
    keys = CustomerKeys(snapshot.customer)
    holds = snapshot.open_holds
    to_fill = [window_name(window.id) for window in snapshot.windows]
    others = {name for hold in holds for name in window_names(hold.window_ids)} - set(to_fill)
    names = [*to_fill, *sorted(others)]
    fills: list[str | int] = []
    for window in snapshot.windows:
        started_at = snapshot.grace_started_at(window)
        started_us = "" if started_at is None else to_micros(started_at)
        fills += [snapshot.captured_in(window), started_us, window_ttl_s(window, now)]
    records: list[str | int] = []
    for hold in holds:
        records += [
            escape(hold.id),
            escape(hold.idempotency_key or ""),
            check_nanos(hold.amount_nanos),
            hold_record(hold),
        ]
    await _FILL_WINDOWS.run(
        client,
        [
            keys.holds,
            keys.idempotency,
            keys.breaker,
            *(keys.window(name) for name in names),
            *(keys.ended(hold.id) for hold in holds),
        ],
        [len(to_fill), len(names), len(holds), *_breaker_args(snapshot, now), *names, *fills, *records],
    )


def _breaker_args(snapshot: Snapshot, now: datetime) -> list[str | int]:
    """ARGV[4] to ARGV[7] of fill_windows.lua."""
    day, breaker = snapshot.breaker_day, snapshot.breaker
    if day is None or breaker is None:
        return ["", "", "", ""]
    opened_us, until_us = to_micros(breaker.opened_at), to_micros(breaker.until)
    return [window_name(day.id), opened_us, until_us, breaker_ttl_s(breaker.until, now)]


def _hold_keys(hold: Hold, names: list[str]) -> list[str]:
    keys = CustomerKeys(hold.customer)
    return [keys.holds, keys.idempotency, keys.ended(hold.id), keys.breaker, *(keys.window(name) for name in names)]


def _expect_known(word: str, rest: list[str], windows: tuple[Window, ...]) -> None:
    if word == "unknown":
        raise UnknownWindows(tuple(windows[int(number) - 1] for number in rest))


def _balances(windows: tuple[Window, ...], asked: tuple[Window, ...], words: list[str]) -> tuple[Balance, ...]:
    """Balances of the windows; those behind them in `asked` tell what is taken over."""
    assert len(words) == 3 * len(asked), words
    amounts = [(int(captured), int(held)) for captured, held in zip(words[::3], words[1::3], strict=True)]
    assert all(captured >= 0 and held >= 0 for captured, held in amounts), words
    stands = {window.id: amount for window, amount in zip(asked, amounts, strict=True)}
    return tuple(
        Balance(window, *stands[window.id], from_micros(started_us) if started_us else None, _carried(window, stands))
        for window, started_us in zip(windows, words[2 : 3 * len(windows) : 3], strict=True)
    )


def _carried(window: Window, stands: Mapping[WindowId, tuple[int, int]]) -> int:
    if window.carry is None:
        return 0
    captured_nanos, held_nanos = stands[window.carry.window.id]
    return carried_nanos(window.carry, captured_nanos=captured_nanos, held_nanos=held_nanos)


def _breaker(words: list[str]) -> Breaker | None:
    opened_at_us, until_us, trial, emergency_nanos = words
    if not opened_at_us:
        return None
    return Breaker(
        from_micros(opened_at_us),
        from_micros(until_us),
        unescape(trial) or None,
        int(emergency_nanos) if emergency_nanos else None,
    )
