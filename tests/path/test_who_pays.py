"""Who pays, before a running gate, against callers who choose projects, workloads and spellings to spend more.

BigQuery's stand-in knows some projects, one of them by its number too, and whose which token is. A budget holds one
query of three cents and not two.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.support.race_scene import THREE_CENTS, Scene, Stores, race_scene
from tests.support.scorekeeper_faults import Fault, FaultKind

NUMBER = "123456789012"
QUERY = {"query": THREE_CENTS, "useLegacySql": False, "useQueryCache": False}
INSERT = {"configuration": {"query": QUERY}}
ACME = {"customers": {"acme": {"projects": ["acme-prod"], "principals": ["acme.example"]}}}
SECRET = {"mode": "required", "token_secret": "q3Zt0Yk1v7wJm4uXeR9sPb2nLd8hGf6cTaUoWiSxKzEy"}
CALLERS = {"identity": SECRET, "upstream": {"credentials": "caller"}}
EMAILS = {"ya29.stranger": "eve@gmail.example", "ya29.etl": "etl@acme.example"}
WAYS = ("jobs.query", "jobs.insert", "upload", "batch", "override")


@pytest.fixture(params=["memory", "Redis"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """One gate by itself, or two that share Redis."""
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "memory":
        return Stores("memory://", ledger_url, 1)
    return Stores(str(request.getfixturevalue("redis_url")), ledger_url, 2)


def gates(stores: Stores, folder: Path, more: Mapping[str, Any] | None = None) -> AbstractAsyncContextManager[Scene]:
    """Gates with the customer acme, before a BigQuery that knows its project."""
    return race_scene(stores, folder, more={**ACME, **(more or {})})


def know_projects(scene: Scene, *others: str) -> None:
    scene.keeper.projects = {"acme-prod", *others}
    scene.keeper.ids[NUMBER] = "acme-prod"
    scene.keeper.emails = EMAILS


async def send(
    scene: Scene, way: str, project: str, *, number: int = 0, below: str = "", token: str = "", named: str | None = None
) -> int:
    """The status of a query of three cents; `named` is the project in the job's own reference."""
    url, api = f"{scene.url(number)}{below}", f"bigquery/v2/projects/{project}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    insert = INSERT | ({} if named is None else {"jobReference": {"projectId": named}})
    session = scene.caller.session
    match way:
        case "jobs.query":
            sending = session.post(f"{url}/{api}/queries", json=QUERY, headers=headers)
        case "jobs.insert":
            sending = session.post(f"{url}/{api}/jobs", json=insert, headers=headers)
        case "override":
            headers |= {"X-HTTP-Method-Override": "POST"}
            sending = session.post(f"{url}/projects/{project}/jobs", json=insert, headers=headers)
        case "upload":
            headers |= {"Content-Type": "multipart/related; boundary=b"}
            text = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(insert)}\r\n--b--\r\n"
            sending = session.post(f"{url}/upload/{api}/jobs?uploadType=multipart", data=text.encode(), headers=headers)
        case _:
            return await send_in_batch(session, url, f"/{api}/jobs", json.dumps(insert), headers)
    async with sending as answer:
        await answer.read()
        return answer.status


async def send_in_batch(
    session: aiohttp.ClientSession, url: str, path: str, body: str, headers: Mapping[str, str]
) -> int:
    part = (
        f"--b\r\nContent-Type: application/http\r\n\r\nPOST {path} HTTP/1.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}\r\n--b--\r\n"
    )
    given = {**headers, "Content-Type": "multipart/mixed; boundary=b"}
    async with session.post(f"{url}/batch/bigquery/v2", data=part.encode(), headers=given) as answer:
        return int((await answer.text()).partition("HTTP/1.1 ")[2][:3])


async def paid(scene: Scene) -> dict[str, int]:
    """What each customer was charged, in cents, once nothing is held any more."""
    await scene.settled()
    rows = scene.tables.rows("SELECT customer, cost_nanos FROM entries WHERE kind = 'charge'")
    return {customer: sum(nanos for who, nanos in rows if who == customer) // 10_000_000 for customer, _ in rows}


async def names_kept(scene: Scene) -> str:
    """All that ledger, Redis and metrics keep, as one text."""
    kept = [repr(scene.tables.rows(f"SELECT * FROM {table}")) for table in ("holds", "entries", "breaker_events")]
    if scene.stores.budgets_url != "memory://":
        async with Redis.from_url(scene.stores.budgets_url, socket_connect_timeout=30) as redis:
            kept += [repr(key) async for key in redis.scan_iter(count=1_000)]
    for gate in scene.gates:
        async with scene.caller.session.get(f"{gate.url}/metrics") as answer:
            kept.append(await answer.text())
    return "\n".join(kept)


@pytest.mark.parametrize(
    "made_up", ["made-up-", "example.com:made-up-", "98765432100"], ids=["ids", "domains", "numbers"]
)
@pytest.mark.parametrize("way", WAYS)
async def test_made_up_projects_are_refused_by_bigquery_and_leave_nothing(
    stores: Stores, tmp_path: Path, way: str, made_up: str
) -> None:
    """No budget, hold, booking, key or label for a name that Google does not know, however it is submitted."""
    async with gates(stores, tmp_path) as scene:
        know_projects(scene)
        told = {await send(scene, way, f"{made_up}{number}", number=number) for number in range(20)}
        assert told == {404}
        assert made_up not in await names_kept(scene)
        assert await paid(scene) == {}


async def test_made_up_projects_share_one_allowance_while_bigquery_answers_no_dry_run(
    stores: Stores, tmp_path: Path
) -> None:
    """What runs without an estimate is bounded by one customer's allowance, not by the names that somebody makes up."""
    more = {
        "tiers": {"standard": {"daily_usd": "50", "monthly_usd": "50", "emergency_usd": "50"}},
        "degraded": {"dry_run": "allowance", "allowance_usd": "2.50"},  # each is held at a dollar
    }
    async with gates(stores, tmp_path, more) as scene:
        scene.keeper.faults.add(Fault(FaultKind.UNAVAILABLE, method="jobs.insert", is_dry_run=True, count=None))
        told = [await send(scene, "jobs.insert", f"made-up-{number}") for number in range(6)]
        assert told == [200, 200, 503, 503, 503, 503]


@pytest.mark.parametrize(
    "project", ["ACME-PROD", "Acme-prod", "%41CME-PROD", "acme-prod.", "acme_prod", "0" + NUMBER, "acme-prod%20"]
)
@pytest.mark.parametrize("way", WAYS)
async def test_another_spelling_of_a_project_finds_no_other_budget(
    stores: Stores, tmp_path: Path, way: str, project: str
) -> None:
    """BigQuery takes none of them, so the gate refuses it before it asks anybody."""
    async with gates(stores, tmp_path) as scene:
        know_projects(scene)
        assert await send(scene, way, project) == 400
        assert scene.keeper.calls == []


@pytest.mark.parametrize("owner", ["acme", None], ids=["a customer's project", "nobody's project"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_projects_number_spends_from_the_budget_of_its_id(
    stores: Stores, tmp_path: Path, way: str, owner: str | None
) -> None:
    """One budget for the id, its percent-encoded form and its number, whichever comes first, on every replica."""
    async with gates(stores, tmp_path) as scene:
        know_projects(scene, "somebodys")
        project = "acme-prod" if owner else "somebodys"
        scene.keeper.ids[NUMBER] = project
        assert await send(scene, way, NUMBER, named=NUMBER) == 200
        for number, spelling in enumerate((project, f"%{ord(project[0]):x}{project[1:]}", NUMBER, "%31" + NUMBER[1:])):
            assert await send(scene, way, spelling, number=number) in {403, 429}, spelling
        assert await paid(scene) == {owner or project: 3}
        assert {ran.project_id for ran in scene.keeper.books} == {project}
        assert NUMBER not in await names_kept(scene)


@pytest.mark.parametrize("named", ["ACME-PROD", "globex-prod", "acme-prod ", "acme-prod.", "210987654321"])
@pytest.mark.parametrize("asked", ["acme-prod", NUMBER])
async def test_a_job_that_names_another_project_than_its_url_is_refused(
    stores: Stores, tmp_path: Path, asked: str, named: str
) -> None:
    """Nobody is charged for a project that BigQuery would not bill."""
    async with gates(stores, tmp_path) as scene:
        know_projects(scene, "globex-prod")
        for way in ("jobs.insert", "upload", "batch"):
            assert await send(scene, way, asked, named=named) == 400
        assert scene.keeper.books == []
        assert await send(scene, "jobs.insert", asked, named="acme-prod") == 200


@pytest.mark.parametrize("way", WAYS)
async def test_a_project_budget_holds_for_its_number_too(stores: Stores, tmp_path: Path, way: str) -> None:
    """A budget of one project within a customer's is not left by calling the project by its number."""
    more = {
        "tiers": {"standard": {"daily_usd": "50", "monthly_usd": "50", "emergency_usd": "50"}},
        "scoped_budgets": {"prod": {"customer": "acme", "project": "acme-prod", "daily_usd": "0.05"}},
    }
    async with gates(stores, tmp_path, more) as scene:
        know_projects(scene)
        told = [await send(scene, way, project) for project in (NUMBER, "acme-prod", NUMBER)]
        assert (told[0], set(told[1:]) <= {403, 429}) == (200, True)


@pytest.mark.parametrize("way", WAYS)
async def test_a_projects_number_is_no_way_out_of_its_customers_mode(stores: Stores, tmp_path: Path, way: str) -> None:
    """Where other projects are not metered at all, a customer's is, by its number too."""
    more = {"defaults": {"mode": "off"}, "customers": {"acme": ACME["customers"]["acme"] | {"mode": "enforce"}}}
    async with gates(stores, tmp_path, more) as scene:
        know_projects(scene, "somebodys")
        assert [await send(scene, way, "somebodys") for _ in range(2)] == [200, 200]
        told = [await send(scene, way, NUMBER) for _ in range(2)]
        assert (told[0], told[1] in {403, 429}) == (200, True)
        assert await paid(scene) == {"acme": 3}


@pytest.mark.parametrize("way", WAYS)
async def test_a_known_caller_charges_no_customer_by_a_path(stores: Stores, tmp_path: Path, way: str) -> None:
    """A stranger's query below /w/acme/ is its own project's; the workload is a label and nothing else."""
    async with gates(stores, tmp_path, CALLERS) as scene:
        know_projects(scene, "eves-own")
        assert await send(scene, way, "eves-own", below="/w/acme", token="ya29.stranger") == 200
        assert await send(scene, way, "eves-own", token="ya29.stranger") in {403, 429}
        assert await send(scene, way, "acme-prod", token="ya29.etl") == 200, "acme's budget is untouched"
        assert await paid(scene) == {"eves-own": 3, "acme": 3}
        assert set(scene.tables.rows("SELECT customer, workload FROM holds")) == {("eves-own", "acme"), ("acme", None)}


@pytest.mark.parametrize("way", WAYS)
async def test_a_listed_caller_pays_whatever_it_writes_into_the_path(stores: Stores, tmp_path: Path, way: str) -> None:
    """Its address says who pays; neither a workload nor the project nor its number finds another budget."""
    more = CALLERS | {"customers": {**ACME["customers"], "globex": {"projects": ["globex-prod"]}}}
    async with gates(stores, tmp_path, more) as scene:
        know_projects(scene, "globex-prod", "somebodys")
        assert await send(scene, way, "somebodys", below="/w/globex", token="ya29.etl") == 200
        for number, project in enumerate(("acme-prod", "globex-prod", NUMBER)):
            assert await send(scene, way, project, number=number, below="/w/globex", token="ya29.etl") in {403, 429}
        assert await paid(scene) == {"acme": 3}


@pytest.mark.parametrize("way", WAYS)
async def test_before_an_open_gate_a_workload_chooses_the_customer(stores: Stores, tmp_path: Path, way: str) -> None:
    """Everybody there is trusted; a workload that names nobody is a label."""
    async with gates(stores, tmp_path) as scene:
        know_projects(scene, "somebodys")
        assert await send(scene, way, "somebodys", below="/w/acme") == 200
        assert await send(scene, way, "acme-prod", below="/w/nightly") in {403, 429}
        assert await paid(scene) == {"acme": 3}
