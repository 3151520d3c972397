import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.job import Outcome
from bqgate.ledger import SqlLedger
from bqgate.sandbox import Fault, Sandbox, SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.gate_stack import Stack, open_stack
from tests.support.served_gate import served_gate

SETTINGS: dict[str, Any] = {
    "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    "admission": {"headroom_ratio": "0"},
    "upstream": {"credentials": "anonymous"},
}
CENTS_10 = 100_000_000
BODIES: dict[str, dict[str, Any]] = {
    "jobs": {"configuration": {"query": {"query": "SELECT a FROM `acme.money.t`", "useLegacySql": False}}},
    "queries": {"query": "SELECT a FROM `acme.money.t`", "useLegacySql": False},
}


def declare_ten_gib(sandbox: Any) -> None:
    sandbox.warehouse.create_dataset("acme", "money")
    table = TableRef("acme", "money", "t")
    sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(tmp_path, SETTINGS) as opened:
        declare_ten_gib(opened.sandbox)
        yield opened


async def post(url: str, path: str, body: dict[str, Any]) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/bigquery/v2/projects/acme/{path}", json=body) as it,
    ):
        await it.read()
        return it.status


async def booked(stack: Stack) -> list[tuple[Outcome, int]]:
    await stack.fetch_settled("acme")
    page = await stack.gate.ledger.fetch_entries(EntryFilter(customer="acme", kind=EntryKind.CHARGE))
    return [(entry.outcome, entry.cost_nanos) for entry in page.entries]


@pytest.mark.parametrize("path", ["jobs", "queries"])
async def test_an_answer_lost_after_the_work_was_done_is_booked(stack: Stack, path: str) -> None:
    """Invariant 6: the caller sees 503, the job ran, and the ledger finds it by its id or its label."""
    method = "jobs.insert" if path == "jobs" else "jobs.query"
    stack.sandbox.faults.add(Fault(kind="lost", method=method, dry_run=False, count=1))
    assert await post(stack.url, path, BODIES[path]) == 503
    assert await booked(stack) == [(Outcome.DONE, CENTS_10)]


@pytest.mark.parametrize("path", ["jobs", "queries"])
async def test_an_answer_cut_in_its_middle_is_booked(stack: Stack, path: str) -> None:
    """Half an answer reaches the caller as half an answer, and the whole cost reaches the ledger."""
    method = "jobs.insert" if path == "jobs" else "jobs.query"
    stack.sandbox.faults.add(Fault(kind="cut", method=method, dry_run=False, count=1))
    with pytest.raises(aiohttp.ClientError):
        await post(stack.url, path, BODIES[path])
    assert await booked(stack) == [(Outcome.DONE, CENTS_10)]


async def test_polls_that_fail_are_repeated_until_the_job_is_known(stack: Stack) -> None:
    """503 and lost answers of jobs.get delay the booking and lose nothing."""
    stack.sandbox.faults.add(Fault(kind="error", method="jobs.get", count=3))
    stack.sandbox.faults.add(Fault(kind="lost", method="jobs.get", count=2))
    assert await post(stack.url, "jobs", BODIES["jobs"]) == 200
    assert await booked(stack) == [(Outcome.DONE, CENTS_10)]


@pytest.mark.parametrize("path", ["jobs", "queries"])
async def test_without_a_dry_run_nothing_is_forwarded(stack: Stack, path: str) -> None:
    """A dry run that fails never means "costs nothing": 503, nothing held, nothing sent."""
    stack.sandbox.faults.add(Fault(kind="error", dry_run=True))
    assert await post(stack.url, path, BODIES[path]) == 503
    assert await booked(stack) == []


async def test_the_same_job_sent_twice_is_booked_once(stack: Stack) -> None:
    """Invariant 4: the second attempt gets BigQuery's own 409 and costs nothing."""
    body = BODIES["jobs"] | {"jobReference": {"projectId": "acme", "jobId": "mine"}}
    statuses = [await post(stack.url, "jobs", body), await post(stack.url, "jobs", body)]
    assert [200, 409] == statuses
    assert await booked(stack) == [(Outcome.DONE, CENTS_10)]


async def test_a_caller_that_leaves_is_booked_all_the_same(stack: Stack) -> None:
    """The client goes while BigQuery works; the job ends, and its cost is captured."""
    stack.sandbox.faults.add(Fault(kind="delay", delay_s=0.5, method="jobs.query", dry_run=False, count=1))
    timeout = aiohttp.ClientTimeout(total=0.3)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises(TimeoutError):
            await session.post(f"{stack.url}/bigquery/v2/projects/acme/queries", json=BODIES["queries"])
    assert await booked(stack) == [(Outcome.DONE, CENTS_10)]


async def test_a_gate_killed_in_the_middle_of_a_job_finds_it_after_its_restart(tmp_path: Path) -> None:
    """Invariants 3, 6 and 7: kill -9 with the hold open; the next process rebuilds it, asks, and books it once.

    When it is killed its hold may be in its journal alone.
    """
    async with Sandbox.start(SandboxSettings(time_scale=1.0)) as sandbox:
        declare_ten_gib(sandbox)
        document = SETTINGS | {
            "server": {"port": 0},
            "upstream": {"url": sandbox.url, "credentials": "anonymous"},
            "ledger": {"url": f"sqlite:///{tmp_path}/ledger.db", "timeout_ms": 60_000},
            "settlement": {"poll_first_ms": 20, "poll_longest_ms": 200, "reconcile_interval_s": 1},
        }
        config = tmp_path / "bqgate.yaml"
        config.write_text(yaml.safe_dump(document))
        async with served_gate(config) as (process, url):
            assert await post(url, "jobs", BODIES["jobs"]) == 200
            process.kill()
            await process.wait()
        ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", SystemClock())
        acmes = EntryFilter(customer="acme")
        try:
            assert not (await ledger.fetch_entries(acmes)).entries
            async with served_gate(config):
                async with asyncio.timeout(60):
                    while not (await ledger.fetch_entries(acmes)).entries:
                        await SystemClock().sleep(0.05)
            assert not await ledger.fetch_open_holds("acme")
            page = await ledger.fetch_entries(acmes)
            assert [(Outcome.DONE, CENTS_10)] == [(entry.outcome, entry.cost_nanos) for entry in page.entries]
        finally:
            await ledger.close()
