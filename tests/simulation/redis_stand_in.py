"""Play Redis for RedisBudgetStore: its scripts and the few commands that it calls itself, over memory_account's rules.

`playing_scripts` puts the functions below in the place of bqgate.budgets.scripts for as long as simulations run; the
store itself is the product's, with its two steps for a customer and the deployment, its refills and its errors. That
the Lua scripts keep the same rules is held by tests/machines/test_budget_stores_agree.py. One RedisServer is shared by
all gates; each has a RedisWire to it.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from unittest.mock import patch

from bqgate.budgets import redis_store
from bqgate.budgets.keys import (
    HOLDS_PATTERN,
    PART_WINDOWS_PATTERN,
    CustomerKeys,
    escape,
    hold_record,
    window_name,
)
from bqgate.budgets.memory_account import Account
from bqgate.budgets.refill import ENDED_TTL_S, Snapshot, UnknownWindows
from bqgate.budgets.wipes import FIRST
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE
from bqgate.domain.cost_breaker import BudgetStatus, GracePolicy
from bqgate.domain.hold import ENDED_ATTEMPTS, Attempts, Hold, Placement, PlacementOutcome, VoidOutcome
from bqgate.domain.reject_reason import RejectReason
from tests.simulation.network import Wire

T = TypeVar("T")


class RedisServer:
    """The accounts that all gates share. `now` is the server's own clock.

    `on_end` is told of each hold that an account ends (account, hold, cost), `on_place` of each that is placed,
    `on_restore` of each that is put back, `on_fill` of what windows are about to be filled with.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        make_account: Callable[[], Account] = Account,
        on_end: Callable[[str, str, int], None] = lambda _account, _hold, _cost: None,
        on_place: Callable[[Hold], None] = lambda _hold: None,
        on_fill: Callable[[Snapshot], None] = lambda _snapshot: None,
        on_restore: Callable[[Hold], None] = lambda _hold: None,
    ) -> None:
        self.now = now
        self.accounts: dict[str, Account] = {}
        self.history = 1  # of the writes that it goes on from; another one after each start from a file
        self.wipe_count = 0
        self.on_end = on_end
        self.on_place = on_place
        self.on_fill = on_fill
        self.on_restore = on_restore
        self._make_account = make_account

    def account(self, name: str) -> Account:
        """An account, without the marks of holds that ended long ago."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = self._make_account()
        account.forget(self.now())
        return account

    def wipe(self) -> None:
        """Lose everything, as by FLUSHALL."""
        self.accounts = {}
        self.wipe_count += 1

    def copy(self) -> dict[str, Account]:
        """What counts of a snapshot file: a window that was filled under another history is not known."""
        return {name: self._copy_of(account) for name, account in self.accounts.items()}

    def restore(self, accounts: dict[str, Account]) -> None:
        """Start from a snapshot file."""
        self.history += 1
        self.accounts = {name: self._copy_of(account) for name, account in accounts.items()}

    def unknown_since(self, account: Account) -> str:
        """What a reading of the ledger must not be older than that fills windows of an account."""
        name = f"{self.wipe_count}.{account.drop_count}"
        return f"{self.history}/{name if account.drop_count else FIRST + name}"

    def _copy_of(self, account: Account) -> Account:
        copy = self._make_account()
        copy.holds, copy.attempts = dict(account.holds), dict(account.attempts)
        copy.id_by_key, copy.ended = dict(account.id_by_key), dict(account.ended)
        copy.breaker, copy.drop_count = account.breaker, account.drop_count
        return copy


class RedisWire:
    """One gate's client: the commands that RedisBudgetStore sends without a script."""

    def __init__(self, server: RedisServer, wire: Wire) -> None:
        self.server = server
        self._wire = wire

    async def do(self, what: str, work: Callable[[], T]) -> T:
        """One round trip."""
        return await self._wire.call(what, work)

    async def hgetall(self, key: str) -> dict[str, str]:
        """The holds of a customer."""

        def work() -> dict[str, str]:
            for name, account in self.server.accounts.items():
                if CustomerKeys(name).holds == key:
                    return {escape(hold_id): hold_record(hold) for hold_id, hold in account.holds.items()}
            return {}

        return await self.do("hgetall", work)

    async def scan_iter(self, *, match: str, count: int) -> AsyncIterator[str]:
        """Keys of accounts with holds, or of windows: of one account, or of parts of all customers' queries."""

        def work() -> list[str]:
            accounts = self.server.accounts.items()
            if match == HOLDS_PATTERN:
                return [CustomerKeys(name).holds for name, account in accounts if account.holds]
            return [
                CustomerKeys(name).window(window_name(window))
                for name, account in accounts
                for window in account.stands
                if CustomerKeys(name).windows_pattern == match
                or (match == PART_WINDOWS_PATTERN and window.scope != CUSTOMER_SCOPE)
            ]

        for key in await self.do(f"scan {match}", work):
            yield key

    async def set(self, key: str, value: str, *, ex: int) -> None:
        """Note that windows of an account are about to be dropped."""

        def work() -> None:
            for name, account in self.server.accounts.items():
                if CustomerKeys(name).dropped == key:
                    account.drop_count += 1

        await self.do(f"set {key}", work)

    async def delete(self, key: str) -> None:
        """Drop one window."""

        def work() -> None:
            for name, account in self.server.accounts.items():
                keys = CustomerKeys(name)
                for window in [each for each in account.stands if keys.window(window_name(each)) == key]:
                    del account.stands[window]

        await self.do(f"delete {key}", work)


async def place_hold(
    client: RedisWire,
    hold: Hold,
    windows: tuple[Window, ...],
    grace: GracePolicy,
    *,
    leased_until: datetime,
    joins_only: bool = False,
) -> tuple[Placement, str]:
    """place_hold.lua."""

    def work() -> tuple[Placement, str]:
        account = client.server.account(hold.customer)
        return placed(account), client.server.unknown_since(account)

    def placed(account: Account) -> Placement:
        try:
            balances = account.balances(windows)
        except UnknownWindows as unknown:
            raise UnknownWindows(unknown.windows, client.server.unknown_since(account)) from None
        joined = account.join(hold, windows, leased_until)
        if joined is not None:
            return joined
        if joins_only:
            breaker = account.breaker_at(hold.placed_at)
            return Placement(PlacementOutcome.REFUSED, None, balances, RejectReason.BUDGET_USED_UP, breaker)
        placement = account.place(hold, windows, grace, leased_until)
        if placement.outcome is PlacementOutcome.PLACED:
            client.server.on_place(hold)
        return placement

    return await client.do(f"place {hold.id} in {hold.customer}", work)


async def end_hold(
    client: RedisWire,
    hold: Hold,
    cost_nanos: int,
    now: datetime,
    *,
    attempts: int | None = None,
    is_late: bool = False,
    mark_ttl_s: int = ENDED_TTL_S,
) -> tuple[VoidOutcome, int]:
    """end_hold.lua."""

    def work() -> tuple[VoidOutcome, int]:
        server = client.server
        account = server.account(hold.customer)
        placed = account.holds.get(hold.id)
        outcome, ended_at_nanos = account.end(hold, cost_nanos, server.now(), attempts)
        if outcome is VoidOutcome.VOIDED:
            server.on_end(hold.customer, hold.id, cost_nanos)
            if not mark_ttl_s:
                del account.ended[hold.id]
            if is_late and placed is not None:
                account.drop_windows(placed.window_ids)
        return outcome, ended_at_nanos

    return await client.do(f"end {hold.id} in {hold.customer} at {cost_nanos}, attempts {attempts}", work)


async def keep_holds(
    client: RedisWire, holds: Sequence[Hold], leased_until: datetime, *, restores_only: bool = False
) -> set[str]:
    """keep_holds.lua."""

    def work() -> set[str]:
        account, now, restored = client.server.account(holds[0].customer), client.server.now(), set()
        for hold in holds:
            if account.restore(hold, leased_until, now):
                client.server.on_restore(hold)
                restored.add(hold.id)
            elif not restores_only:
                account.keep(hold.id, leased_until)
        return restored

    return await client.do(f"keep {len(holds)} in {holds[0].customer}", work)


async def fetch_attempts(client: RedisWire, hold: Hold) -> Attempts | None:
    """HGET, HEXISTS, EXISTS."""

    def work() -> Attempts | None:
        account = client.server.account(hold.customer)
        return account.attempts.get(hold.id) or (ENDED_ATTEMPTS if hold.id in account.ended else None)

    return await client.do(f"attempts {hold.id}", work)


async def fetch_status(client: RedisWire, windows: tuple[Window, ...]) -> BudgetStatus:
    """fetch_balances.lua."""

    def work() -> BudgetStatus:
        account = client.server.account(windows[0].customer)
        try:
            return BudgetStatus(account.balances(windows), account.breaker)
        except UnknownWindows as unknown:
            raise UnknownWindows(unknown.windows, client.server.unknown_since(account)) from None

    return await client.do(f"balances of {windows[0].customer}", work)


async def fill_windows(client: RedisWire, snapshot: Snapshot, now: datetime, leased_until: datetime) -> None:
    """fill_windows.lua."""

    def work() -> None:
        account = client.server.account(snapshot.customer)
        if snapshot.unknown_since != client.server.unknown_since(account):
            return
        client.server.on_fill(snapshot)
        account.fill(snapshot, client.server.now(), leased_until)

    await client.do(f"fill {snapshot.customer}", work)


class _Scripts:
    """What RedisBudgetStore calls by the name `scripts`."""

    place_hold = staticmethod(place_hold)
    end_hold = staticmethod(end_hold)
    keep_holds = staticmethod(keep_holds)
    fetch_attempts = staticmethod(fetch_attempts)
    fetch_status = staticmethod(fetch_status)
    fill_windows = staticmethod(fill_windows)


@contextmanager
def playing_scripts() -> Iterator[None]:
    """Let every RedisBudgetStore of this process speak to stand-ins until the block ends."""
    stand_in: Any = _Scripts
    with patch.object(redis_store, "scripts", stand_in):
        yield
