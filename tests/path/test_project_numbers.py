"""A project that is asked for by its number: BigQuery answers with its id, and what ran is booked all the same."""

from pathlib import Path

import pytest

from tests.support.race_scene import Scene, Stores, query_of, race_scene
from tests.support.scorekeeper_faults import Fault, FaultKind

LOST = (
    None,
    FaultKind.CUT_AFTER,
    FaultKind.LOST,
    FaultKind.CUT_BEFORE_REFERENCE,
    FaultKind.CUT_BEHIND_REFERENCE,
)


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """One gate by itself."""
    return Stores("memory://", f"sqlite:///{tmp_path / 'ledger.db'}", 1)


def numbered(scene: Scene, number: int) -> str:
    """A project of its own for each run, by its number."""
    scene.keeper.ids[str(1_000 + number)] = f"race-{number}"
    return str(1_000 + number)


@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
async def test_a_query_whose_answer_is_lost(stores: Stores, tmp_path: Path, method: str) -> None:
    """Its job is found by the gate's label, under the project's id."""
    async with race_scene(stores, tmp_path) as scene:
        for number, kind in enumerate(LOST):
            project = numbered(scene, number)
            if kind is not None:
                scene.keeper.faults.add(Fault(kind, method=method, project_id=f"race-{number}"))
            if method == "jobs.insert":
                await scene.caller.insert(scene.url(0), project, None, query_of(3, number))
            else:
                await scene.caller.query(scene.url(0), project, f"request-{number}", query_of(3, number))
        await scene.audit(name=f"{method} by the project's number")


@pytest.mark.parametrize("method", ["jobs.insert", "jobs.query"])
async def test_a_job_is_deleted_before_the_gate_knows_what_it_cost(stores: Stores, tmp_path: Path, method: str) -> None:
    """The hold says the number, the job the id: it is booked first."""
    async with race_scene(
        stores, tmp_path, more={"settlement": {"poll_first_ms": 5_000, "poll_longest_ms": 5_000}}
    ) as scene:
        for number, kind in enumerate(LOST[1:]):
            project = numbered(scene, number)
            scene.keeper.faults.add(Fault(kind, method=method, project_id=f"race-{number}"))
            if method == "jobs.insert":
                await scene.caller.insert(scene.url(0), project, f"job-{number}", query_of(3, 0))
            else:
                await scene.caller.query(scene.url(0), project, f"request-{number}", query_of(3, 0))
            job_id = scene.keeper.books[-1].job_id
            assert job_id is not None
            assert await scene.caller.delete(scene.url(0), (project, f"race-{number}")[number % 2], job_id) == "200"
        await scene.audit(name=f"{method} by the project's number, deleted")
