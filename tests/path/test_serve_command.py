import asyncio
import os
import signal
import socket
import subprocess
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.domain.audit import AuditEvent
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.sandbox import Sandbox, SandboxSettings
from tests.support.free_ports import free_port
from tests.support.manual_clock import START
from tests.support.served_gate import served_gate

BQGATE = Path(sysconfig.get_path("scripts")) / "bqgate"
ENDS_WITHIN_S = 30


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A `bqgate serve` in a folder of its own, killed at the end if it has not ended."""
    settings = {"BQGATE_UPSTREAM__URL": "http://127.0.0.1:9", "BQGATE_UPSTREAM__CREDENTIALS": "anonymous"}
    gate = subprocess.Popen(
        [BQGATE, "serve"],
        cwd=folder,
        env={**os.environ, **settings, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield gate
    finally:
        if gate.poll() is None:
            os.killpg(gate.pid, signal.SIGKILL)
        gate.communicate()


def url_said_by(gate: subprocess.Popen[str]) -> str:
    """Where the gate says that it listens."""
    assert gate.stdout is not None
    line = gate.stdout.readline()
    assert line.startswith("bqgate listens at http://127.0.0.1:"), line
    return line.split()[3]


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        status: int = answer.status
    return status


def test_serve_says_where_and_ends_in_order(tmp_path: Path) -> None:
    """One process takes a free port, answers, and ends with status 0 when it is told to stop."""
    with serving(tmp_path, BQGATE_SERVER__PORT="0") as gate:
        assert status_of(f"{url_said_by(gate)}/healthz") == 200
        gate.terminate()
        assert gate.wait(ENDS_WITHIN_S) == 0


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    """Status 1 and the address, no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(tmp_path, BQGATE_SERVER__PORT=str(port)) as gate:
            _, errors = gate.communicate(timeout=ENDS_WITHIN_S)
    assert gate.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use. End the program" in errors
    assert "Traceback" not in errors


def test_a_ledger_that_does_not_open_is_a_sentence(tmp_path: Path) -> None:
    """Status 1 and the URL without its password."""
    url = "postgresql://gate:hunter2@127.0.0.1:9/bqgate"
    with serving(tmp_path, BQGATE_SERVER__PORT="0", BQGATE_LEDGER__URL=url) as gate:
        _, errors = gate.communicate(timeout=ENDS_WITHIN_S)
    assert gate.returncode == 1
    assert "postgresql://gate:*****@127.0.0.1:9/bqgate" in errors
    assert "hunter2" not in errors
    assert "Traceback" not in errors


async def write_contradiction(url: str) -> None:
    """Two customers of admins' with tiers that there are not."""
    registry = await SqlRegistry.open(url)
    for name in ("acme", "globex"):
        event = AuditEvent(START, "customer.created", "ann@acme.example", f"customers/{name}")
        await registry.write_policy(PolicyKind.CUSTOMER, name, {"tier": "gone"}, expected_version=0, event=event)
    await registry.close()


def test_rules_that_contradict_the_settings_are_shown_like_faults_of_theirs(tmp_path: Path) -> None:
    """Status 2 and a line for each fault, with its path."""
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    asyncio.run(write_contradiction(ledger))
    with serving(tmp_path, BQGATE_SERVER__PORT="0", BQGATE_LEDGER__URL=ledger) as gate:
        _, errors = gate.communicate(timeout=ENDS_WITHIN_S)
    assert gate.returncode == 2
    assert "the settings together with what admins changed: " in errors
    for name in ("acme", "globex"):
        assert f"\n  customers.{name}.tier: there is no tier 'gone'" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_workers_that_refuse_their_rules_end_with_their_status(tmp_path: Path, redis_url: str) -> None:
    """The worker that found the faults names them, without a traceback, and the gate ends with status 2."""
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    asyncio.run(write_contradiction(ledger))
    variables = {"BQGATE_SERVER__WORKERS": "2", "BQGATE_BUDGETS__URL": redis_url, "BQGATE_LEDGER__URL": ledger}
    with serving(tmp_path, BQGATE_SERVER__PORT=str(free_port()), **variables) as gate:
        _, errors = gate.communicate(timeout=ENDS_WITHIN_S)
    assert gate.returncode == 2
    assert "\n  customers.acme.tier: there is no tier 'gone'" in errors
    assert "Traceback" not in errors


async def test_a_served_gate_takes_over_its_file_and_goes_unready_before_it_stops(tmp_path: Path) -> None:
    """A limit changed in the file holds without a restart; a bad file changes nothing; stopping shows in readiness."""
    async with Sandbox.start(SandboxSettings()) as sandbox:
        config = tmp_path / "bqgate.yaml"

        def write(daily: str) -> None:
            document = {
                "server": {"port": 0, "drain_s": 30},
                "upstream": {"url": sandbox.url, "credentials": "anonymous"},
                "ledger": {"url": f"sqlite:///{tmp_path}/ledger.db", "timeout_ms": 60_000},
                "tiers": {"standard": {"daily_usd": daily}},
            }
            config.write_text(yaml.safe_dump(document))

        write("10")
        async with served_gate(config) as (process, url), aiohttp.ClientSession() as session:

            async def limit() -> str:
                async with session.get(f"{url}/v1/customers/acme/budget") as answer:
                    return str((await answer.json())["windows"]["day"]["limit_usd"])

            async def ready() -> int:
                async with session.get(f"{url}/readyz") as answer:
                    return answer.status

            assert await limit() == "10.00"
            write("cheap")
            process.send_signal(signal.SIGHUP)
            write("12.50")
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(30):
                while await limit() != "12.50":
                    await SystemClock().sleep(0.05)
            assert await ready() == 200
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                while await ready() != 503:
                    await SystemClock().sleep(0.02)
            assert await limit() == "12.50"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
