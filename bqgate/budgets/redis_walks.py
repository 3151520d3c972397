"""Do in Redis what takes a walk over all keys: for the reconcile loop and for an admin, never for a request.

Used by redis_store alone. A walk is many short steps, each well under a millisecond for Redis, and sees every key that
is there from its beginning to its end. Raises redis' errors.
"""

import uuid
from collections.abc import Collection, Iterable

from bqgate.budgets import scripts
from bqgate.budgets.keys import (
    BREAKERS_PATTERN,
    HOLDS_PATTERN,
    HOLDS_TTL_S,
    PART_WINDOWS_PATTERN,
    CustomerKeys,
    customer_of,
    part_window_of,
    window_name,
)
from bqgate.budgets.redis_client import RedisClient
from bqgate.domain.budget import WindowId
from bqgate.domain.cost_breaker import CostBreaker

# Keys looked at in one step.
_SCAN_COUNT = 1000


async def find_keys(client: RedisClient, pattern: str) -> list[str]:
    """All keys of a pattern, each once, sorted."""
    return sorted({str(key) async for key in client.scan_iter(match=pattern, count=_SCAN_COUNT)})


async def find_breakers(client: RedisClient) -> dict[str, CostBreaker]:
    """Breakers by customer. The day of one may be over."""
    found = {}
    for key in await find_keys(client, BREAKERS_PATTERN):
        breaker = await scripts.fetch_breaker(client, key)
        if breaker is not None:
            found[customer_of(key, BREAKERS_PATTERN)] = breaker
    return found


async def find_customers(client: RedisClient) -> tuple[str, ...]:
    """Customers that have open holds, sorted."""
    return tuple(sorted(customer_of(key) for key in await find_keys(client, HOLDS_PATTERN)))


async def drop_windows(client: RedisClient, customer: str, window_ids: Iterable[WindowId] | None) -> None:
    """Delete a customer's windows, None: all. Deleting half of them and then the others is as good."""
    keys = CustomerKeys(customer)
    named = None if window_ids is None else [keys.window(window_name(each)) for each in window_ids]
    to_drop = await find_keys(client, keys.windows_pattern) if named is None else named
    if to_drop:
        # First: who reads the ledger from now on reads enough, and who has read it fills none of them.
        await client.set(keys.dropped, uuid.uuid4().hex, ex=HOLDS_TTL_S)
    for key in to_drop:
        await client.delete(key)


async def find_part_windows(client: RedisClient, keys: Collection[str]) -> dict[str, tuple[WindowId, ...]]:
    """Windows of budgets of parts of customers' queries, of these days and months, by account."""
    found: dict[str, list[WindowId]] = {}
    for key in await find_keys(client, PART_WINDOWS_PATTERN):
        account, window_id = part_window_of(key)
        if window_id.key in keys:
            found.setdefault(account, []).append(window_id)
    return {account: tuple(window_ids) for account, window_ids in found.items()}
