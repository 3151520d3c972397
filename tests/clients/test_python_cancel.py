"""Jobs that take their time, by Google's Python client: asked after, waited for, cancelled, left alone."""

from collections.abc import Iterator

import pytest
from google.api_core.exceptions import Forbidden, GoogleAPICallError
from google.cloud import bigquery

from bqgate.sandbox import SandboxSettings
from tests.support.client_scene import DATASET, GIB, Scene, open_scene, wait_until
from tests.support.python_client import python_client

# A query over 900 GiB runs about two seconds at Google's pace in the sandbox, and ten at this scale.
SLOW = SandboxSettings(row_multiplier=1, time_scale=5)


@pytest.fixture(scope="module")
def slow_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(tmp_path_factory.mktemp("slow"), sandbox=SLOW) as opened:
        yield opened


@pytest.fixture
def client(slow_scene: Scene) -> Iterator[bigquery.Client]:
    with python_client(slow_scene.url, slow_scene.new_project("slow")) as opened:
        yield opened


def start(scene: Scene, client: bigquery.Client, gib: int) -> bigquery.QueryJob:
    scene.declare(client.project, t=gib)
    return client.query(f"SELECT a FROM {DATASET}.t", bigquery.QueryJobConfig(use_query_cache=False))


def test_a_running_job_holds_its_cost_until_it_ends(slow_scene: Scene, client: bigquery.Client) -> None:
    """While it runs /v1 shows the hold; when it is over, the poller books it although nobody asked."""
    job = start(slow_scene, client, 900)
    assert job.state in {"PENDING", "RUNNING"}
    assert {"spent_usd": "0.00", "held_usd": "9.00"} == slow_scene.budget(client.project)
    slow_scene.await_work(client.project)
    job.reload()
    assert job.state == "RUNNING"
    slow_scene.advance(60)
    (entry,) = slow_scene.booked(client.project)
    assert ("9.00", "done", job.job_id) == (entry["cost_usd"], entry["outcome"], entry["job"]["job_id"])


def test_a_cancelled_job_is_booked_at_what_was_billed(slow_scene: Scene, client: bigquery.Client) -> None:
    """BigQuery may bill a cancelled job; the books say exactly what it says."""
    job = start(slow_scene, client, 900)
    slow_scene.await_work(client.project)
    job.reload()
    assert job.state == "RUNNING"
    slow_scene.advance(4)
    assert job.cancel()
    with pytest.raises(GoogleAPICallError, match="cancelled"):
        job.result()
    job.reload()
    assert ("DONE", "stopped") == (job.state, job.error_result["reason"])
    assert 0 < job.total_bytes_billed < 900 * GIB
    (entry,) = slow_scene.booked(client.project)
    assert ("stopped", job.total_bytes_billed) == (entry["outcome"], entry["bytes_billed"])
    assert 0 < float(entry["cost_usd"]) < 9
    assert {"spent_usd": entry["cost_usd"], "held_usd": "0.00"} == slow_scene.budget(client.project)


def test_a_job_cancelled_before_it_ran_costs_nothing(slow_scene: Scene, client: bigquery.Client) -> None:
    """It ends as stopped, at zero."""
    job = start(slow_scene, client, 800)
    job.cancel()
    wait_until(job.done, "the job has ended")
    (entry,) = slow_scene.booked(client.project)
    assert ("stopped", entry["bytes_billed"]) == (entry["outcome"], job.total_bytes_billed or 0)


def test_query_and_wait_waits_past_the_first_answer(slow_scene: Scene, client: bigquery.Client) -> None:
    """The first answer says jobComplete: false; the client polls getQueryResults through the gate."""
    slow_scene.declare(client.project, t=100)
    rows = client.query_and_wait(f"SELECT a FROM {DATASET}.t", api_timeout=5, wait_timeout=30)
    assert [] == list(rows)
    (entry,) = slow_scene.booked(client.project)
    assert ("1.00", "done") == (entry["cost_usd"], entry["outcome"])


def test_what_is_held_counts_against_the_next_query(slow_scene: Scene, client: bigquery.Client) -> None:
    """Invariant 2: two queries of nine dollars do not both start at a limit of ten, though the first is not billed."""
    job = start(slow_scene, client, 900)
    with pytest.raises(Forbidden, match=r"holds 9\.00 for running queries"):
        client.query(f"SELECT a + 1 FROM {DATASET}.t", bigquery.QueryJobConfig(use_query_cache=False))
    job.cancel()
    slow_scene.stack.settle(client.project)
