"""Be another gate: a process of its own that places holds on one budget as fast as it can.

    python place_burst.py REDIS_URL COUNT USD DAY_LIMIT_USD NAME

Waits for a line on its input, so that several start together; prints how many were placed.
"""

import asyncio
import sys

from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.hold import PlacementOutcome
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook


async def _burst(url: str, count: int, usd: str, limit_usd: str, name: str) -> int:
    store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=10)
    windows = windows_of(day_usd=limit_usd)
    try:
        placements = await asyncio.gather(
            *(store.place_hold(hold_on(windows, usd, hold_id=f"{name}-{n}"), windows) for n in range(count))
        )
    finally:
        await store.close()
    return sum(placement.outcome is PlacementOutcome.PLACED for placement in placements)


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    url, count, *others = sys.argv[1:]
    placed = asyncio.run(_burst(url, int(count), *others))
    sys.stdout.write(f"{placed}\n")
