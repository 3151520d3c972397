"""Cost metrics in running gates: as the settings name them, the one that the docs show among them."""

import asyncio
import io
import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from bqgate.app import Gate, open_gate
from bqgate.clock import SystemClock
from bqgate.domain.entry import Entry, EntryFilter, Origin
from bqgate.domain.money import NANOS_PER_USD
from bqgate.sandbox import Sandbox, SandboxSettings
from bqgate.sandbox.clock import Clock
from bqgate.sandbox.warehouse import QueryContext
from bqgate.settings import Settings, load_settings
from tests.support.doc_blocks import blocks

PYTHON, TOML, YAML = (
    [each.text for each in blocks("docs/cost_metrics.md") if each.language == language]
    for language in ("python", "toml", "yaml")
)
SHIPPED = {"storage": {"metric": "bqgate.metering.storage:StorageMetric"}}


@pytest.fixture
def fees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the docs' example, installed as pip does: its module, and metadata with its entry point."""
    folder = tmp_path / "site"
    metadata = folder / "fees-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "fees.py").write_text(PYTHON[0])
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: fees\nVersion: 1.0\n")
    lines = ["[bqgate.cost_metrics]"]
    named: dict[str, str] = tomllib.loads(TOML[0])["project"]["entry-points"]["bqgate.cost_metrics"]
    lines += [f"{name} = {target}" for name, target in named.items()]
    metadata.joinpath("entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """BigQuery, in which finance has kept a table since five days ago."""
    now = datetime.now(UTC)  # noqa: TID251 - the gates go by the machine's clock
    clock = Clock(frozen_at=now - timedelta(days=5))
    async with Sandbox.start(SandboxSettings(), clock=clock) as running:
        running.warehouse.create_dataset("acme-finance", "billing")
        days = ", ".join(f"('{(now - timedelta(days=ago)).date()}', {ago * 100})" for ago in (1, 2))
        for sql in (
            "CREATE TABLE billing.fees (day DATE, cents INT64)",
            f"INSERT billing.fees SELECT CAST(day AS DATE), cents FROM UNNEST([STRUCT<day STRING, cents INT64>{days}])",
        ):
            running.warehouse.execute(sql, QueryContext("acme-finance", clock.now()))
        clock.advance(5 * 86_400)
        yield running


def settings_for(
    folder: Path, sandbox: Sandbox, metrics: dict[str, Any], *, credentials: str = "anonymous"
) -> Settings:
    """Settings as a user writes them."""
    document = {
        "server": {"port": 0},
        "upstream": {"url": sandbox.url, "credentials": credentials},
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "observe": {"log_format": "json"},
        "customers": {"acme": {"projects": ["acme-finance"]}},
        "scoped_budgets": {"everybody": {"deployment": True, "monthly_usd": "1000"}},
        "cost_metrics": metrics,
    }
    file = folder / "bqgate.yaml"
    file.write_text(yaml.safe_dump(document))
    return load_settings(file, {})


async def metered(gate: Gate, *metrics: str) -> list[Entry]:
    """What is booked, once each of these metrics has had a look."""
    async with asyncio.timeout(30):
        while not all(looks(gate, metric) for metric in metrics):
            await SystemClock().sleep(0.02)
    page = await gate.ledger.fetch_entries(EntryFilter(page_size=1_000))
    return [entry for entry in page.entries if entry.origin is Origin.METERED]


def looks(gate: Gate, metric: str) -> int:
    return int(gate.metrics.value("bqgate_cost_metric_looks_total", metric=metric, result="done"))


async def ask(gate: Gate, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(gate.control_url + path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_the_docs_metric_is_booked_and_seen(tmp_path: Path, fees: Path, sandbox: Sandbox) -> None:
    """Two days' fees, beside the storage of their table, for the customer whose project it is; in budgets and costs."""
    shown: dict[str, Any] = yaml.safe_load(YAML[-1])["cost_metrics"]
    settings = settings_for(tmp_path, sandbox, {**SHIPPED, **shown})
    assert not [warning for warning in settings.warnings if "cost_metrics" in warning]
    async with open_gate(settings, log_stream=io.StringIO()) as gate:
        entries = await metered(gate, "fees", "storage")
        by_metric = {"fees": 0, "storage": 0}
        for entry in entries:
            assert entry.customer == "acme"
            by_metric[entry.labels["bqgate_metric"]] += entry.cost_nanos
        assert by_metric["fees"] == 3 * NANOS_PER_USD
        assert by_metric["storage"] > 0
        costs = json.dumps(await ask(gate, "/v1/costs?customer=acme"))
        assert "metric:fees" in costs
        assert "metric:storage" in costs
        spent_usd = Decimal((await ask(gate, "/v1/deployment/budget"))["windows"]["month"]["spent_usd"])
        assert spent_usd > 0  # of two days, which may be of the month before
        assert gate.metrics.value("bqgate_metered_nanos_total", metric="fees", customer="acme") == 3 * NANOS_PER_USD


async def test_of_two_replicas_one_measures(tmp_path: Path, sandbox: Sandbox) -> None:
    """The other waits for the lease, and asks BigQuery nothing."""
    settings = settings_for(tmp_path, sandbox, SHIPPED)
    async with AsyncExitStack() as stack:
        opened = [open_gate(settings, log_stream=io.StringIO()) for _ in range(2)]
        gates = [await stack.enter_async_context(each) for each in opened]
        async with asyncio.timeout(30):
            while not any(looks(gate, "storage") for gate in gates):
                await SystemClock().sleep(0.02)
        assert sorted(looks(gate, "storage") for gate in gates) == [0, 1]
        assert len(sandbox.journal.entries(method="jobs.insert")) == 1


async def test_without_an_account_of_its_own_nothing_is_measured(tmp_path: Path, sandbox: Sandbox) -> None:
    """Callers' credentials are callers': the gate says so, and serves."""
    settings = settings_for(tmp_path, sandbox, SHIPPED, credentials="caller")
    log = io.StringIO()
    async with open_gate(settings, log_stream=log):
        pass
    assert "cost_metrics_off" in log.getvalue()
    assert not sandbox.journal.entries(method="jobs.insert")
