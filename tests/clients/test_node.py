"""Google's Node client against gate and sandbox; `make setup-node` installs it, else the fixture does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from bqgate.sandbox.faults import Fault
from tests.support.client_scene import GIB, Scene

FOLDER = Path(__file__).parent / "node"
CSV = "id,text\n1,a\n2,b\n3,c\n"


def run_client(node: str, scene: Scene, project: str, how: str, csv: Path) -> dict[str, Any]:
    """What clients.mjs saw, step by step."""
    environment = {**os.environ, "NO_COLOR": "1"}
    environment.pop("BIGQUERY_EMULATOR_HOST", None)
    if how == "emulator":
        environment["BIGQUERY_EMULATOR_HOST"] = scene.url
    csv.write_text(CSV)
    done = subprocess.run(
        [node, "clients.mjs", scene.url, project, how, str(csv)],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module", params=["endpoint", "emulator"])
def ran(
    request: pytest.FixtureRequest, node: str, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """The script, run once for each way to name the gate: its project, and what it saw."""
    project = scene.new_project("node")
    scene.declare(project, t=42, huge=5_000, most=900)
    csv = tmp_path_factory.mktemp("node") / "rows.csv"
    return project, run_client(node, scene, project, request.param, csv)


def error_of(result: dict[str, Any]) -> tuple[int | None, str]:
    """Code and reason; createQueryJob's failed job bears no code."""
    assert "error" in result, result
    return result["error"].get("code"), result["error"]["reason"]


def test_queries_jobs_and_tables_work(ran: tuple[str, dict[str, Any]]) -> None:
    """Query with parameters, a job of the client's own id with a paged result, listings, inserts, a load by stream."""
    _, results = ran
    assert {"value": [{"n": 42, "s": "žluť"}]} == results["query"]
    assert {"value": {"id": "node-job", "count": 25_000, "last": 25_000}} == results["createQueryJob"]
    assert {"value": ["huge", "most", "t"]} == results["tables"]
    assert {"value": [{"id": 1, "text": "a"}]} == results["insert"]
    assert {"value": ["DONE", "3"]} == results["load"]


def test_a_dry_run_is_free(ran: tuple[str, dict[str, Any]]) -> None:
    """It tells the bytes of a query that no budget would allow."""
    assert {"value": str(5_000 * GIB)} == ran[1]["dryRun"]


def test_refusals_reach_the_caller_and_are_not_repeated(scene: Scene, ran: tuple[str, dict[str, Any]]) -> None:
    """Each of three refused submissions was made once: 400 for one too big, 403 for a used-up budget."""
    project, results = ran
    assert (400, "bytesBilledLimitExceeded") == error_of(results["tooBig"])
    assert (403, "quotaExceeded") == error_of(results["usedUp"])
    assert (403, "quotaExceeded") == error_of(results["usedUpByJob"])
    assert results["usedUp"]["error"]["message"].startswith(f"Custom quota exceeded: customer {project} has used ")
    refused = [entry["reason"] for entry in scene.booked(project) if entry["kind"] == "refusal"]
    assert ["query_too_big", "budget_used_up", "budget_used_up"] == refused


def test_an_invalid_query_behaves_as_at_google(ran: tuple[str, dict[str, Any]]) -> None:
    """jobs.query answers 400, a job fails."""
    assert (400, "invalidQuery") == error_of(ran[1]["invalid"])
    assert (None, "invalidQuery") == error_of(ran[1]["invalidJob"])


def test_the_books_have_every_job_once(scene: Scene, ran: tuple[str, dict[str, Any]]) -> None:
    """Five queries ran, one failed; nothing is held."""
    project, _ = ran
    charges = [entry for entry in scene.booked(project) if entry["kind"] == "charge"]
    assert ["0.00", "0.42", "0.00", "9.00", "0.00"] == [entry["cost_usd"] for entry in charges]
    assert ["done"] * 4 + ["failed"] == [entry["outcome"] for entry in charges]
    assert {"spent_usd": "9.42", "held_usd": "0.00"} == scene.budget(project)


def query_once_more(node: str, url: str, project: str, sql: str) -> dict[str, Any]:
    """What the client ends with when it may try twice; its own default is four times, over fifteen seconds."""
    done = subprocess.run(
        [node, "one_query.mjs", url, project, sql], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_throttled_query_is_tried_again(node: str, crowded: Scene) -> None:
    """429 rateLimitExceeded: Node waits and comes again, and no try leaves a hold."""
    before = throttled(crowded)
    error = query_once_more(node, crowded.url, "crowd", "SELECT a FROM shop.t")
    assert (429, "rateLimitExceeded", "Exceeded rate limits:") == (
        error["code"],
        error["reason"],
        error["message"][:21],
    )
    assert throttled(crowded) - before == 2
    crowded.assert_nothing_booked("crowd")


def throttled(scene: Scene) -> int:
    """How often the gate decided to throttle."""
    text = requests.get(f"{scene.url}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("bqgate_decisions_total{") and '"throttle"' in line]
    return sum(int(float(line.split()[-1])) for line in lines)


def test_a_bigquery_that_does_not_answer_is_asked_again(node: str, scene: Scene, project: str) -> None:
    """503 backendError: the same, beside what the gate itself asks again."""
    scene.stack.sandbox.faults.add(Fault(status=503, path=f"/projects/{project}/"))
    error = query_once_more(node, scene.url, project, "SELECT 1")
    assert (503, "backendError") == (error["code"], error["reason"])
    log = (json.loads(line) for line in scene.stack.log.getvalue().splitlines())
    requests = [line for line in log if line["event"] == "request"]
    assert [503, 503] == [line["status"] for line in requests if f"/projects/{project}/" in line["path"]]
    scene.assert_nothing_booked(project)
