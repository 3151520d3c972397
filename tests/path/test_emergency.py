"""At the emergency limit the cost breaker opens, and where the tier says so, what runs is cancelled and booked."""

from pathlib import Path
from typing import Any

import aiohttp

from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.job import Outcome
from bqgate.sandbox import SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack

SETTINGS: dict[str, Any] = {
    "upstream": {"credentials": "anonymous"},
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {
        "standard": {
            "daily_usd": "0.3",
            "monthly_usd": "10",
            "emergency_usd": "0.5",
            "grace_minutes": 60,
            "throttle_wait_ms": 0,
            "cancel_in_emergency": True,
        }
    },
    "customers": {"acme": {"projects": ["acme"]}},
}
QUERY = {"configuration": {"query": {"query": "SELECT a FROM d.t", "useLegacySql": False, "useQueryCache": False}}}
CENTS_50 = 500_000_000


async def submit(stack: Stack) -> tuple[int, str]:
    """Submit a query of ten cents; status and reason."""
    async with aiohttp.ClientSession() as session:
        url = f"{stack.url}/bigquery/v2/projects/acme/jobs"
        async with session.post(url, json=QUERY) as answer:
            document = await answer.json()
            reason = document["error"]["errors"][0]["reason"] if "error" in document else ""
            return answer.status, reason


async def test_what_runs_is_cancelled_when_the_breaker_opens(tmp_path: Path) -> None:
    """Five queries of ten cents run, three in the day and two in grace; the sixth trips, and the five are stopped.

    What BigQuery billed of them is booked, nothing stays held, nothing passes the emergency limit, and what comes
    after is refused.
    """
    async with open_stack(tmp_path, SETTINGS, sandbox=SandboxSettings(time_scale=100.0)) as stack:
        stack.sandbox.warehouse.create_dataset("acme", "d")
        table = TableRef("acme", "d", "t")
        stack.sandbox.warehouse.create_table(table, (Field("a", "INT64"),), declared_bytes=10 * 2**30)
        assert [(await submit(stack))[0] for _ in range(5)] == [200] * 5
        assert await submit(stack) == (403, "quotaExceeded")
        balances = await stack.fetch_settled("acme", timeout_s=60)
        page = await stack.gate.ledger.fetch_entries(EntryFilter(kind=EntryKind.CHARGE))
        assert {entry.outcome for entry in page.entries} == {Outcome.STOPPED}
        assert len(page.entries) == 5
        spent_nanos = sum(entry.cost_nanos for entry in page.entries)
        assert spent_nanos <= CENTS_50
        assert {balance.captured_nanos for balance in balances} == {spent_nanos}
        assert stack.gate.metrics.value("bqgate_emergency_cancels_total", result="asked") == 5
        assert stack.gate.metrics.value("bqgate_breaker_trips_total", customer="acme") == 1
        assert await submit(stack) == (403, "quotaExceeded")
