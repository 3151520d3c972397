"""What operators read of refusals, thresholds and outages in the gate's log."""

import io
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bqgate.app import open_gate
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack, settings_for

SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "tiers": {"standard": {"daily_usd": "0.10", "grace_minutes": 0, "throttle_wait_ms": 0}},
    "refusals": {"contact": "data-platform@example.com"},
}
QUERY = {"query": "SELECT a FROM d.t", "useLegacySql": False, "useQueryCache": False}
BATCH = "".join(
    f"--b\r\nContent-Type: application/http\r\n\r\n{call}\r\n"
    for call in (
        "POST /bigquery/v2/projects/acme/queries HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"
        + json.dumps(QUERY),
        "GET /nowhere HTTP/1.1",
        "no call",
    )
)


def lines_of(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == event]


async def fill(stack: Stack) -> None:
    """A table whose full scan costs ten cents."""
    stack.sandbox.warehouse.create_dataset("acme", "d")
    stack.sandbox.warehouse.create_table(TableRef("acme", "d", "t"), (Field("a", "INT64"),), declared_bytes=10 * 2**30)


async def test_the_line_of_a_refusal_says_whose_it_was(tmp_path: Path) -> None:
    """Customer and principal as the ledger books them, alone and in a batch; the line of a threshold has its window."""
    async with open_stack(tmp_path, SETTINGS) as stack, aiohttp.ClientSession() as session:
        await fill(stack)
        url = f"{stack.url}/bigquery/v2/projects/acme"
        for status in (200, 403):
            async with session.post(f"{url}/queries", json=QUERY) as answer:
                assert answer.status == status
                text = await answer.text()
        assert "Ask data-platform@example.com for more." in text
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        async with session.post(f"{stack.url}/batch", data=f"{BATCH}--b--\r\n", headers=headers) as answer:
            assert answer.status == 200
            await answer.read()
        refused = lines_of(stack.log, "request")[1]
        no_call, part, unknown = sorted(lines_of(stack.log, "batch_part"), key=lambda line: int(line["status"]))
        async with session.get(f"{stack.url}/v1/jobs?customer=acme") as answer:
            principal = (await answer.json())["jobs"][0]["principal"]
    assert "@" in principal
    for line in (refused, part):
        told = {name: line[name] for name in ("status", "decision", "reason", "cost_usd", "customer", "principal")}
        assert told == {
            "status": 403,
            "decision": "reject",
            "reason": "budget_used_up",
            "cost_usd": "0.10",
            "customer": "acme",
            "principal": principal,
        }
    assert (unknown["status"], unknown["reason"], unknown["path"]) == (501, "UnsupportedRequest", "/nowhere")
    assert (no_call["status"], no_call["reason"]) == (400, "MalformedRequest")
    assert len({line["batch"] for line in (part, unknown, no_call)}) == 1
    (passed, *_) = lines_of(stack.log, "threshold_passed")
    assert (passed["customer"], passed["budget"]) == ("acme", "customer/day")
    assert passed["window"].count("-") == 2


async def test_an_outage_is_told_with_its_cause(tmp_path: Path) -> None:
    """In the caller's 503, in the request's line, and in the line of the system that is left alone."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    log = io.StringIO()
    document = {"breakers": {"failures_to_open": 2}, "settlement": {"reconcile_interval_s": 3_600}}
    settings = settings_for(tmp_path, nowhere, document)
    async with open_gate(settings, log_stream=log) as gate, aiohttp.ClientSession() as session:
        messages = []
        for _ in range(3):
            async with session.get(f"{gate.url}/bigquery/v2/projects/acme/jobs") as answer:
                assert answer.status == 503
                messages.append((await answer.json())["error"]["message"])
    assert messages[0] == "bqgate: BigQuery is not answering (connection refused); retry later."
    assert messages[2] == (
        "bqgate: BigQuery is not answering (connection refused). It is left alone for a moment; retry later."
    )
    assert nowhere.rpartition(":")[2] not in str(messages)
    assert lines_of(log, "request")[0]["cause"] == "BigQuery is not answering (connection refused)."
    (opened,) = lines_of(log, "system_breaker_open")
    assert opened["error"] == "BigQuery is not answering (connection refused)."
    assert [line["path"] for line in lines_of(log, "upstream_failed")] == ["/bigquery/v2/projects/acme/jobs"] * 2


@pytest.mark.parametrize("section", ["budgets", "ledger"])
async def test_a_store_that_is_away_is_told_with_its_cause(tmp_path: Path, section: str) -> None:
    """Redis by its own words, the ledger's database by SQLite's; the caller reads which of the two it is."""
    document = SETTINGS | ({"budgets": {"url": "redis://127.0.0.1:9/0"}} if section == "budgets" else {})
    async with open_stack(tmp_path, document) as stack, aiohttp.ClientSession() as session:
        await fill(stack)
        if section == "ledger":
            (tmp_path / "ledger.db").write_bytes(b"no database at all" * 1_000)
        async with session.post(f"{stack.url}/bigquery/v2/projects/acme/queries", json=QUERY) as answer:
            assert answer.status == 503
            assert {"budgets": "its store of budgets", "ledger": "its ledger"}[section] in await answer.text()
        cause = lines_of(stack.log, "request")[-1]["cause"]
    assert {"budgets": "Redis: ", "ledger": "The ledger's database failed: "}[section] in cause
