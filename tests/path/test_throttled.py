"""A throttled query goes to BigQuery slowed down as its tier says; one that is not goes as it came."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack

SETTINGS: dict[str, Any] = {
    "upstream": {"credentials": "anonymous"},
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {
        "standard": {
            "daily_usd": "1",
            "thresholds": [{"used_ratio": "0.15", "action": "throttle"}],
            "throttle_wait_ms": 1,
            "throttle_to_batch": True,
            "throttle_max_slots": 50,
            "throttle_job_timeout_ms": 60_000,
        }
    },
}
QUERY = {"query": "SELECT a FROM d.t", "useLegacySql": False, "useQueryCache": False}


def declare_ten_gib(stack: Stack) -> None:
    """A table whose full scan costs ten cents."""
    stack.sandbox.warehouse.create_dataset("acme", "d")
    table = TableRef("acme", "d", "t")
    stack.sandbox.warehouse.create_table(table, (Field("a", "INT64"),), declared_bytes=10 * 2**30)


async def test_a_throttled_query_is_slowed_down(tmp_path: Path) -> None:
    """Ten cents of a dollar go as they are; twenty have passed the threshold: BATCH, fifty slots, a minute."""
    async with open_stack(tmp_path, SETTINGS) as stack, aiohttp.ClientSession() as session:
        declare_ten_gib(stack)
        decisions = []
        for _ in range(2):
            url = f"{stack.url}/bigquery/v2/projects/acme/jobs"
            async with session.post(url, json={"configuration": {"query": QUERY}}) as answer:
                assert answer.status == 200
                decisions.append(answer.headers["X-Bqgate-Decision"])
        assert decisions == ["forward", "throttle"]
        sent = [entry.body["configuration"] for entry in stack.sandbox.journal.entries(method="jobs.insert")]
        first, second = [each for each in sent if not each.get("dryRun")]
        assert "priority" not in first["query"]
        assert (second["query"]["priority"], second["maxSlots"], second["jobTimeoutMs"]) == ("BATCH", "50", "60000")


@pytest.mark.parametrize("path", ["jobs", "queries"])
async def test_a_throttled_query_with_a_bound_that_is_none_holds_nothing(tmp_path: Path, path: str) -> None:
    """It is refused as it comes, like any other malformed request, and not when its hold is placed already."""
    tier = SETTINGS["tiers"]["standard"] | {"thresholds": [{"used_ratio": "0.01", "action": "throttle"}]}
    async with (
        open_stack(tmp_path, SETTINGS | {"tiers": {"standard": tier}}) as stack,
        aiohttp.ClientSession() as session,
    ):
        declare_ten_gib(stack)
        wrong = {**QUERY, "maxSlots": "many"}
        body = wrong if path == "queries" else {"configuration": {"query": QUERY, "maxSlots": "many"}}
        async with session.post(f"{stack.url}/bigquery/v2/projects/acme/{path}", json=body) as answer:
            assert answer.status == 400
            assert "maxSlots" in (await answer.json())["error"]["message"]
        assert not any(balance.held_nanos for balance in await stack.fetch_balances("acme"))
