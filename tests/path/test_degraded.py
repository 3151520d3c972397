"""A system goes away under a running gate: what the client hears, what is held, what is booked, what is counted.

One row for each system, conduct and moment; docs/degraded.md tells the same to operators.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.sandbox import Fault
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.fault_stand import fault_stand
from tests.support.gate_stack import Stack, open_stack
from tests.support.tcp_fault_proxy import TcpFaultProxy

SETTINGS: dict[str, Any] = {
    "upstream": {"credentials": "anonymous", "call_timeout_s": 1},
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0", "unknown_hold_gib": 20, "estimate_ttl_s": 0},
    "settlement": {"reconcile_interval_s": 1},
    "breakers": {"failures_to_open": 1_000},
    "customers": {"acme": {"projects": ["acme"]}},
}
QUERY = {"configuration": {"query": {"query": "SELECT a FROM d.t", "useLegacySql": False, "useQueryCache": False}}}
CENTS_10 = 100_000_000


@asynccontextmanager
async def running(folder: Path, redis_url: str, **more: Any) -> AsyncIterator[tuple[Stack, TcpFaultProxy]]:
    """A gate whose Redis stands behind a wire that can be cut; one query of ten cents can be asked."""
    parts = urlsplit(redis_url)
    async with TcpFaultProxy(parts.hostname or "127.0.0.1", parts.port or 6379) as wire:
        budgets = {"url": f"redis://127.0.0.1:{wire.port}{parts.path}", "timeout_ms": 300}
        async with open_stack(folder, SETTINGS | {"budgets": budgets} | more) as stack:
            stack.sandbox.warehouse.create_dataset("acme", "d")
            stack.sandbox.warehouse.create_table(
                TableRef("acme", "d", "t"), (Field("a", "INT64"),), declared_bytes=10 * 2**30
            )
            yield stack, wire


async def post(stack: Stack) -> tuple[int, str]:
    """Submit the query; status and decision."""
    async with aiohttp.ClientSession() as session:
        url = f"{stack.url}/bigquery/v2/projects/acme/jobs"
        async with session.post(url, json=QUERY) as answer:
            await answer.read()
            return answer.status, answer.headers.get("X-Bqgate-Decision", "")


async def ready(stack: Stack) -> tuple[int, list[str]]:
    """What /readyz says: status, and what is away."""
    async with aiohttp.ClientSession() as session, session.get(f"{stack.url}/readyz") as answer:
        document = await answer.json(content_type=None)
        return answer.status, document.get("degraded", []) + document.get("not_ready", [])


async def costs_booked(stack: Stack, count: int) -> list[int]:
    """What was booked, once there are `count` entries."""
    async with asyncio.timeout(30):
        while True:
            page = await stack.gate.ledger.fetch_entries(EntryFilter(kind=EntryKind.CHARGE))
            if len(page.entries) >= count:
                return [entry.cost_nanos for entry in page.entries]
            await SystemClock().sleep(0.05)


def jobs_run(stack: Stack) -> int:
    """How many jobs BigQuery was really asked to run."""
    calls = stack.sandbox.journal.entries(method="jobs.insert")
    return sum(1 for call in calls if not call.body["configuration"].get("dryRun"))


def degraded(stack: Stack, system: str, conduct: str, outcome: str) -> float:
    return stack.gate.metrics.value("bqgate_degraded_total", system=system, conduct=conduct, outcome=outcome)


async def test_without_budgets_a_closed_gate_refuses(tmp_path: Path, redis_url: str) -> None:
    """503, nothing runs, nothing is held or recorded; readiness names it; with Redis back all is well."""
    async with running(tmp_path, redis_url) as (stack, wire):
        wire.refuse()
        assert (await post(stack))[0] == 503
        assert jobs_run(stack) == 0
        assert await stack.gate.ledger.fetch_open_holds() == ()
        assert degraded(stack, "budgets", "closed", "refused") == 1
        assert await ready(stack) == (503, ["budgets"])
        await wire.heal()
        assert await post(stack) == (200, "forward")
        assert await costs_booked(stack, 1) == [CENTS_10]


async def test_without_budgets_an_allowance_goes_on_and_ends(tmp_path: Path, redis_url: str) -> None:
    """Fifteen cents cover one query of ten; its cost counts against the budget once Redis is back, once."""
    section = {"degraded": {"budgets": "allowance", "allowance_usd": "0.15"}}
    async with running(tmp_path, redis_url, **section) as (stack, wire):
        await stack.fetch_balances("acme")  # the windows are in Redis before it goes
        wire.refuse()
        assert await post(stack) == (200, "degraded")
        assert (await post(stack))[0] == 503
        assert await costs_booked(stack, 1) == [CENTS_10]
        assert await ready(stack) == (200, ["budgets"])
        await wire.heal()
        async with asyncio.timeout(30):
            while {balance.captured_nanos for balance in await stack.fetch_balances("acme")} != {CENTS_10}:
                await SystemClock().sleep(0.1)
        for _ in range(3):
            await stack.gate.reconciler.reconcile()
        assert {balance.captured_nanos for balance in await stack.fetch_balances("acme")} == {CENTS_10}


@pytest.mark.parametrize(
    ("conduct", "allowance", "status", "outcome"),
    [
        ("closed", "1", 503, "refused"),
        ("allowance", "0.15", 503, "refused"),
        ("allowance", "1", 200, "went_on"),
        ("open", "0", 200, "went_on"),
    ],
)
async def test_without_a_dry_run(
    tmp_path: Path, redis_url: str, conduct: str, allowance: str, status: int, outcome: str
) -> None:
    """What goes on is held and capped like a query that no dry run bounds, and booked at what it cost."""
    section = {"degraded": {"dry_run": conduct, "allowance_usd": allowance}}
    async with running(tmp_path, redis_url, **section) as (stack, _):
        stack.sandbox.faults.add(Fault(kind="error", dry_run=True))
        assert (await post(stack))[0] == status
        assert degraded(stack, "dry_run", conduct, outcome) == 1
        assert jobs_run(stack) == (status == 200)
        if status == 200:
            assert await costs_booked(stack, 1) == [CENTS_10]
            (entry,) = (await stack.gate.ledger.fetch_entries(EntryFilter(kind=EntryKind.CHARGE))).entries
            assert entry.hold_nanos == 2 * CENTS_10
        assert await stack.gate.ledger.fetch_open_holds() == ()
        assert {balance.held_nanos for balance in await stack.fetch_settled("acme")} == {0}


@pytest.mark.parametrize(
    ("section", "conduct", "answers"),
    [
        pytest.param({"degraded": {"ledger": "open"}}, "open", [200, 200], id="open"),
        pytest.param(
            {"degraded": {"ledger": "allowance", "allowance_usd": "0.15"}}, "allowance", [200, 503], id="allowance"
        ),
        pytest.param({"defaults": {"deployment_mode": "observe"}}, "open", [200, 200], id="observed, nothing chosen"),
    ],
)
async def test_without_a_ledger(
    tmp_path: Path,
    redis_url: str,
    postgres_url: str,
    section: dict[str, dict[str, Any]],
    conduct: str,
    answers: list[int],
) -> None:
    """What goes on stands in the budgets meanwhile, and is in the books once the ledger is back, once."""
    async with fault_stand(tmp_path, redis_url, postgres_url, more=section) as stand:

        async def refuse_ledger() -> None:
            stand.wires["ledger"].refuse()

        await stand.fill_windows()
        assert [(await stand.query(None, refuse_ledger))[0] for _ in answers] == answers
        ran = answers.count(200)
        assert await stand.held() == {"budgets"}
        counted = stand.gate.metrics.value
        assert counted("bqgate_degraded_total", system="ledger", conduct=conduct, outcome="went_on") == ran

        async def is_over() -> bool:
            return not await stand.held() and len(await stand.entries()) == ran

        await stand.come_back(is_over)
        assert [entry.cost_nanos for entry in await stand.entries()] == [CENTS_10] * ran
        balances = await stand.gate.budgets.fetch_balances(stand.windows)
        assert {(balance.captured_nanos, balance.held_nanos) for balance in balances} == {(ran * CENTS_10, 0)}
