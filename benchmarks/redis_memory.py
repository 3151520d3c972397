"""Print what Redis needs for each customer, each open hold and each hold that ended in the last minutes.

    python -m benchmarks.redis_memory [customers]

A Redis of its own on loopback; `used_memory` before and after. Each customer has three budgets, its own, a principal's
and a workload's, a day and a month of each, and ten open holds with ids as long as the gate's. MEMORY USAGE of one
customer's keys is printed beside it.
"""

import asyncio
import sys
import uuid
from dataclasses import replace

import redis

from bqgate.budgets.keys import CustomerKeys
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.clock import SystemClock
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from bqgate.domain.hold import Hold
from tests.support.budget_scene import hold_on, windows_of
from tests.support.redis_server import running_redis
from tests.support.spend_book import SpendBook

CUSTOMERS = 1000
HOLDS_EACH = 10
SCOPES = (BudgetScope(ScopeKind.PRINCIPAL, "ada.lovelace@example.com"), BudgetScope(ScopeKind.WORKLOAD, "nightly-load"))


def windows_for(customer: str) -> tuple[Window, ...]:
    """A day and a month of each of three budgets."""
    own = windows_of(customer, now=SystemClock().now(), day_usd=None, month_usd=None)
    return (*own, *(replace(window, scope=scope) for scope in SCOPES for window in own))


def hold_for(windows: tuple[Window, ...]) -> Hold:
    """A hold with ids as the gate makes them."""
    key = f"job:{windows[0].customer}:bqgate_{uuid.uuid4().hex}"
    return hold_on(windows, "0.034567891", hold_id=uuid.uuid4().hex, idempotency_key=key, placed_at=SystemClock().now())


async def run(customers: int, port: int) -> None:
    store = RedisBudgetStore.open(f"redis://127.0.0.1:{port}", SpendBook(), SystemClock(), timeout_s=10)
    names = [f"customer-{number:06}" for number in range(customers)]
    with redis.Redis(port=port) as raw:

        def used_bytes() -> int:
            return int(raw.info("memory")["used_memory"])

        await store.check()
        first = windows_for("customer-before")
        await store.void(await _placed(store, first))  # loads the scripts
        begun = used_bytes()
        for name in names:
            await store.fetch_balances(windows_for(name))
        filled = used_bytes()
        holds = [await _placed(store, windows_for(name)) for name in names for _ in range(HOLDS_EACH)]
        held = used_bytes()
        keys = CustomerKeys(names[0])
        parts = {key.removeprefix(keys.holds.removesuffix("holds")): raw.memory_usage(key) for key in _keys(raw, keys)}
        for hold in holds:
            await store.capture(hold, 34_567_891)
        ended = used_bytes()
        version = raw.info("server")["redis_version"]
    await store.close()
    print(f"Redis {version}, {customers} customers, 3 budgets and {HOLDS_EACH} open holds each")
    print(f"each customer           {(filled - begun) / customers:8.0f} bytes")
    print(f"each open hold          {(held - filled) / len(holds):8.0f} bytes")
    print(f"each one ended, 5 min   {(ended - filled) / len(holds):8.0f} bytes")
    print(f"all with open holds     {(held - begun) / 2**20:8.1f} MiB")
    for part, size_bytes in sorted(parts.items()):
        print(f"    {part:60} {size_bytes:6}")


async def _placed(store: RedisBudgetStore, windows: tuple[Window, ...]) -> Hold:
    hold = hold_for(windows)
    await store.place_hold(hold, windows)
    return hold


def _keys(raw: redis.Redis, keys: CustomerKeys) -> list[str]:
    pattern = keys.holds.removesuffix("holds") + "*"
    return [key.decode() for key in raw.scan_iter(match=pattern, count=1000)]


def main() -> None:
    customers = int(sys.argv[1]) if len(sys.argv) > 1 else CUSTOMERS
    with running_redis() as port:
        asyncio.run(run(customers, port))


if __name__ == "__main__":
    main()
