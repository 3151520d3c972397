"""Print how many place + capture pairs a second each budget store does, and their ratio.

    python -m benchmarks.budget_stores [pairs]

Same commands, same windows (a day and a month), one process; Redis on loopback, on the same processors, so its
figure is a floor. Best of three rounds each, in turns, with one caller and with 50.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.clock import SystemClock
from bqgate.domain.budget import Window
from bqgate.domain.hold import PlacementOutcome
from bqgate.ports import BudgetStore
from tests.support.budget_scene import hold_on, windows_of
from tests.support.redis_server import running_redis
from tests.support.spend_book import SpendBook

PAIRS = 2000
ROUNDS = 3


def open_stores(redis_port: int) -> dict[str, BudgetStore]:
    """Both stores, empty; the ledger behind them knows of no spend."""
    clock = SystemClock()
    return {
        "memory": MemoryBudgetStore(SpendBook(), clock),
        "redis": RedisBudgetStore.open(f"redis://127.0.0.1:{redis_port}", SpendBook(), clock, timeout_s=10),
    }


async def pairs_per_s(store: BudgetStore, windows: tuple[Window, ...], *, pairs: int, callers: int) -> float:
    """Place and capture `pairs` holds on the windows, shared among `callers` that work at once."""
    await store.fetch_balances(windows)

    async def call(count: int) -> None:
        for _ in range(count):
            hold = hold_on(windows, "0.01")
            placement = await store.place_hold(hold, windows)
            assert placement.outcome is PlacementOutcome.PLACED
            assert await store.capture(hold, 5_000_000)

    began = time.perf_counter()
    await asyncio.gather(*(call(pairs // callers) for _ in range(callers)))
    return pairs // callers * callers / (time.perf_counter() - began)


async def run(pairs: int, redis_port: int) -> None:
    stores = open_stores(redis_port)
    windows = windows_of(day_usd="1000000", month_usd="9000000")
    for callers in (1, 50):
        best = dict.fromkeys(stores, 0.0)
        for _ in range(ROUNDS):
            for name, store in stores.items():
                best[name] = max(best[name], await pairs_per_s(store, windows, pairs=pairs, callers=callers))
        figures = ", ".join(f"{name} {rate:,.0f}" for name, rate in best.items())
        ratio = best["memory"] / best["redis"]
        print(f"{callers:>3} callers: {figures} place+capture a second; memory is {ratio:.0f} times redis")
    for store in stores.values():
        await store.close()


def main(run: Callable[[int, int], Coroutine[Any, Any, None]]) -> None:
    """Run a benchmark of (pairs, port of a Redis) with the number that the command line gives."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    with running_redis() as port:
        asyncio.run(run(pairs, port))


if __name__ == "__main__":
    main(run)
