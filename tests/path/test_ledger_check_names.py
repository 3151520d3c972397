"""`bqgate ledger check` where one job bears two names: BigQuery knows that a project's number is the project."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from typer.testing import CliRunner

from bqgate.cli import app
from bqgate.clock import SystemClock
from bqgate.domain.entry import Entry, Origin
from bqgate.domain.job import JobRef
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.units import GIB
from bqgate.ledger import SqlLedger
from tests.support.ledgers import make_entry
from tests.support.scorekeeper import Scorekeeper
from tests.support.scorekeeper_books import Work

SQL = "SELECT 1 FROM `acme.d.t`"
PRICES = PriceList(PricingModel.ON_DEMAND, 10_240_000_000, 40_000_000)


@pytest.fixture
async def keeper() -> AsyncIterator[Scorekeeper]:
    """A BigQuery with the project acme, whose number is 4711, in which a job has billed a GiB."""
    async with Scorekeeper.running() as running:
        running.ids = {"4711": "acme"}
        running.works[SQL] = Work(size_bytes=GIB)
        body = {"jobReference": {"projectId": "acme", "jobId": "j"}, "configuration": {"query": {"query": SQL}}}
        async with aiohttp.ClientSession() as session:
            await session.post(f"{running.url}/bigquery/v2/projects/acme/jobs", json=body)
        await running.quiet()
        yield running


def charge(project_id: str, **changes: Any) -> Entry:
    """A charge of the job under a project's name."""
    now = SystemClock().now()
    entry = make_entry(
        None,
        id=f"of-{project_id}",
        project_id=project_id,
        job=JobRef(project_id, "j", "US"),
        bytes_processed=GIB,
        bytes_billed=GIB,
        slot_ms=0,
        cost_nanos=10_000_000,
        booked_at=now,
        placed_at=now,
        reservation="",
        prices_id=PRICES.id,
    )
    return replace(entry, **changes)


async def check(keeper: Scorekeeper, folder: Path, *entries: Entry, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the command finds where this is booked."""
    url = f"sqlite:///{folder / 'ledger.db'}"
    ledger = await SqlLedger.open(url, SystemClock())
    ledger.register_prices(PRICES)
    for entry in entries:
        await ledger.book(entry)
    await ledger.close()
    document = {
        "upstream": {"url": keeper.url, "credentials": "anonymous"},
        "ledger": {"url": url},
        "customers": {"acme": {"projects": ["acme"]}},
        "pricing": {"model": "on_demand", "usd_per_tib": "10.24"},
    }
    file = folder / "bqgate.yaml"
    file.write_text(yaml.safe_dump(document))
    until = (SystemClock().now() + timedelta(minutes=1)).isoformat()
    command = ["ledger", "check", "-c", str(file), "--json", "--until", until, *words]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    found: dict[str, Any] = json.loads(result.stdout) | {"status": result.exit_code}
    return found


async def test_one_job_that_is_booked_once_is_equal(keeper: Scorekeeper, tmp_path: Path) -> None:
    """Under the project's id."""
    found = await check(keeper, tmp_path, charge("acme"))
    assert (found["not_looked_at"], found["status"], found["jobs"]["equal"]) == ([], 0, 1)


async def test_one_job_under_two_names_is_booked_twice(keeper: Scorekeeper, tmp_path: Path) -> None:
    """Under the project's id and under its number: no index can know, BigQuery does."""
    found = await check(keeper, tmp_path, charge("acme"), charge("4711", origin=Origin.BYPASS))
    assert found["status"] == 1
    assert found["causes"] == {"twice": {"count": 1, "missing_usd": "-0.01"}}
    assert found["differences"][0]["entry_id"] == "of-4711"


async def test_a_job_under_another_name_only_is_told(keeper: Scorekeeper, tmp_path: Path) -> None:
    """The job is missing under its own name, and there under another; the sums agree."""
    found = await check(keeper, tmp_path, charge("4711"))
    assert found["status"] == 1
    assert {each["cause"] for each in found["differences"]} >= {"spelled"}
    assert found["missing_usd"] == "0.00"


async def test_who_cannot_be_asked_is_not_taken_for_equal(keeper: Scorekeeper, tmp_path: Path) -> None:
    """Status 2, and the project."""
    keeper.projects = {"another"}
    found = await check(keeper, tmp_path, charge("acme"))
    assert (found["status"], found["causes"]) == (2, {})
    assert found["not_looked_at"][0]["project_id"] == "acme"


async def test_a_project_that_is_named_by_its_number_is_looked_at(keeper: Scorekeeper, tmp_path: Path) -> None:
    """A job past the gate that nobody has booked is missing, by whichever name one asks for its project."""
    found = await check(keeper, tmp_path, words=("--project", "4711"))
    assert (found["status"], found["jobs"]["listed"], found["missing_usd"]) == (1, 1, "0.01")
