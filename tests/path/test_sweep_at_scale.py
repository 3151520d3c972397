"""Five thousand jobs past the gate: each is found and booked once, by either method, in bounded time and memory."""

import asyncio
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from bqgate.clock import SystemClock
from bqgate.domain.entry import Origin
from bqgate.domain.units import MIB
from tests.support.sweep_scene import CENTS_10, METHODS, SweepScene, sweep_scene

JOBS = 5_000
AT_ONCE = 20
SQL = "SELECT a FROM `acme.money.ten_gib`"


async def run_past_the_gate(scene: SweepScene) -> None:
    """Half by jobs.insert and half by jobs.query, so many at a time."""

    async def run(numbers: range) -> None:
        for number in numbers:
            if number % 2:
                await scene.insert(SQL, f"past-{number}")
            else:
                await scene.query(SQL)

    await asyncio.gather(*(run(range(first, JOBS, AT_ONCE)) for first in range(AT_ONCE)))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", METHODS)
async def test_five_thousand_jobs_are_booked_once(tmp_path: Path, method: str) -> None:
    """5,000 jobs past the gate are 5,000 entries, to the nano-dollar, and the budget has them; again changes none."""
    document = {"tiers": {"standard": {"daily_usd": "1000", "monthly_usd": "10000", "emergency_usd": "2000"}}}
    async with sweep_scene(tmp_path, method, document, jobs_kept=50_000, worker_threads=2) as scene:
        await run_past_the_gate(scene)
        clock, begun_s = SystemClock(), SystemClock().monotonic_s()
        tracemalloc.start()
        await scene.sweep()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        took_s = clock.monotonic_s() - begun_s
        print(f"{method}: {JOBS} jobs in {took_s:.1f} s, peak {peak_bytes // MIB} MiB")  # noqa: T201 - a figure
        await scene.sweep()
        entries = await scene.entries()
        assert Counter(each.origin for each in entries) == {Origin.BYPASS: JOBS}
        assert len({each.job for each in entries}) == JOBS
        assert {each.cost_nanos for each in entries} == {CENTS_10}
        for balance in await scene.stack.fetch_balances("acme"):
            assert balance.captured_nanos == JOBS * CENTS_10
        assert peak_bytes < 200 * MIB
