"""A throttled query goes to BigQuery slowed down as its tier says; one that is not goes as it came."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.cloud import bigquery

from bqgate.clock import SystemClock
from bqgate.sandbox import Fault
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack
from tests.support.python_client import python_client

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
CENTS_10 = 100_000_000
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
async def test_a_throttled_query_says_so_on_its_job(tmp_path: Path, path: str) -> None:
    """Labels of the job say that it was throttled, by which budget and for how long; the answer names the budget.

    A query that went at once bears none of them. The result is BigQuery's in both cases.
    """
    body = QUERY | {"labels": {"team": "ml"}} if path == "queries" else {"configuration": {"query": QUERY}}
    async with open_stack(tmp_path, SETTINGS) as stack, aiohttp.ClientSession() as session:
        declare_ten_gib(stack)
        seen = []
        for _ in range(2):
            async with session.post(f"{stack.url}/bigquery/v2/projects/acme/{path}", json=body) as answer:
                assert answer.status == 200
                job_id = (await answer.json())["jobReference"]["jobId"]
                reason = answer.headers.get("X-Bqgate-Reason")
            async with session.get(f"{stack.url}/bigquery/v2/projects/acme/jobs/{job_id}") as found:
                seen.append(((await found.json())["configuration"]["labels"], reason))
        (first, no_reason), (second, reason) = seen
        assert (no_reason, reason) == (None, "customer_day")
        added = {name: second[name] for name in second if name not in first}
        waited_ms = int(added.pop("bqgate_waited_ms"))
        assert added == {"bqgate_decision": "throttle", "bqgate_reason": "customer_day"}
        assert 0 <= waited_ms < 10_000
        assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", text) for label in second.items() for text in label)


async def test_googles_python_client_shows_that_its_query_was_throttled(tmp_path: Path) -> None:
    """`job.labels` after client.query, and those of the job that query_and_wait names; the rows are the same."""
    tier = SETTINGS["tiers"]["standard"] | {"thresholds": [{"used_ratio": "0.01", "action": "throttle"}]}

    def ask(url: str) -> list[dict[str, str]]:
        config = bigquery.QueryJobConfig(use_query_cache=False)
        with python_client(url, "acme") as client:
            job = client.query(QUERY["query"], config)
            rows = client.query_and_wait(QUERY["query"], job_config=config)
            assert list(job.result()) == list(rows)
            return [job.labels, client.get_job(rows.job_id).labels]

    async with open_stack(tmp_path, SETTINGS | {"tiers": {"standard": tier}}) as stack:
        declare_ten_gib(stack)
        for labels in await asyncio.to_thread(ask, stack.url):
            assert (labels["bqgate_decision"], labels["bqgate_reason"]) == ("throttle", "customer_day")
            assert labels["bqgate_waited_ms"].isdecimal()


@pytest.mark.parametrize("path", ["jobs", "queries"])
@pytest.mark.parametrize(("max_slots", "answer"), [(1, (200, "throttle", "0.70")), (3, (400, "reject", "1.10"))])
async def test_what_fits_only_slowed_down_is_slowed_down(
    tmp_path: Path, path: str, max_slots: int, answer: tuple[int, str, str]
) -> None:
    """Ten cents of bytes and a dollar of slots pass a day's dollar; a slot for a minute costs sixty cents and does not.

    So where slots are charged, and its tier's bounds make room for it, a query is throttled and not refused.
    """
    sections = {
        "pricing": {"model": "blended", "usd_per_tib": "10.24", "usd_per_slot_hour": "36"},
        "admission": {"headroom_ratio": "0", "slot_ms_per_gib": 10_000},
        "tiers": {
            "standard": {
                "daily_usd": "1",
                "throttle_wait_ms": 1,
                "throttle_max_slots": max_slots,
                "throttle_job_timeout_ms": 60_000,
            }
        },
    }
    body = QUERY if path == "queries" else {"configuration": {"query": QUERY}}
    async with open_stack(tmp_path, SETTINGS | sections) as stack, aiohttp.ClientSession() as session:
        declare_ten_gib(stack)
        async with session.post(f"{stack.url}/bigquery/v2/projects/acme/{path}", json=body) as got:
            told = got.status, got.headers["X-Bqgate-Decision"], got.headers["X-Bqgate-Cost-Usd"]
        assert told == answer
        sent = [entry.body for entry in stack.sandbox.journal.entries() if entry.verb == "POST"]
        ran = [each for each in (one.get("configuration", one) for one in sent) if not each.get("dryRun")]
        assert [(each["maxSlots"], each["jobTimeoutMs"]) for each in ran] == [("1", "60000")] * (max_slots == 1)


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
            assert "max_slots" in (await answer.json())["error"]["message"]
        assert not any(balance.held_nanos for balance in await stack.fetch_balances("acme"))


async def test_a_caller_that_leaves_while_it_waits_frees_its_place(tmp_path: Path) -> None:
    """With one place to wait in: who leaves is forgotten with its hold, the next one waits there and then runs."""
    sections = {
        "tiers": {"standard": {"customer_concurrency_max": 1}},
        "admission": SETTINGS["admission"] | {"waiting_max": 1},
    }
    async with open_stack(tmp_path, SETTINGS | sections) as stack, aiohttp.ClientSession() as session:
        declare_ten_gib(stack)
        stack.sandbox.faults.add(Fault(kind="delay", delay_s=1.5, method="jobs.query", count=1))

        async def ask() -> int:
            async with session.post(f"{stack.url}/bigquery/v2/projects/acme/queries", json=QUERY) as answer:
                await answer.read()
                return answer.status

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(20):
                while not condition():
                    await SystemClock().sleep(0.01)

        def count(name: str, **labels: str) -> float:
            return stack.gate.metrics.value(name, **labels)

        running = asyncio.ensure_future(ask())
        await until(lambda: len(stack.sandbox.journal.entries(method="jobs.query")) == 1)
        leaving = asyncio.ensure_future(ask())
        await until(lambda: count("bqgate_waiting_depth") == 1)
        assert await ask() == 429
        leaving.cancel()
        await until(lambda: count("bqgate_waits_seconds_count", outcome="left") == 1)
        assert (await ask(), await running) == (200, 200)
        balances = await stack.fetch_settled("acme")
        assert {balance.used_nanos for balance in balances} == {2 * CENTS_10}


@pytest.mark.parametrize("path", ["jobs", "queries"])
async def test_a_caller_sent_away_finds_nothing_of_its_attempt(tmp_path: Path, path: str) -> None:
    """The hold ends before the 429 leaves: whoever repeats at once is sent away again, not told to await itself."""
    tier = SETTINGS["tiers"]["standard"] | {"thresholds": [{"used_ratio": "0.01", "action": "throttle"}]}
    sections = {"tiers": {"standard": tier}, "admission": SETTINGS["admission"] | {"waiting_max": 0}}
    named = {"jobReference": {"projectId": "acme", "jobId": "mine", "location": "US"}}
    body = QUERY | {"requestId": "mine"} if path == "queries" else named | {"configuration": {"query": QUERY}}
    async with open_stack(tmp_path, SETTINGS | sections) as stack, aiohttp.ClientSession() as session:
        declare_ten_gib(stack)
        for _ in range(20):
            async with session.post(f"{stack.url}/bigquery/v2/projects/acme/{path}", json=body) as answer:
                assert (answer.status, answer.headers.get("Retry-After") is not None) == (429, True)
            assert not any(balance.held_nanos for balance in await stack.fetch_balances("acme"))
