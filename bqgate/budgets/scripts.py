"""Call the Lua scripts with the domain's values; script_answers.py reads their answers back into them.

Used by redis_store alone. Each function is one script and one round trip, and idempotent; whether a call without an
answer did its work is for the caller to say. Amounts are nano-dollars, and asserted to be 0 <= n < 2**53, because Lua
computes in doubles. UnknownWindows and redis' errors leave it.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bqgate.budgets.keys import (
    CHECK_KEY,
    CHECK_TTL_S,
    HOLDS_TTL_S,
    CustomerKeys,
    attempts_of,
    attempts_record,
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
from bqgate.budgets.lua_script import LuaScript, ScriptClient
from bqgate.budgets.redis_client import RedisClient
from bqgate.budgets.refill import ENDED_TTL_S, Snapshot
from bqgate.budgets.script_answers import balances_of, breaker_of, expect_known
from bqgate.domain.budget import Period, Window, with_rollovers
from bqgate.domain.cost_breaker import BudgetStatus, CostBreaker, GracePolicy
from bqgate.domain.hold import (
    ENDED_ATTEMPTS,
    RESTORED_ATTEMPTS,
    Attempts,
    Hold,
    Placement,
    PlacementOutcome,
    VoidOutcome,
)
from bqgate.domain.money import check_nanos
from bqgate.domain.reject_reason import RejectReason

_CHECK = LuaScript("history.lua", "check.lua")
_PLACE_HOLD = LuaScript("history.lua", "place_hold.lua")
_END_HOLD = LuaScript("history.lua", "end_hold.lua")
_KEEP_HOLDS = LuaScript("keep_holds.lua")
_FETCH_BALANCES = LuaScript("history.lua", "fetch_balances.lua")
_FILL_WINDOWS = LuaScript("history.lua", "fill_windows.lua")


async def place_hold(
    client: ScriptClient,
    hold: Hold,
    windows: tuple[Window, ...],
    grace: GracePolicy,
    *,
    leased_until: datetime,
    joins_only: bool = False,
) -> tuple[Placement, str]:
    """Run place_hold.lua. `joins_only`: the hold that it repeats is joined, and nothing is placed.

    Returns also which history of writes the account goes on with (wipes.py).

    Raises:
        UnknownWindows: nothing was touched.
    """
    asked = with_rollovers(windows)
    outcome, *rest = await _PLACE_HOLD.run(
        client,
        _hold_keys(hold, [window_name(window.id) for window in asked]),
        [
            escape(hold.id),
            escape(hold.idempotency_key or ""),
            check_nanos(hold.amount_nanos),
            hold_record(hold),
            *_judging_args(hold.placed_at, windows, grace),
            sum(window.is_own for window in windows),
            len(windows),
            to_micros(leased_until),
            RESTORED_ATTEMPTS,
            "1" if joins_only else "",
            "1" if hold.is_joined_by_repeats else "",
            HOLDS_TTL_S,
            *_limit_args(windows, asked),
        ],
    )
    expect_known(outcome, rest, asked)
    open_id, refusal, tripped, grace_starts, attempts, history, *numbers = rest
    breaker, balances = breaker_of(numbers[:4]), balances_of(windows, asked, numbers[4:])
    started_in = tuple(windows[int(number) - 1] for number in grace_starts.split())
    placement = Placement(
        PlacementOutcome(outcome),
        unescape(open_id) or None,
        balances,
        RejectReason(refusal) if refusal else None,
        breaker,
        has_tripped=tripped == "1",
        grace_started_in=started_in,
        attempts=int(attempts),
    )
    return _with_end_of_grace(placement, grace), history


def _with_end_of_grace(placement: Placement, grace: GracePolicy) -> Placement:
    """The placement; where it is past a limit, with the end of the grace that let it be."""
    if placement.outcome is not PlacementOutcome.PLACED or placement.refusal is not None:
        return placement
    short = [balance for balance in placement.balances if balance.window.is_own and (balance.balance_nanos or 0) < 0]
    if not short:
        return placement
    starts = [balance.grace_started_at for balance in short if balance.grace_started_at is not None]
    assert len(starts) == len(short), (grace, placement.balances)  # past a limit only in grace
    return replace(placement, grace_ends_at=min(starts) + timedelta(seconds=grace.grace_s))


def _judging_args(now: datetime, windows: tuple[Window, ...], grace: GracePolicy) -> list[str | int]:
    """ARGV[5] to ARGV[12] of place_hold.lua."""
    day = next((place for place, window in enumerate(windows, 1) if window.is_own and window.period is Period.DAY), 0)
    resets_at = windows[day - 1].resets_at if day else now
    return [
        to_micros(now),
        grace.grace_s * 1_000_000 if grace.has_grace else 0,
        "" if grace.emergency_nanos is None else check_nanos(grace.emergency_nanos),
        grace.cooldown_s * 1_000_000,
        "1" if grace.is_observed else "",
        day,
        to_micros(resets_at),
        breaker_ttl_s(resets_at, now),
    ]


def _limit_args(windows: tuple[Window, ...], asked: tuple[Window, ...]) -> list[str | int]:
    """ARGV[20] and what follows it of place_hold.lua. Observed budgets have none, except the customer's own."""
    numbers = {window.id: number for number, window in enumerate(asked, 1)}
    args: list[str | int] = []
    for window in windows:
        is_limited = window.is_own or window.is_strict
        args.append(check_nanos(window.limit_nanos) if is_limited and window.limit_nanos is not None else "")
        if window.rollover is None:
            args += [0, "", ""]
        else:
            before = window.rollover.window
            args += [numbers[before.id], check_nanos(before.limit_nanos or 0), check_nanos(window.rollover.nanos_max)]
    return args


async def end_hold(
    client: ScriptClient,
    hold: Hold,
    cost_nanos: int,
    now: datetime,
    *,
    attempts: int | None = None,
    is_late: bool = False,
    mark_ttl_s: int = ENDED_TTL_S,
) -> tuple[VoidOutcome, int]:
    """Run end_hold.lua; twice where the hold was placed in other windows than `hold` says.

    Returns what became of it (VOIDED: it ended now, whatever its cost), and at which cost it ended, now or before.
    """
    names = " ".join(window_names(hold.window_ids))
    known = "" if attempts is None else attempts
    options = [mark_ttl_s, to_micros(now), known, RESTORED_ATTEMPTS, "1" if is_late else "", HOLDS_TTL_S]
    while True:
        outcome, detail = await _END_HOLD.run(
            client,
            _hold_keys(hold, names.split()),
            [escape(hold.id), check_nanos(cost_nanos), names, *options],
        )
        if outcome != "elsewhere":
            return VoidOutcome(outcome), int(detail)
        assert detail != names, detail
        names = detail


async def keep_holds(
    client: ScriptClient, holds: Sequence[Hold], leased_until: datetime, *, restores_only: bool = False
) -> set[str]:
    """Run keep_holds.lua on holds of one customer; the ids of those that were put back."""
    keys = CustomerKeys(holds[0].customer)
    names = sorted({name for hold in holds for name in window_names(hold.window_ids)})
    windows, marks = [keys.window(name) for name in names], [keys.ended(hold.id) for hold in holds]
    options = [RESTORED_ATTEMPTS, "" if restores_only else "1", ENDED_TTL_S, HOLDS_TTL_S]
    numbers = await _KEEP_HOLDS.run(
        client,
        [keys.holds, keys.idempotency, keys.attempts, *windows, *marks],
        [len(names), to_micros(leased_until), *options, *names, *_records(holds)],
    )
    return {holds[int(number) - 1].id for number in numbers}


async def fetch_attempts(client: RedisClient, hold: Hold) -> Attempts | None:
    """The record of an open hold, ENDED_ATTEMPTS of one that has ended.

    An older revision writes no record when it places a hold, and leaves it there when it ends one.
    """
    keys, hold_id = CustomerKeys(hold.customer), escape(hold.id)
    record = await client.hget(keys.attempts, hold_id)
    if not await client.hexists(keys.holds, hold_id):
        return ENDED_ATTEMPTS if await client.exists(keys.ended(hold.id)) else None
    return Attempts(RESTORED_ATTEMPTS, from_micros("0")) if record is None else attempts_of(str(record))


async def fetch_status(client: ScriptClient, windows: tuple[Window, ...]) -> BudgetStatus:
    """Run fetch_balances.lua. The breaker's day may be over.

    Raises:
        UnknownWindows: at least one is not there.
    """
    keys = CustomerKeys(windows[0].customer)
    asked = with_rollovers(windows)
    names = [keys.window(window_name(window.id)) for window in asked]
    outcome, *rest = await _FETCH_BALANCES.run(
        client, [keys.breaker, keys.dropped, *names], [uuid.uuid4().hex, HOLDS_TTL_S]
    )
    expect_known(outcome, rest, asked)
    return BudgetStatus(balances_of(windows, asked, rest[4:]), breaker_of(rest[:4]))


async def check(client: ScriptClient) -> None:
    """Run check.lua."""
    await _CHECK.run(client, [CHECK_KEY], [CHECK_TTL_S])


async def fetch_breaker(client: RedisClient, key: str) -> CostBreaker | None:
    """The breaker of a key, None where it has gone. Its day may be over."""
    fields = await client.hmget(key, ["opened_at_us", "until_us", "trial", "emergency_nanos"])
    return breaker_of([str(field or "") for field in fields])


async def fill_windows(client: ScriptClient, snapshot: Snapshot, now: datetime, leased_until: datetime) -> None:
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
    await _FILL_WINDOWS.run(
        client,
        [
            keys.holds,
            keys.idempotency,
            keys.breaker,
            keys.attempts,
            keys.dropped,
            *(keys.window(name) for name in names),
            *(keys.ended(hold.id) for hold in holds),
        ],
        [
            len(to_fill),
            len(names),
            len(holds),
            *_breaker_args(snapshot, now),
            attempts_record(Attempts(RESTORED_ATTEMPTS, leased_until)),
            snapshot.unknown_since,
            HOLDS_TTL_S,
            *names,
            *fills,
            *_records(holds),
        ],
    )


def _records(holds: Iterable[Hold]) -> list[str | int]:
    """The last of ARGV of keep_holds.lua and fill_windows.lua."""
    args: list[str | int] = []
    for hold in holds:
        args += [escape(hold.id), escape(hold.idempotency_key or ""), check_nanos(hold.amount_nanos), hold_record(hold)]
    return args


def _breaker_args(snapshot: Snapshot, now: datetime) -> list[str | int]:
    """ARGV[4] to ARGV[7] of fill_windows.lua."""
    day, breaker = snapshot.breaker_day, snapshot.breaker
    if day is None or breaker is None:
        return ["", "", "", ""]
    opened_us, until_us = to_micros(breaker.opened_at), to_micros(breaker.until)
    return [window_name(day.id), opened_us, until_us, breaker_ttl_s(breaker.until, now)]


def _hold_keys(hold: Hold, names: list[str]) -> list[str]:
    keys = CustomerKeys(hold.customer)
    windows = (keys.window(name) for name in names)
    return [keys.holds, keys.idempotency, keys.ended(hold.id), keys.breaker, keys.attempts, keys.dropped, *windows]
