"""Budgets of parts and of the deployment in running gates: what fits runs, to the cent; a refusal names who said no."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from bqgate.clock import SystemClock
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import EntryFilter
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack

CENTS_10 = 100_000_000
SETTINGS: dict[str, Any] = {
    "upstream": {"credentials": "anonymous"},
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0", "estimate_ttl_s": 60},
    "settlement": {"reconcile_interval_s": 1},
    "tiers": {"standard": {"throttle_wait_ms": 0, "daily_usd": "10"}},
    "customers": {"acme": {"projects": ["acme"]}, "globex": {"projects": ["globex"]}},
}
QUERY = {"query": "SELECT a FROM d.t", "useLegacySql": False, "useQueryCache": False}


async def fill(stack: Stack) -> None:
    """One query of ten cents in each customer's project."""
    for project in ("acme", "globex"):
        stack.sandbox.warehouse.create_dataset(project, "d")
        table = TableRef(project, "d", "t")
        stack.sandbox.warehouse.create_table(table, (Field("a", "INT64"),), declared_bytes=10 * 2**30)


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    project: str = "acme",
    *,
    workload: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> tuple[int, str, Mapping[str, str]]:
    """Submit the query: status, message of a refusal, headers."""
    below = "" if workload is None else f"/w/{workload}"
    job = {"configuration": {"query": QUERY, "labels": dict(labels or {})}}
    async with session.post(f"{url}{below}/bigquery/v2/projects/{project}/jobs", json=job) as answer:
        document = await answer.json()
        return answer.status, document.get("error", {}).get("message", ""), dict(answer.headers)


@pytest.mark.parametrize("gate_count", [1, 2])
async def test_a_hundred_callers_never_pass_a_parts_limit(tmp_path: Path, redis_url: str, gate_count: int) -> None:
    """Fifty cents for the workload: five run, whichever gate they came to; others have all the room there is."""
    budgets = {
        "budgets": {"url": redis_url, "timeout_ms": 10_000},
        "scoped_budgets": {"nightly": {"customer": "acme", "workload": "nightly", "daily_usd": "0.50"}},
    }
    async with open_stack(tmp_path, SETTINGS | budgets, gate_count=gate_count) as stack:
        await fill(stack)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            urls = [gate.url for gate in stack.gates]
            asked = [ask(session, urls[number % gate_count], workload="nightly") for number in range(100)]
            answers = await asyncio.gather(*asked)
            assert Counter(status for status, _, _ in answers) == {200: 5, 403: 95}
            refusal = next(message for status, message, _ in answers if status == 403)
            assert refusal.startswith("Custom quota exceeded: workload nightly of customer acme has used ")
            assert " of 0.50 USD today" in refusal
            assert (await ask(session, urls[-1]))[0] == 200
        await stack.fetch_settled("acme")
        nightly = stack.settings.customer_registry.customer("acme").budgets[0]
        day, month = await stack.gate.budgets.fetch_balances(nightly.windows(SystemClock().now()))
        assert (day.captured_nanos, day.held_nanos, month.captured_nanos) == (5 * CENTS_10, 0, 5 * CENTS_10)


@pytest.mark.parametrize("gate_count", [1, 2])
async def test_the_deployments_budget_is_everybodys(tmp_path: Path, redis_url: str, gate_count: int) -> None:
    """Two customers share a dollar: ten queries run in all; nobody is told what the others spent."""
    budgets = {
        "budgets": {"url": redis_url, "timeout_ms": 10_000},
        "scoped_budgets": {"everybody": {"deployment": True, "daily_usd": "1"}},
    }
    async with open_stack(tmp_path, SETTINGS | budgets, gate_count=gate_count) as stack:
        await fill(stack)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            urls = [gate.url for gate in stack.gates]
            asked = [ask(session, urls[n % gate_count], ("acme", "globex")[n // 2 % 2]) for n in range(60)]
            answers = await asyncio.gather(*asked)
        assert Counter(status for status, _, _ in answers) == {200: 10, 403: 50}
        for status, message, headers in answers:
            if status == 200:
                assert float(headers["X-Bqgate-Balance-Usd"]) > 8  # the customer's own
            else:
                assert message.startswith("Custom quota exceeded: this deployment has used up its budget today, 20")
                assert " of 1.00" not in message
        for customer in ("acme", "globex"):
            await stack.fetch_settled(customer)
        deployment = stack.settings.customer_registry.deployment
        assert deployment is not None
        day, _ = await stack.gate.budgets.fetch_balances(deployment.windows(SystemClock().now()))
        assert (day.captured_nanos, day.held_nanos) == (10 * CENTS_10, 0)


async def test_a_gate_that_lost_its_redis_counts_every_part_again(tmp_path: Path, redis_url: str) -> None:
    """Wiped in between: labels, principals and the deployment stand as before, and drift is nobody's."""
    parts = {
        "ml": {"customer": "acme", "label": "team=ml", "daily_usd": "0.20"},
        "each": {"customer": "acme", "project": "*", "daily_usd": "0.40"},
        "everybody": {"deployment": True, "daily_usd": "0.50"},
    }
    settings = SETTINGS | {"budgets": {"url": redis_url, "timeout_ms": 10_000}, "scoped_budgets": parts}
    async with open_stack(tmp_path, settings) as stack, aiohttp.ClientSession() as session:
        await fill(stack)
        assert (await ask(session, stack.url, labels={"team": "ml"}))[0] == 200
        assert (await ask(session, stack.url))[0] == 200
        await stack.fetch_settled("acme")
        async with Redis.from_url(redis_url) as redis:
            await redis.flushdb()
        assert (await ask(session, stack.url, labels={"team": "ml"}))[0] == 200
        status, message, _ = await ask(session, stack.url, labels={"team": "ml"})
        assert (status, "label team=ml of customer acme" in message) == (403, True)
        assert (await ask(session, stack.url))[0] == 200
        status, message, _ = await ask(session, stack.url)
        assert (status, "project acme of customer acme" in message) == (403, True)
        assert (await ask(session, stack.url, "globex"))[0] == 200
        status, message, _ = await ask(session, stack.url, "globex")
        assert (status, "this deployment" in message) == (403, True)
        await stack.fetch_settled("acme")
        for _ in range(3):
            await stack.gate.reconciler.reconcile()
        assert stack.gate.metrics.value("bqgate_budget_drifts_total", period="day") == 0
        assert DEPLOYMENT_ACCOUNT not in await stack.gate.budgets.fetch_customers()


async def test_an_observed_part_refuses_nobody_and_is_remembered(tmp_path: Path) -> None:
    """Past its limit a query runs, and the ledger knows what enforcing would have done."""
    parts = {"nightly": {"customer": "acme", "workload": "nightly", "daily_usd": "0.10", "mode": "observe"}}
    async with open_stack(tmp_path, SETTINGS | {"scoped_budgets": parts}) as stack, aiohttp.ClientSession() as session:
        await fill(stack)
        decisions = []
        for _ in range(2):
            status, _, headers = await ask(session, stack.url, workload="nightly")
            decisions.append((status, headers["X-Bqgate-Decision"]))
        assert decisions == [(200, "forward"), (200, "would_reject")]
        await stack.fetch_settled("acme")
        second, first = (await stack.gate.ledger.fetch_entries(EntryFilter(customer="acme"))).entries
        assert first.shadow_decision is None or first.shadow_decision.reason is None
        assert second.shadow_decision is not None
        assert (second.shadow_decision.reason, second.shadow_decision.budget) == ("budget_used_up", "workload/day")
        url = f"{stack.url}/v1/analytics/graduation?customer=acme"
        async with session.get(url) as answer:
            graduation = await answer.json()
        assert [each["budget"] for each in graduation["by_budget"] if each["stopped_count"]] == ["workload/day"]


async def test_one_query_too_big_for_a_part_says_whose_bound_it_is(tmp_path: Path) -> None:
    """BigQuery's own wording first, then who may not."""
    parts = {"ada": {"customer": "acme", "project": "acme", "query_usd": "0.05"}}
    async with open_stack(tmp_path, SETTINGS | {"scoped_budgets": parts}) as stack, aiohttp.ClientSession() as session:
        await fill(stack)
        status, message, _ = await ask(session, stack.url)
        assert status == 400
        assert message.startswith("Query exceeded limit for bytes billed: ")
        assert (
            "This query would cost up to 0.10 USD; project acme of customer acme may spend 0.05 USD on one query."
            in message
        )


async def test_a_budget_that_comes_counts_what_was_spent_before_it(tmp_path: Path, redis_url: str) -> None:
    """The rules get a budget while the gate runs; a raise lifts it for the next query, until it ends."""
    settings = SETTINGS | {"budgets": {"url": redis_url, "timeout_ms": 10_000}}
    async with open_stack(tmp_path, settings) as stack, aiohttp.ClientSession() as session:
        await fill(stack)
        base = stack.settings.policy_base
        nightly = {"customer": "acme", "workload": "nightly", "daily_usd": "0.25"}

        def hold_from_now_on(**more: Any) -> None:
            budgets = {"nightly": BudgetPolicy.model_validate(nightly | more)}
            stack.gate.policies.rebase(replace(base, budgets=budgets))

        for _ in range(2):
            assert (await ask(session, stack.url, workload="nightly"))[0] == 200
        hold_from_now_on()
        assert (await ask(session, stack.url, workload="nightly"))[0] == 403
        ends_at = SystemClock().now() + timedelta(minutes=5)
        hold_from_now_on(raises=[{"daily_usd": "0.05", "until": ends_at, "reason": "one more"}])
        assert [(await ask(session, stack.url, workload="nightly"))[0] for _ in range(2)] == [200, 403]
        hold_from_now_on(raises=[{"daily_usd": "9", "until": ends_at - timedelta(minutes=6), "reason": "over"}])
        assert (await ask(session, stack.url, workload="nightly"))[0] == 403
