"""Several workers as users run them: `bqgate serve` with server.workers above 1, over Redis."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bqgate.clock import SystemClock
from bqgate.sandbox import Sandbox, SandboxSettings
from tests.support.served_gate import served_gate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc"),
]
ENDS_WITHIN_S = 30


@dataclass
class Gate:
    """A gate of several workers, and callers of one connection each."""

    process: asyncio.subprocess.Process
    url: str
    config: Path
    log: Path
    stack: AsyncExitStack

    @property
    def workers(self) -> list[int]:
        """The processes that the supervisor has now."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line[0] == "{"]
        return [line for line in lines if line["event"] == event]

    def answering(self) -> list[int]:
        """Which worker answered each query."""
        return [line["worker"] for line in self.logged("request") if line["path"].endswith("/queries")]

    async def caller(self) -> aiohttp.ClientSession:
        """One connection that stays."""
        session = aiohttp.ClientSession(
            self.url, connector=aiohttp.TCPConnector(limit=1), timeout=aiohttp.ClientTimeout(total=5)
        )
        return await self.stack.enter_async_context(session)

    def write(self, daily_usd: str) -> None:
        """Change the settings."""
        document = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        document["tiers"] = {"standard": {"daily_usd": daily_usd}}
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")


@asynccontextmanager
async def gate_of(
    workers: int, folder: Path, redis_url: str, upstream: str = "http://127.0.0.1:9"
) -> AsyncIterator[Gate]:
    """A gate that has come up."""
    config, log = folder / "bqgate.yaml", folder / "log"
    document = {
        "server": {"port": 0, "workers": workers},
        "upstream": {"url": upstream, "credentials": "anonymous"},
        "budgets": {"url": redis_url},
        "ledger": {"url": f"sqlite:///{folder}/ledger.db", "timeout_ms": 60_000},
        "observe": {"log_format": "json"},
    }
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    async with AsyncExitStack() as stack:
        with log.open("wb") as out:
            process, url = await stack.enter_async_context(served_gate(config, log=out))
            yield Gate(process, url, config, log, stack)


async def until(is_so: Callable[[], bool]) -> None:
    """Look every 20 ms, for half a minute at most."""
    async with asyncio.timeout(30):
        while not is_so():
            await SystemClock().sleep(0.02)


async def ask(caller: aiohttp.ClientSession) -> None:
    """A query, answered with its rows."""
    body = {"query": "SELECT 1 AS one", "useLegacySql": False}
    async with caller.post("/bigquery/v2/projects/acme/queries", json=body) as answer:
        text = await answer.text()  # or the connection would not stay
        assert answer.status == 200, text


async def scrape(caller: aiohttp.ClientSession, name: str) -> dict[str, float]:
    """The series of a metric, by the values of their labels."""
    async with caller.get("/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
        found = [sample for family in families for sample in family.samples if sample.name == f"bqgate_{name}"]
    return {",".join(sample.labels.values()): sample.value for sample in found}


async def ready(caller: aiohttp.ClientSession) -> dict[str, Any]:
    async with caller.get("/readyz") as answer:
        assert answer.status == 200
        document: dict[str, Any] = await answer.json()
    return document


async def daily_limit(caller: aiohttp.ClientSession) -> str:
    async with caller.get("/v1/customers/acme/budget") as answer:
        return str((await answer.json())["windows"]["day"]["limit_usd"])


async def test_three_workers_are_one_gate_also_when_one_of_them_is_killed(tmp_path: Path, redis_url: str) -> None:
    """Each has as many connections, any scrape counts every query, and the successor has the settings of now."""
    async with Sandbox.start(SandboxSettings()) as sandbox, gate_of(3, tmp_path, redis_url, sandbox.url) as gate:
        callers = [await gate.caller() for _ in range(6)]
        for caller in callers:
            await ask(caller)
        await asyncio.gather(*(ask(caller) for caller in callers for _ in range(4)))
        await until(lambda: len(gate.answering()) == 30)
        assert {gate.answering().count(number) for number in range(3)} == {10}
        for caller in callers:
            assert sum((await scrape(caller, "decisions_total")).values()) == 30
        gate.write("12.50")
        gate.process.send_signal(signal.SIGHUP)
        await until(lambda: len(gate.logged("settings_reloaded")) == 3)
        killed, *_ = gate.workers
        os.kill(killed, signal.SIGKILL)
        await until(lambda: len(gate.logged("worker_replaced")) == 1)
        [ended] = gate.logged("worker_ended")
        assert ended["error"] == "signal 9"
        assert len(set(gate.workers) - {killed}) == 3
        await until(lambda: len(gate.logged("settings_reloaded")) == 4)
        new_callers = [await gate.caller() for _ in range(3)]
        assert {await daily_limit(caller) for caller in new_callers} == {"12.50"}
        for caller in new_callers:
            await ask(caller)
        for caller in new_callers:
            assert sum((await scrape(caller, "decisions_total")).values()) == 33
            assert await scrape(caller, "worker_restarts_total") == {"0": 1, "1": 0, "2": 0}
        gate.process.terminate()
        assert await asyncio.wait_for(gate.process.wait(), ENDS_WITHIN_S) == 0


async def test_nobody_waits_for_a_worker_that_hangs_and_none_outlives_its_supervisor(
    tmp_path: Path, redis_url: str
) -> None:
    """A scrape says that it is not up, callers go to the others; when the supervisor is killed, all stop in order."""
    async with gate_of(2, tmp_path, redis_url) as gate:
        callers = [await gate.caller() for _ in range(2)]
        for caller in callers:
            assert await ready(caller) == {"status": "ready", "degraded": []}
        hung = gate.workers[0]
        os.kill(hung, signal.SIGSTOP)
        answers = await asyncio.gather(*(scrape(caller, "worker_up") for caller in callers), return_exceptions=True)
        [asked] = [caller for caller, answer in zip(callers, answers, strict=True) if isinstance(answer, dict)]
        async with asyncio.timeout(20):
            while await scrape(asked, "worker_up") != {"0": 0, "1": 1}:
                await SystemClock().sleep(0.1)
        assert await ready(asked) == {"status": "degraded", "degraded": ["workers"]}
        for _ in range(3):
            assert (await ready(await gate.caller()))["status"] == "degraded"
        os.kill(hung, signal.SIGCONT)
        async with asyncio.timeout(20):
            while await scrape(asked, "worker_up") != {"0": 1, "1": 1}:
                await SystemClock().sleep(0.1)
        workers = gate.workers
        gate.process.kill()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert len(gate.logged("stopping")) == 2


async def test_a_gate_ends_when_its_workers_die_at_their_start(tmp_path: Path, redis_url: str) -> None:
    """None is left that serves, and the newest lived shortly: whoever supervises the gate sees status 1."""
    async with gate_of(2, tmp_path, redis_url) as gate:
        for worker in gate.workers:
            os.kill(worker, signal.SIGKILL)
        assert await asyncio.wait_for(gate.process.wait(), ENDS_WITHIN_S) == 1
        assert "a worker ended by itself, and none is left" in gate.log.read_text(encoding="utf-8")
