"""Connections that break before or behind the gate: rows arrive, and each job is booked once."""

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from google.cloud import bigquery

from bqgate.sandbox import SandboxSettings
from bqgate.sandbox.faults import Fault, Kind
from tests.support.client_scene import DATASET, Scene, open_scene, wait_until
from tests.support.python_client import Watch, python_client

NO_CACHE = bigquery.QueryJobConfig(use_query_cache=False)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def client(scene: Scene, project: str, watch: Watch) -> Iterator[bigquery.Client]:
    scene.declare(project, t=10)
    with python_client(scene.url, project, watch=watch) as opened:
        yield opened


def break_once(scene: Scene, client: bigquery.Client, kind: Kind, method: str) -> None:
    """Let BigQuery do the work of the next such call and break the connection before or in the middle of its answer."""
    fault = Fault(kind=kind, method=method, path=f"/projects/{client.project}/", dry_run=False, count=1)
    scene.stack.sandbox.faults.add(fault)


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_repeated_insert_finds_its_own_job(scene: Scene, client: bigquery.Client, watch: Watch, kind: Kind) -> None:
    """The client sends the same job id again, meets 409 and takes the job that is there: one job, one entry."""
    break_once(scene, client, kind, "jobs.insert")
    job = client.query(f"SELECT a FROM {DATASET}.t", NO_CACHE)
    assert [] == list(job.result())
    assert 409 in watch.posts("/jobs")
    (entry,) = scene.booked(client.project)
    assert (job.job_id, "0.10", "done") == (entry["job"]["job_id"], entry["cost_usd"], entry["outcome"])
    assert {"spent_usd": "0.10", "held_usd": "0.00"} == scene.budget(client.project)


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_repeated_query_is_another_job(scene: Scene, client: bigquery.Client, watch: Watch, kind: Kind) -> None:
    """BigQuery runs a repeated SELECT again; the books have both jobs, found by their labels, at what each billed."""
    break_once(scene, client, kind, "jobs.query")
    assert [] == list(client.query_and_wait(f"SELECT a FROM {DATASET}.t", job_config=NO_CACHE))
    assert 200 == watch.posts("/queries")[-1]
    entries = scene.booked(client.project)
    assert ["0.10", "0.10"] == [entry["cost_usd"] for entry in entries]
    assert 2 == len({entry["job"]["job_id"] for entry in entries})
    assert {"spent_usd": "0.20", "held_usd": "0.00"} == scene.budget(client.project)


@pytest.mark.parametrize("kind", ["lost", "cut"])
def test_a_broken_page_is_fetched_again(scene: Scene, client: bigquery.Client, kind: Kind) -> None:
    """All rows arrive, none twice."""
    job = client.query("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 30000)) AS x ORDER BY x", NO_CACHE)
    job.result(max_results=1)
    break_once(scene, client, kind, "jobs.getQueryResults")
    assert list(range(1, 30_001)) == [row[0] for row in job.result(page_size=10_000)]
    assert 1 == len(scene.booked(client.project))


def test_a_client_that_leaves_is_charged_what_its_query_cost(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It hangs up while jobs.query runs; the job goes on at BigQuery, and is booked when it ends."""
    slow = SandboxSettings(row_multiplier=1, time_scale=20)
    with open_scene(tmp_path_factory.mktemp("left"), sandbox=slow) as scene:
        scene.declare("gone", t=300)
        body = {"query": f"SELECT a FROM {DATASET}.t", "useLegacySql": False, "timeoutMs": 10_000}
        with closing(HTTPConnection(urlsplit(scene.url).netloc)) as connection:
            connection.request("POST", "/bigquery/v2/projects/gone/queries", json.dumps(body))
            wait_until(lambda: bool(scene.submitted("gone")), "its query has reached BigQuery")
        assert {"spent_usd": "0.00", "held_usd": "3.00"} == scene.budget("gone")
        scene.await_work("gone")
        scene.advance(1_000)
        (entry,) = scene.booked("gone")
        assert ("3.00", "done") == (entry["cost_usd"], entry["outcome"])
        assert {"spent_usd": "3.00", "held_usd": "0.00"} == scene.budget("gone")
