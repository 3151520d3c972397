"""Keep budgets in Redis, shared by any number of gates: the BudgetStore of several replicas.

Made by app; called by admission, settlement and admin through ports.BudgetStore. Calls scripts.py, and the SpendSource
when a window is unknown. No call is retried. Scripts go over one connection that all callers share (redis_line.py);
other calls, and scripts to a cluster, are at most `connections_max` at once. Without an answer a call ends within
`timeout_s` for its turn, again to connect and again for each reply. While its breaker is open a call fails at once.
Raises BudgetStoreUnavailable for whatever Redis or the network does, LedgerUnavailable when a window cannot be filled.

A cluster keeps a customer and the deployment on different machines. So a hold is placed with the deployment first and
with the customer after it; what the customer refuses, or what turns out to be a repeat, is given back above. A crash in
between leaves a hold above that no ledger knows: reconcile voids it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from redis.asyncio import Redis

from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.budgets import redis_walks, scripts
from bqgate.budgets.accounts import by_account, deployment_hold, holds_by_account, split_windows
from bqgate.budgets.keys import (
    CustomerKeys,
    placed_at_of,
    unescape,
)
from bqgate.budgets.redis_client import RedisClient, close_client, open_client
from bqgate.budgets.redis_line import RedisLine
from bqgate.budgets.redis_turns import RedisTurns
from bqgate.budgets.refill import TRIES_MAX, Refill, Snapshot, UnknownWindows
from bqgate.budgets.wipes import Wipes
from bqgate.domain.budget import Balance, Window, WindowId
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.cost_breaker import NO_GRACE, BudgetStatus, CostBreaker, GracePolicy
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import LEASE_S, Attempts, Hold, Placement, PlacementOutcome, VoidOutcome
from bqgate.ports import Clock, SpendSource

_LOSES_WINDOWS = "the budget store loses windows as fast as they are filled"

# Holds that one script keeps: it then takes a few milliseconds.
_KEPT_AT_ONCE = 500


class RedisBudgetStore:
    """BudgetStore in Redis. `client` decodes answers; it is closed with the store.

    `has_deployment_budget` says whether the deployment has a budget now: then a hold ends and is kept there too.
    `put_back_s` is how long other gates need to put back holds that Redis has lost (wipes.py).
    """

    def __init__(
        self,
        client: RedisClient,
        source: SpendSource,
        clock: Clock,
        *,
        timeout_s: float,
        connections_max: int,
        has_deployment_budget: Callable[[], bool] = lambda: False,
        breaker: CircuitBreaker | None = None,
        lease_s: float = LEASE_S,
        put_back_s: float = 0.0,
    ) -> None:
        self._client = client
        self._clock = clock
        self._line = RedisLine(client.connection_pool, timeout_s=timeout_s) if isinstance(client, Redis) else None
        turns = RedisTurns(client, self._line, timeout_s=timeout_s, connections_max=connections_max, breaker=breaker)
        self._run, self._turn = turns.run, turns.take
        self._refill = Refill(source, self._fill, clock)
        self._has_deployment_budget = has_deployment_budget
        self._lease = timedelta(seconds=lease_s)
        self._wipes = Wipes(put_back_s)

    @classmethod
    def open(
        cls,
        url: str,
        source: SpendSource,
        clock: Clock,
        *,
        timeout_s: float = 1.0,
        connections_max: int = 50,
        has_deployment_budget: Callable[[], bool] = lambda: False,
        breaker: CircuitBreaker | None = None,
        lease_s: float = LEASE_S,
        put_back_s: float = 0.0,
    ) -> Self:
        """Make a store by the URLs of redis_address: of one server, of Sentinels, of a cluster.

        Connects at the first call, so that a gate may start before its Redis does.

        Raises:
            ValueError: the URL is of no such kind.
        """
        return cls(
            open_client(url, timeout_s=timeout_s, connections_max=connections_max),
            source,
            clock,
            timeout_s=timeout_s,
            connections_max=connections_max,
            has_deployment_budget=has_deployment_budget,
            breaker=breaker,
            lease_s=lease_s,
            put_back_s=put_back_s,
        )

    async def place_hold(self, hold: Hold, windows: tuple[Window, ...], grace: GracePolicy = NO_GRACE) -> Placement:
        """Place a hold: one round trip an account. An id that was just ended is refused, however much room there is."""
        own, above = split_windows(hold, windows)
        if not above:
            return (await self._place(hold, own, grace))[0]
        hold_above = deployment_hold(hold)
        first, _ = await self._place(hold_above, above)
        if first.hold_id is None:
            found, _ = await self._place(hold, own, grace, joins_only=True)
            refusal = None if found.outcome is PlacementOutcome.REPLAYED else first.refusal
            return replace(found, refusal=refusal, balances=(*found.balances, *first.balances))
        try:
            second, was_unknown = await self._place(hold, own, grace)
        except (BudgetStoreUnavailable, LedgerUnavailable):
            await self._give_back(hold_above)
            raise
        balances_above = first.balances
        if second.hold_id != hold.id:  # refused, or a repeat of another hold
            await self._give_back(hold_above)
            balances_above = tuple(replace(b, held_nanos=b.held_nanos - hold.amount_nanos) for b in first.balances)
        elif was_unknown:
            await self._put_back_above(hold_above)
        return replace(second, balances=(*second.balances, *balances_above))

    async def capture(self, hold: Hold, cost_nanos: int, *, is_late: bool = False) -> bool:
        """End a hold with its cost: one round trip. False also when Redis lost the hold; reconcile mends that."""
        return VoidOutcome.VOIDED in await self._end(hold, cost_nanos, is_late=is_late)

    async def void(self, hold: Hold, *, attempts: int | None = None) -> VoidOutcome:
        """End a hold that cost nothing: one round trip."""
        return (await self._end(hold, 0, attempts))[0]

    async def fetch_attempts(self, hold: Hold) -> Attempts | None:
        """How many have joined a hold, and until when it is leased: two round trips, three if it is not open."""
        async with self._turn():
            return await scripts.fetch_attempts(self._client, hold)

    async def keep_holds(self, holds: Sequence[Hold]) -> tuple[str, ...]:
        """Lease holds from now on, and put back what was lost: one round trip for each account and 500 holds."""
        return await self._keep(holds)

    async def restore_hold(self, hold: Hold) -> bool:
        """Put a lost hold back: one round trip. False also for one that was ended in the last minutes."""
        return bool(await self._keep([hold], restores_only=True))

    async def fetch_balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window, all of an account at one moment: one round trip for each account."""
        if not windows:
            return ()
        return (await self.fetch_status(windows)).balances

    async def fetch_status(self, windows: tuple[Window, ...]) -> BudgetStatus:
        """What stands against each window, and the breaker: one round trip for each account."""
        statuses = [await self._fetch_status(part) for part in by_account(windows)]
        balances = tuple(balance for status in statuses for balance in status.balances)
        breaker = statuses[0].breaker
        return BudgetStatus(balances, breaker if breaker is not None and breaker.is_open(self._clock.now()) else None)

    async def fetch_breakers(self) -> dict[str, CostBreaker]:
        """Breakers that are open, by customer. Walks all keys: for an admin, not for a request."""
        async with self._turn():
            breakers = await redis_walks.find_breakers(self._client)
        return {customer: breaker for customer, breaker in breakers.items() if breaker.is_open(self._clock.now())}

    async def reset_breaker(self, customer: str) -> None:
        """Close a breaker: one round trip."""
        async with self._turn():
            await self._client.delete(CustomerKeys(customer).breaker)

    async def forget_windows(self, customer: str, window_ids: Iterable[WindowId] | None = None) -> None:
        """Drop what stands against a customer's windows. To find all of them it walks all keys."""
        async with self._turn():
            await redis_walks.drop_windows(self._client, customer, window_ids)

    async def fetch_part_windows(self, keys: Collection[str]) -> Mapping[str, tuple[WindowId, ...]]:
        """Windows of budgets of parts of customers' queries, by account. Walks all keys."""
        async with self._turn():
            return await redis_walks.find_part_windows(self._client, keys)

    async def fetch_hold_ids(self, customer: str) -> dict[str, datetime]:
        """Ids of the customer's open holds, with the moment each was placed (to the microsecond)."""
        async with self._turn():
            records = await self._client.hgetall(CustomerKeys(customer).holds)
        return {unescape(str(hold_id)): placed_at_of(str(record)) for hold_id, record in records.items()}

    async def fetch_customers(self) -> tuple[str, ...]:
        """Customers that have open holds, sorted. Walks all keys: for the reconcile loop, not for a request."""
        async with self._turn():
            return await redis_walks.find_customers(self._client)

    async def check(self) -> None:
        """Write a short-lived key: a replica, a full memory, a failed disk and a user who may too little all show."""
        await self._run(scripts.check)

    async def close(self) -> None:
        """Stop fillings and close connections."""
        await self._refill.close()
        if self._line is not None:
            await self._line.close()
        await close_client(self._client)

    async def _place(
        self, hold: Hold, windows: tuple[Window, ...], grace: GracePolicy = NO_GRACE, *, joins_only: bool = False
    ) -> tuple[Placement, bool]:
        """Place a hold in one account; windows that are unknown there are filled first. True: some were."""
        leased_until = hold.placed_at + self._lease
        for number in range(TRIES_MAX):
            try:
                placement, history = await self._run(
                    scripts.place_hold, hold, windows, grace, leased_until=leased_until, joins_only=joins_only
                )
            except UnknownWindows as unknown:
                await self._fill_unknown(unknown)
            else:
                self._wipes.meet(hold.customer, history, self._clock.monotonic_s())
                return placement, number > 0
        raise BudgetStoreUnavailable(_LOSES_WINDOWS)

    async def _fetch_status(self, windows: tuple[Window, ...]) -> BudgetStatus:
        """What stands against windows of one account; those that are unknown there are filled first."""
        for _ in range(TRIES_MAX):
            try:
                return await self._run(scripts.fetch_status, windows)
            except UnknownWindows as unknown:
                await self._fill_unknown(unknown)
        raise BudgetStoreUnavailable(_LOSES_WINDOWS)

    async def _fill_unknown(self, unknown: UnknownWindows) -> None:
        """Fill windows of an account; where Redis lost writes, once all gates have put back what they hold."""
        wait_s = self._wipes.meet(unknown.windows[0].customer, unknown.since, self._clock.monotonic_s())
        if wait_s:
            await self._clock.sleep(wait_s)
        await self._refill.fill(unknown)

    async def _end(
        self, hold: Hold, cost_nanos: int, attempts: int | None = None, *, is_late: bool = False
    ) -> tuple[VoidOutcome, ...]:
        """End a hold in its account, and above at the same cost; what became of it in each."""
        now = self._clock.now()
        outcome, cost_nanos = await self._run(
            scripts.end_hold, hold, cost_nanos, now, attempts=attempts, is_late=is_late
        )
        is_left = outcome is VoidOutcome.JOINED or (outcome is VoidOutcome.UNKNOWN and attempts is not None)
        if is_left or not self._is_counted_above(hold):
            return (outcome,)
        above, _ = await self._run(scripts.end_hold, deployment_hold(hold), cost_nanos, now, is_late=is_late)
        return outcome, above

    async def _put_back_above(self, hold: Hold) -> None:
        """Put back what may be lost above, where the customer's windows were; else whoever keeps the hold does it."""
        with suppress(BudgetStoreUnavailable):
            await self._keep([hold], restores_only=True)

    async def _give_back(self, hold: Hold) -> None:
        """Give back what was placed above. What cannot be given back now, reconcile does: no ledger knows it."""
        with suppress(BudgetStoreUnavailable):
            await self._run(scripts.end_hold, hold, 0, self._clock.now(), mark_ttl_s=0)

    async def _keep(self, holds: Sequence[Hold], *, restores_only: bool = False) -> tuple[str, ...]:
        restored: set[str] = set()
        above = [deployment_hold(hold) for hold in holds if self._is_counted_above(hold)]
        for account in holds_by_account([*holds, *above]):
            for start in range(0, len(account), _KEPT_AT_ONCE):
                leased_until = self._clock.now() + self._lease
                part = account[start : start + _KEPT_AT_ONCE]
                restored |= await self._run(scripts.keep_holds, part, leased_until, restores_only=restores_only)
        return tuple(hold.id for hold in holds if hold.id in restored)

    def _is_counted_above(self, hold: Hold) -> bool:
        return hold.customer != DEPLOYMENT_ACCOUNT and self._has_deployment_budget()

    async def _fill(self, snapshot: Snapshot) -> None:
        now = self._clock.now()
        await self._run(scripts.fill_windows, snapshot, now, now + self._lease)
