"""Call the Lua scripts with the domain's values and read their answers back into them: the typed door.

Used by redis_store alone. Each method is one script and one round trip (EVALSHA; EVAL when Redis has forgotten the
script), idempotent, and never tried again here: whether a call without an answer did its work is for the caller to
say. Amounts are nano-dollars: what goes in is asserted to be 0 <= n < 2**53, because Lua computes in doubles; what
comes out is decimal text, read exactly and asserted to be no less than zero (sums without a limit may pass 2**53).
UnknownWindows and redis' errors leave it.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from bqgate.budgets.keys import (
    CustomerKeys,
    escape,
    hold_record,
    unescape,
    window_name,
    window_names,
    window_ttl_s,
)
from bqgate.budgets.redis_client import RedisClient
from bqgate.budgets.refill import ENDED_TTL_S, Snapshot, UnknownWindows
from bqgate.domain.budget import Balance, Window
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


async def place_hold(client: RedisClient, hold: Hold, windows: tuple[Window, ...]) -> Placement:
    """Run place_hold.lua.

    Raises:
        UnknownWindows: nothing was touched.
    """
    word, *rest = await _PLACE_HOLD.run(
        client,
        _hold_keys(hold, [window_name(window.period, window.key) for window in windows]),
        [
            escape(hold.id),
            escape(hold.idempotency_key or ""),
            check_nanos(hold.amount_nanos),
            hold_record(hold),
            *("" if window.limit_nanos is None else check_nanos(window.limit_nanos) for window in windows),
        ],
    )
    _expect_known(word, rest, windows)
    open_id, *amounts = rest
    balances = _balances(windows, amounts)
    outcome = PlacementOutcome(word)
    if outcome is PlacementOutcome.PLACED:
        assert all((balance.balance_nanos or 0) >= 0 for balance in balances), balances
    return Placement(outcome, unescape(open_id) or None, balances)


async def end_hold(client: RedisClient, hold: Hold, cost_nanos: int) -> bool:
    """Run end_hold.lua; a second time where the hold was placed in other windows than `hold` says."""
    names = " ".join(window_names(hold.window_keys))
    while True:
        reply = await _END_HOLD.run(
            client,
            _hold_keys(hold, names.split()),
            [escape(hold.id), check_nanos(cost_nanos), names, ENDED_TTL_S],
        )
        if reply[0] != "elsewhere":
            return reply[0] == "ended"
        assert reply[1] != names, reply
        names = reply[1]


async def restore_hold(client: RedisClient, hold: Hold) -> bool:
    """Run restore_hold.lua."""
    reply = await _RESTORE_HOLD.run(
        client,
        _hold_keys(hold, window_names(hold.window_keys)),
        [escape(hold.id), escape(hold.idempotency_key or ""), check_nanos(hold.amount_nanos), hold_record(hold)],
    )
    return reply[0] == "restored"


async def fetch_balances(client: RedisClient, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
    """Run fetch_balances.lua.

    Raises:
        UnknownWindows: at least one is not there.
    """
    keys = CustomerKeys(windows[0].customer)
    names = [keys.window(window_name(window.period, window.key)) for window in windows]
    word, *rest = await _FETCH_BALANCES.run(client, names, [])
    _expect_known(word, rest, windows)
    return _balances(windows, rest)


async def fill_windows(client: RedisClient, snapshot: Snapshot, now: datetime) -> None:
    """Run fill_windows.lua."""
    keys = CustomerKeys(snapshot.customer)
    holds = snapshot.open_holds
    to_fill = [window_name(window.period, window.key) for window in snapshot.windows]
    others = {name for hold in holds for name in window_names(hold.window_keys)} - set(to_fill)
    names = [*to_fill, *sorted(others)]
    fills: list[str | int] = []
    for window in snapshot.windows:
        fills += [snapshot.captured_in(window), window_ttl_s(window, now)]
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
            *(keys.window(name) for name in names),
            *(keys.ended(hold.id) for hold in holds),
        ],
        [len(to_fill), len(names), len(holds), *names, *fills, *records],
    )


def _hold_keys(hold: Hold, names: list[str]) -> list[str]:
    keys = CustomerKeys(hold.customer)
    return [keys.holds, keys.idempotency, keys.ended(hold.id), *(keys.window(name) for name in names)]


def _expect_known(word: str, rest: list[str], windows: tuple[Window, ...]) -> None:
    if word == "unknown":
        raise UnknownWindows(tuple(windows[int(number) - 1] for number in rest))


def _balances(windows: tuple[Window, ...], amounts: list[str]) -> tuple[Balance, ...]:
    assert len(amounts) == 2 * len(windows), amounts
    numbers = [int(amount) for amount in amounts]
    assert all(number >= 0 for number in numbers), amounts
    return tuple(
        Balance(window, captured_nanos=captured, held_nanos=held)
        for window, captured, held in zip(windows, numbers[::2], numbers[1::2], strict=True)
    )
