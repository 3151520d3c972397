"""An estimate that was kept while a job wrote is not used once its caller knows that the job has ended.

Whoever asks after the job hears of its end before the gate looks; the next query then has a cap that fits.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.support.race_scene import Scene, Stores, pass_ms, race_scene
from tests.support.scorekeeper_books import GIB, Work

READ = "SELECT a FROM p.d.t0"
WRITE = {"query": "INSERT INTO p.d.t0 SELECT 1 /*bytes=1000 ms=1000 type=INSERT*/", "useLegacySql": False}
LOAD = {"destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "t0"}}
# The gate itself looks after a job when the test is long over.
SETTINGS: dict[str, Any] = {
    "admission": {"estimate_ttl_s": 600},
    "settlement": {"poll_first_ms": 20_000, "poll_longest_ms": 30_000},
    "tiers": {"standard": {"daily_usd": "100", "monthly_usd": "100", "emergency_usd": "100"}},
    "customers": {"free": {"tier": "standard", "projects": ["free"], "mode": "off"}},
}


@pytest.fixture(params=["one gate", "two gates"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """One gate by itself, or two: then the job is submitted at one, and its caller asks and reads at the other."""
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "one gate":
        return Stores("memory://", ledger_url, 1)
    return Stores(request.getfixturevalue("redis_url"), ledger_url, 2)


@pytest.mark.parametrize("job_id", ["mine", None])
@pytest.mark.parametrize("project", ["p", "free"])
@pytest.mark.parametrize("kind", ["query", "load"])
async def test_a_job_by_insert(stores: Stores, tmp_path: Path, kind: str, project: str, job_id: str | None) -> None:
    """Under a budget or none, by an id of the caller's or of BigQuery's."""
    body = {
        "jobReference": {} if job_id is None else {"jobId": job_id},
        "configuration": {"query": WRITE} if kind == "query" else {"load": LOAD},
    }
    async with race_scene(stores, tmp_path, more=SETTINGS) as scene:
        await writes_and_reads(scene, project, "jobs", body)


@pytest.mark.parametrize("project", ["p", "free"])
async def test_a_query_that_does_not_wait_for_its_end(stores: Stores, tmp_path: Path, project: str) -> None:
    """jobs.query names its job in its answer, and nowhere before."""
    async with race_scene(stores, tmp_path, more=SETTINGS) as scene:
        await writes_and_reads(scene, project, "queries", WRITE | {"timeoutMs": 0})


async def writes_and_reads(scene: Scene, project: str, path: str, body: dict[str, Any]) -> None:
    """Submit what writes, read meanwhile, wait for its end as clients do, and read again: that query must run."""
    here, there = scene.url(0), scene.url(scene.stores.gate_count - 1)
    session = scene.caller.session
    scene.keeper.works[READ] = Work(size_bytes=GIB)
    async with session.post(f"{here}/bigquery/v2/projects/{project}/{path}", json=body) as answer:
        job_id = (await answer.json())["jobReference"]["jobId"]
    await pass_ms(200)  # until the other gate has been told of it
    await scene.caller.insert(there, "p", "before", READ)
    scene.keeper.works[READ] = Work(size_bytes=9 * GIB)
    is_over = False
    while not is_over:
        await pass_ms(30)
        async with session.get(f"{there}/bigquery/v2/projects/{project}/{path}/{job_id}") as answer:
            told = await answer.json()
            is_over = told.get("jobComplete") or told.get("status", {}).get("state") == "DONE"
    await scene.caller.insert(there, "p", "after", READ)
    ran = scene.keeper.ran("p", "after")
    assert ran is not None
    assert ran.error is None
