import io
import json
from pathlib import Path
from typing import Any

import aiohttp

from bqgate.domain.units import GIB
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import open_stack

# A GiB costs a cent, and a day may cost ten.
SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0", "unknown_estimate": "reject", "unknown_hold_gib": 1},
    "tiers": {"standard": {"daily_usd": "0.10", "grace_minutes": 0, "throttle_wait_ms": 30_000}},
    "customers": {"acme": {"projects": ["acme"], "mode": "enforce"}},
    "defaults": {"deployment_mode": "observe"},
}


async def test_an_observed_deployment_refuses_nothing_and_tells_what_enforcing_would_have_done(tmp_path: Path) -> None:
    """Past its limit, too big and not to be estimated: every query of an enforced customer runs, at once.

    What enforcing would have stopped, saved and delayed is in the books, and on the control plane.
    """
    async with open_stack(tmp_path, SETTINGS) as stack, aiohttp.ClientSession() as session:
        warehouse = stack.sandbox.warehouse
        warehouse.create_dataset("acme", "money")
        for name, size in (("nine", 9), ("one", 1), ("thirty", 30)):
            table = TableRef("acme", "money", name)
            warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=size * GIB)

        async def run(sql: str) -> str:
            body = io.BytesIO(json.dumps({"query": sql, "useLegacySql": False}).encode())
            url, headers = f"{stack.url}/bigquery/v2/projects/acme/queries", {"Content-Type": "application/json"}
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
            await stack.fetch_settled("acme")
            return answer.headers["X-Bqgate-Decision"]

        decisions = [await run(f"SELECT a FROM money.{name}") for name in ("nine", "one", "one WHERE a = 1", "thirty")]
        decisions.append(await run("DECLARE x INT64 DEFAULT 1; SELECT x"))
        async with session.get(f"{stack.url}/v1/analytics/graduation?customer=acme") as answer:
            document = await answer.json()
    assert decisions == ["forward", "forward", "would_reject", "would_reject", "would_reject"]
    total = document["total"]
    assert (total["query_count"], total["stopped_count"], total["saved_usd"]) == (5, 3, "0.31")
    assert (total["delayed_count"], total["longest_delay_ms"]) == (1, 30_000)
    assert {(each["reason"], each["saved_usd"]) for each in document["by_reason"]} == {
        ("query_too_big", "0.30"),
        ("budget_used_up", "0.01"),
        ("unknown_estimate", "0.00"),
    }
    assert [each["would_have"]["reason"] for each in document["top_stopped"]] == [
        "query_too_big",
        "budget_used_up",
        "unknown_estimate",
    ]
