"""Gates as users run them, in processes that are killed: another one sweeps, and costs are seen within five minutes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.sandbox import Sandbox, SandboxSettings
from tests.support.served_gate import served_gate
from tests.support.sweep_scene import METHODS, PRICING, add_table

SQL = "SELECT a FROM `acme.money.ten_gib`"
FIVE_MINUTES_S = 300
HALF_A_MINUTE_S = 30


@dataclass
class Scene:
    """A sandbox, PostgreSQL and Redis, which outlive the gates; and the gates' settings."""

    sandbox: Any
    config: Path
    ledger_url: str
    session: aiohttp.ClientSession
    clock: SystemClock = field(default_factory=SystemClock)

    async def query(self, url: str, job_id: str) -> None:
        """Run a query by an id; whether an answer comes does not matter."""
        configuration = {"query": {"query": SQL, "useLegacySql": False, "useQueryCache": False}}
        body = {"jobReference": {"projectId": "acme", "jobId": job_id}, "configuration": configuration}
        try:
            async with self.session.post(f"{url}/bigquery/v2/projects/acme/jobs", json=body) as answer:
                await answer.read()
        except aiohttp.ClientError:
            pass

    async def costs(self, url: str) -> dict[str, Any]:
        async with self.session.get(f"{url}/v1/costs", params={"customer": "acme"}) as answer:
            assert answer.status == 200
            found: dict[str, Any] = await answer.json()
            return found

    async def wait_for_cost(self, url: str, cents: int) -> float:
        """Return, in seconds, how long it took until the costs of the last hour came to so much."""
        begun_s = self.clock.monotonic_s()
        async with asyncio.timeout(FIVE_MINUTES_S):
            while True:
                if (await self.costs(url))["total"]["cost_usd"] == f"0.{cents}":
                    return self.clock.monotonic_s() - begun_s
                await self.clock.sleep(0.5)

    async def wait_for_job(self, job_id: str, *states: str) -> None:
        """Return when BigQuery's job of this id is in one of these states."""
        job = f"{self.sandbox.url}/bigquery/v2/projects/acme/jobs/{job_id}"
        async with asyncio.timeout(60):
            while True:
                async with self.session.get(job) as answer:
                    found = await answer.json()
                if found.get("status", {}).get("state") in states:
                    return
                await self.clock.sleep(0.05)

    async def holder(self) -> int:
        """The process that sweeps, by its lease."""
        async with asyncio.timeout(60):
            while True:
                async with await psycopg.AsyncConnection.connect(self.ledger_url) as connection:
                    found = await (
                        await connection.execute("SELECT holder FROM leases WHERE name = 'sweep'")
                    ).fetchone()
                if found is not None and found[0]:
                    return int(found[0].split("-")[-2])
                await self.clock.sleep(0.1)


@pytest.fixture
async def scene(tmp_path: Path, redis_url: str, postgres_url: str) -> AsyncIterator[Scene]:
    async with Sandbox.start(SandboxSettings(time_scale=3.0)) as sandbox, aiohttp.ClientSession() as session:
        add_table(sandbox)
        config = tmp_path / "bqgate.yaml"
        yield Scene(sandbox, config, postgres_url, session)


def configure(scene: Scene, redis_url: str, **sweep: Any) -> None:
    document = {
        "server": {"port": 0},
        "upstream": {"url": scene.sandbox.url, "credentials": "anonymous"},
        "budgets": {"url": redis_url, "timeout_ms": 10_000},
        "ledger": {"url": scene.ledger_url, "timeout_ms": 10_000},
        "customers": {"acme": {"projects": ["acme"]}},
        "pricing": PRICING,
        "admission": {"headroom_ratio": "0"},
        "rate_limits": {"costs_per_minute": 10_000},
        "sweep": sweep,
    }
    scene.config.write_text(yaml.safe_dump(document))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_another_gate_sweeps_within_half_a_minute(scene: Scene, redis_url: str) -> None:
    """Of two gates the one that sweeps is killed: the other one has found what came past the gate 30 s later."""
    configure(scene, redis_url, interval_s=1)
    async with AsyncExitStack() as stack:
        gates = [await stack.enter_async_context(served_gate(scene.config)) for _ in range(2)]
        killed = await scene.holder()
        os.kill(killed, signal.SIGKILL)
        await scene.query(scene.sandbox.url, "past-the-gate")
        (url,) = [url for process, url in gates if process.pid != killed]
        assert await scene.wait_for_cost(url, 10) < HALF_A_MINUTE_S
        assert await scene.holder() != killed


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", METHODS)
async def test_costs_are_seen_though_both_gates_were_dead(scene: Scene, redis_url: str, method: str) -> None:
    """Both gates die right after a query was forwarded; it ends, and another runs past them; both costs are seen.

    With settings as they come: within five minutes of the start of other gates.
    """
    configure(scene, redis_url, method=method, regions=["us"])
    async with AsyncExitStack() as stack:
        gates = [await stack.enter_async_context(served_gate(scene.config)) for _ in range(2)]
        await scene.holder()
        asked = asyncio.create_task(scene.query(gates[0][1], "through-the-gate"))
        await scene.wait_for_job("through-the-gate", "RUNNING", "DONE")
        for process, _ in gates:
            process.kill()
        await asked
        await scene.query(scene.sandbox.url, "past-the-gate")
        await scene.wait_for_job("through-the-gate", "DONE")
        await scene.wait_for_job("past-the-gate", "DONE")
    async with served_gate(scene.config) as (_, url), served_gate(scene.config):
        took_s = await scene.wait_for_cost(url, 20)
        costs = await scene.costs(url)
    assert took_s < FIVE_MINUTES_S
    by_origin = {origin: each["cost_usd"] for origin, each in costs["by_origin"].items()}
    assert by_origin == {"gate": "0.10", "bypass": "0.10", "metered": "0.00", "own": "0.00"}
