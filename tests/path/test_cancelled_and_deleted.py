"""Jobs that are repeated, left, asked after, cancelled and deleted, amid faults: what was billed is what is booked.

Queries of every price: scripts with a model, procedures, statements that fail, and some that no dry run knows.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.race_scene import Scene, Stores, pass_ms, race_scene
from tests.support.scorekeeper_books import GIB
from tests.support.scorekeeper_faults import Fault, FaultKind

LIMIT = {"tiers": {"standard": {"daily_usd": "1000", "monthly_usd": "1000", "emergency_usd": "1000"}}}
LIMIT_NANOS = 1_000_000_000_000
TEXTS = (
    "/*bytes={size} ms={ms}*/",
    "/*bytes={size} ms={ms} type=INSERT*/",
    "/*bytes={size} ms={ms} type=MERGE fails billed={size}*/",
    "/*bytes={size} ms={ms} fails*/",
    "/*bytes={size} ms={ms} said=5 accuracy=LOWER_BOUND*/",
    "CREATE MODEL d.m AS /*bytes={size} ms={ms} type=CREATE_MODEL*/",
    "CREATE MODEL d.m AS /*unseen bytes={size} ms={ms} type=CREATE_MODEL*/",
    "/*script*/ /*bytes={size} ms={ms}*/; CREATE MODEL d.m AS /*bytes={size} ms=1 type=CREATE_MODEL*/",
    "/*script*/ /*bytes={size} ms={ms}*/; /*bytes={size} fails*/",
    "/*script type=CALL*/ CALL d.p() /*bytes={size} ms={ms}*/ /*bytes={size} ms=2 type=CREATE_MODEL*/",
)


@pytest.fixture(params=["memory", pytest.param("Redis", marks=pytest.mark.long)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """One gate by itself, or two that share Redis."""
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "memory":
        return Stores("memory://", ledger_url, 1)
    return Stores(str(request.getfixturevalue("redis_url")), ledger_url, 2)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_callers_do_to_their_jobs(stores: Stores, tmp_path: Path, seed: int) -> None:
    """Also where the project is in another place, or asked for by its number."""

    async def run(scene: Scene, name: str, number: int) -> None:
        chance, project = random.Random(1_000 * seed + number), name
        if number % 3 == 1:
            scene.keeper.locations[name] = "EU"
        if number % 3 == 2:
            project = str(9_000 + number)
            scene.keeper.ids[project] = name
        for turn in range(3):
            text = chance.choice(TEXTS).format(size=chance.randint(1, 5) * GIB, ms=chance.choice([0, 0, 20, 120]))
            sending = [send(scene, project, f"{number}-{turn}", text, chance) for _ in range(chance.randint(1, 3))]
            await asyncio.gather(*sending, meddle(scene, name, project, chance))

    async with race_scene(stores, tmp_path, seed=seed, more=LIMIT) as scene:
        for kind in FaultKind:
            if kind is not FaultKind.STALL:
                scene.keeper.faults.add(Fault(kind, count=None, probability=0.05, seconds=0.03))
        for begin in range(0, 24, 8):
            await asyncio.gather(*(run(scene, f"race-{number}", number) for number in range(begin, begin + 8)))
        await scene.audit(name=f"cancelled and deleted, seed {seed}", limit_nanos=LIMIT_NANOS)


async def send(scene: Scene, project: str, name: str, text: str, chance: random.Random) -> None:
    """Submit a query by one of the two methods, with or without a job id, and perhaps leave."""
    url, leaves_after_ms = scene.url(chance.randrange(2)), chance.choice([None, None, chance.uniform(1, 40)])
    await pass_ms(chance.uniform(0, 30))
    way = chance.choice(["query", "own id", "no id"])
    if way == "query":
        more: dict[str, Any] = chance.choice([{}, {"timeoutMs": 0}, {"timeoutMs": 30}])
        await scene.caller.query(url, project, name, text, leaves_after_ms=leaves_after_ms, **more)
    else:
        job_id = f"job-{name}" if way == "own id" else None
        await scene.caller.insert(
            url, project, job_id, text, leaves_after_ms=leaves_after_ms, query=chance.choice(["", "?fields=status"])
        )


async def meddle(scene: Scene, name: str, project: str, chance: random.Random) -> None:
    """Ask after jobs of the project, cancel them, and delete them or a statement's of theirs."""
    for _ in range(chance.randint(0, 4)):
        await pass_ms(chance.uniform(0, 60))
        made = [ran for ran in scene.keeper.books if ran.project_id == name]
        if not made:
            continue
        ran, url = chance.choice(made), f"{scene.url(chance.randrange(2))}/bigquery/v2/projects/{project}"
        method, path = chance.choice(
            [
                ("GET", f"jobs/{ran.job_id}"),
                ("GET", f"queries/{ran.job_id}"),
                ("POST", f"jobs/{ran.job_id}/cancel"),
                ("DELETE", f"jobs/{ran.job_id}/delete"),
                ("DELETE", f"jobs/script_job_{ran.query_id}_1/delete"),
            ]
        )
        await scene.caller.request(method, f"{url}/{path}?location={ran.location}")
