"""A gate that is told to stop, as a process of its own: who waits, what streams, and what is still asked after."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter
from bqgate.domain.job import Outcome
from bqgate.ledger import SqlLedger
from bqgate.sandbox import Fault, Sandbox, SandboxSettings
from bqgate.sandbox.warehouse import Field, TableRef
from tests.support.served_gate import served_gate

CENTS_10 = 100_000_000
QUERY = {"query": "SELECT a FROM `acme.money.t`", "useLegacySql": False, "useQueryCache": False}


def declare_ten_gib(sandbox: Any) -> None:
    sandbox.warehouse.create_dataset("acme", "money")
    table = TableRef("acme", "money", "t")
    sandbox.warehouse.create_table(table, (Field("a", "INTEGER"),), declared_bytes=10 * 2**30)


def write_settings(folder: Path, upstream_url: str) -> Path:
    """Ten cents a query, one at a time for each customer, and no reconcile that could end what the next gate shall."""
    document = {
        "server": {"port": 0},
        "upstream": {"url": upstream_url, "credentials": "anonymous"},
        "ledger": {"url": f"sqlite:///{folder}/ledger.db", "timeout_ms": 60_000},
        "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
        "admission": {"headroom_ratio": "0"},
        "tiers": {"standard": {"customer_concurrency_max": 1}},
        "settlement": {"poll_first_ms": 20, "poll_longest_ms": 200, "reconcile_interval_s": 1},
    }
    config = folder / "bqgate.yaml"
    config.write_text(yaml.safe_dump(document))
    return config


async def ask(session: aiohttp.ClientSession, url: str) -> tuple[int, str | None, Any]:
    """Run a query; status, Retry-After and JSON."""
    async with session.post(f"{url}/bigquery/v2/projects/acme/queries", json=QUERY) as answer:
        return answer.status, answer.headers.get("Retry-After"), await answer.json()


async def until_metric(session: aiohttp.ClientSession, url: str, line: str) -> None:
    """Return when the metrics have this line."""
    async with asyncio.timeout(30):
        while True:
            async with session.get(f"{url}/metrics") as answer:
                if line in (await answer.text()).splitlines():
                    return
            await SystemClock().sleep(0.02)


async def test_who_waits_is_answered_and_what_streams_is_finished(tmp_path: Path) -> None:
    """The one that runs gets its whole result, the two behind it 429 at once, and nothing of theirs stays held."""
    async with Sandbox.start(SandboxSettings()) as sandbox:
        declare_ten_gib(sandbox)
        sandbox.faults.add(Fault(kind="delay", delay_s=2, method="jobs.query", dry_run=False, count=1))
        config = write_settings(tmp_path, sandbox.url)
        async with served_gate(config) as (process, url), aiohttp.ClientSession() as session:
            asked = [asyncio.ensure_future(ask(session, url)) for _ in range(3)]
            await until_metric(session, url, "bqgate_waiting_depth 2.0")
            process.send_signal(signal.SIGTERM)
            answers = [await done for done in asyncio.as_completed(asked)]
            assert [status for status, _, _ in answers] == [429, 429, 200], "who waits is told before the other is done"
            for _, retry_after, refusal in answers[:2]:
                error = refusal["error"]
                assert (retry_after, error["errors"][0]["reason"]) == ("5", "rateLimitExceeded")
                assert error["message"].endswith("this gate is stopping.")
            assert answers[2][2]["jobComplete"] is True
            assert await asyncio.wait_for(process.wait(), 20) == 0
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", SystemClock())
    try:
        assert await ledger.fetch_open_holds() == ()
        entries = (await ledger.fetch_entries(EntryFilter(customer="acme"))).entries
        assert [(entry.outcome, entry.cost_nanos) for entry in entries] == [(Outcome.DONE, CENTS_10)]
    finally:
        await ledger.close()


async def test_a_job_that_still_runs_is_handed_over_to_the_next_gate(tmp_path: Path) -> None:
    """Its hold stays open in the ledger; whoever starts next asks after it, and books it once."""
    async with Sandbox.start(SandboxSettings(time_scale=1.0)) as sandbox:
        declare_ten_gib(sandbox)
        config = write_settings(tmp_path, sandbox.url)
        async with served_gate(config) as (process, url), aiohttp.ClientSession() as session:
            body = {"configuration": {"query": QUERY}}
            async with session.post(f"{url}/bigquery/v2/projects/acme/jobs", json=body) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
        ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", SystemClock())
        try:
            assert [hold.amount_nanos for hold in await ledger.fetch_open_holds("acme")] == [CENTS_10]
            async with served_gate(config), asyncio.timeout(60):
                while await ledger.fetch_open_holds("acme"):
                    await SystemClock().sleep(0.05)
            entries = (await ledger.fetch_entries(EntryFilter(customer="acme"))).entries
            assert [(entry.outcome, entry.cost_nanos) for entry in entries] == [(Outcome.DONE, CENTS_10)]
        finally:
            await ledger.close()
