"""Call the Lua scripts with the domain's values; script_answers.py reads their answers back into them.

Used by redis_store alone. Each function is one script and one round trip, and idempotent; whether a call without an
answer did its work is for the caller to say. Amounts are nano-dollars, and asserted to be 0 <= n < 2**53, because Lua
computes in doubles. UnknownWindows and redis' errors leave it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bqgate.budgets.keys import (
    CHECK_KEY,
    CHECK_TTL_S,
    HOLDS_TTL_S,
    CustomerKeys,
    attempts_of,
    escape,
    from_micros,
    keys_of,
    names_text,
    to_micros,
    unescape,
)
from bqgate.budgets.lua_script import LuaScript, ScriptClient
from bqgate.budgets.redis_client import RedisClient
from bqgate.budgets.refill import ENDED_TTL_S, Snapshot
from bqgate.budgets.script_answers import balances_of, breaker_of, expect_known
from bqgate.budgets.script_arguments import (
    fill_arguments,
    hold_arguments,
    hold_keys,
    hold_words,
    judging_arguments,
    names_of,
    written,
)
from bqgate.domain.budget import Window
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

_PLACEMENT_OUTCOMES = {outcome.value: outcome for outcome in PlacementOutcome}
_VOID_OUTCOMES = {outcome.value: outcome for outcome in VoidOutcome}

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
    known, words = written(windows), hold_words(hold)
    outcome, *rest = await _PLACE_HOLD.run(
        client,
        hold_keys(hold.customer, words[0], known.keys),
        [
            *words,
            *judging_arguments(hold.placed_at, known, grace),
            to_micros(leased_until),
            RESTORED_ATTEMPTS,
            "1" if joins_only else "",
            "1" if hold.is_joined_by_repeats else "",
            HOLDS_TTL_S,
            *known.limits,
        ],
    )
    expect_known(outcome, rest, known.asked)
    open_id, refusal, tripped, grace_starts, attempts, history, *breaker_fields, stands = rest
    held_nanos = hold.amount_nanos if outcome == "placed" else 0
    values = stands.split(" ") if windows else []
    placement = Placement(
        _PLACEMENT_OUTCOMES[outcome],
        hold.id if open_id == words[0] else unescape(open_id) or None,
        balances_of(windows, known.asked, values, held_nanos=held_nanos),
        RejectReason(refusal) if refusal else None,
        breaker_of(breaker_fields),
        has_tripped=tripped == "1",
        grace_started_in=tuple(windows[int(number) - 1] for number in grace_starts.split()) if grace_starts else (),
        attempts=int(attempts),
    )
    return _with_end_of_grace(placement, grace), history


def _with_end_of_grace(placement: Placement, grace: GracePolicy) -> Placement:
    """The placement; where it is past a limit, with the end of the grace that let it be."""
    if placement.outcome is not PlacementOutcome.PLACED or placement.refusal is not None:
        return placement
    # Past a limit only in grace, and one that has begun may have room again.
    started = [balance for balance in placement.balances if balance.grace_started_at is not None]
    starts = [each.grace_started_at for each in started if each.window.is_own and (each.balance_nanos or 0) < 0]
    if not starts:
        return placement
    return replace(placement, grace_ends_at=min(filter(None, starts)) + timedelta(seconds=grace.grace_s))


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
    names, account, hold_id = names_text(hold), keys_of(hold.customer), escape(hold.id)
    known = "" if attempts is None else attempts
    options = [mark_ttl_s, to_micros(now), known, RESTORED_ATTEMPTS, "1" if is_late else "", HOLDS_TTL_S]
    while True:
        outcome, detail = await _END_HOLD.run(
            client,
            hold_keys(hold.customer, hold_id, account.windows(names)),
            [hold_id, check_nanos(cost_nanos), names, *options],
        )
        if outcome != "elsewhere":
            return _VOID_OUTCOMES[outcome], int(detail)
        assert detail != names, detail
        names = detail


async def keep_holds(
    client: ScriptClient, holds: Sequence[Hold], leased_until: datetime, *, restores_only: bool = False
) -> set[str]:
    """Run keep_holds.lua on holds of one customer; the ids of those that were put back."""
    keys, names = keys_of(holds[0].customer), sorted(names_of(holds))
    windows, marks = [keys.window(name) for name in names], [keys.ended(escape(hold.id)) for hold in holds]
    options = [RESTORED_ATTEMPTS, "" if restores_only else "1", ENDED_TTL_S, HOLDS_TTL_S]
    numbers = await _KEEP_HOLDS.run(
        client,
        [keys.holds, keys.idempotency, keys.attempts, *windows, *marks],
        [len(names), to_micros(leased_until), *options, *names, *hold_arguments(holds)],
    )
    return {holds[int(number) - 1].id for number in numbers}


async def fetch_attempts(client: RedisClient, hold: Hold) -> Attempts | None:
    """The record of an open hold, ENDED_ATTEMPTS of one that has ended.

    An older revision writes no record when it places a hold, and leaves it there when it ends one.
    """
    keys, hold_id = CustomerKeys(hold.customer), escape(hold.id)
    record = await client.hget(keys.attempts, hold_id)
    if not await client.hexists(keys.holds, hold_id):
        return ENDED_ATTEMPTS if await client.exists(keys.ended(hold_id)) else None
    return Attempts(RESTORED_ATTEMPTS, from_micros("0")) if record is None else attempts_of(str(record))


async def fetch_status(client: ScriptClient, windows: tuple[Window, ...]) -> BudgetStatus:
    """Run fetch_balances.lua. The breaker's day may be over.

    Raises:
        UnknownWindows: at least one is not there.
    """
    keys, known = keys_of(windows[0].customer), written(windows)
    outcome, *rest = await _FETCH_BALANCES.run(
        client, [keys.breaker, keys.dropped, *known.keys], [uuid.uuid4().hex, HOLDS_TTL_S]
    )
    expect_known(outcome, rest, known.asked)
    return BudgetStatus(balances_of(windows, known.asked, rest[4:]), breaker_of(rest[:4]))


async def check(client: ScriptClient) -> None:
    """Run check.lua."""
    await _CHECK.run(client, [CHECK_KEY], [CHECK_TTL_S])


async def fetch_breaker(client: RedisClient, key: str) -> CostBreaker | None:
    """The breaker of a key, None where it has gone. Its day may be over."""
    fields = await client.hmget(key, ["opened_at_us", "until_us", "trial", "emergency_nanos"])
    return breaker_of([str(field or "") for field in fields])


async def fill_windows(client: ScriptClient, snapshot: Snapshot, now: datetime, leased_until: datetime) -> None:
    """Run fill_windows.lua."""
    await _FILL_WINDOWS.run(client, *fill_arguments(snapshot, now, leased_until))
