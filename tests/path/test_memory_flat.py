"""Refusing and throttling leave nothing in memory. `make soak` does the same with 100,000 queries."""

import gc
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from tests.support.crowded_gate import LEAVING, REFUSED, ROUND, THROTTLED, TOO_BIG, crowded_gate

pytestmark = pytest.mark.long


# Fifty bytes a query: one small object that is kept for each, with its place in a dictionary, takes twice that. What
# else a worker's process does meanwhile was seen to take up to 46,000.
GROWTH_BYTES_MAX = 100_000
ROUNDS = 2_000 // ROUND
# What is kept for a time (marks of holds that have ended: ten minutes) is kept of so many rounds.
ROUNDS_KEPT = 25


async def test_thousands_of_refused_and_throttled_queries_leave_nothing_behind(tmp_path: Path) -> None:
    """After 1,000 queries every cache is full, and memory is what it is 2,000 later, whatever became of each."""
    async with crowded_gate(tmp_path, estimates_kept=100) as crowd:
        tracemalloc.start()
        try:
            for _ in range(ROUNDS_KEPT):
                await crowd.send()
            before = await traced_bytes()
            crowd.answered.clear()
            for _ in range(ROUNDS):
                await crowd.send()
            grown = await traced_bytes() - before
        finally:
            tracemalloc.stop()
        shed = THROTTLED - LEAVING - 1  # one is let go in each round
        assert crowd.answered == Counter(
            {
                403: ROUNDS * (REFUSED - TOO_BIG),
                400: ROUNDS * TOO_BIG,
                429: ROUNDS * shed,
                200: ROUNDS,
                0: ROUNDS * LEAVING,
            }
        )
        assert crowd.room.depth == crowd.room.running_count == 0
        assert grown < GROWTH_BYTES_MAX


async def traced_bytes() -> int:
    """What was allocated since tracing began and is still there."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
