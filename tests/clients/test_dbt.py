"""dbt-bigquery builds a small project through the gate; `make setup-dbt` installs it, else the fixture does."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.client_scene import Scene

PROJECT = Path(__file__).parent / "dbt"

# Where `make setup-dbt` has not run, the fixture installs dbt, or waits until another process has.
pytestmark = [pytest.mark.long, pytest.mark.timeout(700)]


def build(dbt: str, scene: Scene, project: str, folder: Path) -> dict[str, Any]:
    """Run `dbt build`; the results by the last part of each node's name."""
    environment = {
        **os.environ,
        "GATE_URL": f"{scene.url}/w/dbt",
        "GATE_PROJECT": project,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    done = subprocess.run(
        [dbt, "--no-use-colors", "build", "--profiles-dir", "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    results = json.loads((folder / "target" / "run_results.json").read_text())["results"]
    return {result["unique_id"].split(".")[2]: result for result in results}


def test_a_project_is_built_and_rebuilt(dbt: str, scene: Scene, project: str, tmp_path: Path) -> None:
    """Seed, table, incremental model, view and tests pass, twice; every job is booked with its cost."""
    folder = Path(shutil.copytree(PROJECT, tmp_path / "dbt"))
    first = build(dbt, scene, project, folder)
    assert {"success", "pass"} == {result["status"] for result in first.values()}
    assert (7, "CREATE TABLE", 975) == (
        len(first),
        first["departures"]["adapter_response"]["code"],
        first["departures"]["adapter_response"]["rows_affected"],
    )
    kinds = Counter(entry["statement_type"] for entry in scene.booked(project))
    assert (2, 1, 1) == (kinds["CREATE_TABLE_AS_SELECT"], kinds["CREATE_VIEW"], kinds["ALTER_TABLE"])

    second = build(dbt, scene, project, folder)
    assert "MERGE" == second["daily_flights"]["adapter_response"]["code"]
    entries = scene.booked(project)
    assert {("charge", "done", "dbt")} == {(entry["kind"], entry["outcome"], entry["workload"]) for entry in entries}
    booked = {entry["job"]["job_id"]: entry["bytes_billed"] for entry in entries}
    told = [result["adapter_response"] for result in (*first.values(), *second.values())]
    billed = {one["job_id"]: one["bytes_billed"] for one in told if "bytes_billed" in one}
    assert billed.items() <= booked.items()
    assert len(booked) == len(entries)
    assert all(float(entry["cost_usd"]) > 0 for entry in entries if entry["bytes_billed"])


def test_a_refused_model_fails_with_the_gates_words(dbt: str, scene: Scene, project: str, tmp_path: Path) -> None:
    """A model too dear for the day fails once, with the reason; dbt does not retry it."""
    scene.declare(project, huge=5_000)
    folder = Path(shutil.copytree(PROJECT, tmp_path / "dbt"))
    (folder / "models" / "departures.sql").write_text("select a from shop.huge")
    with pytest.raises(AssertionError, match="Query exceeded limit for bytes billed"):
        build(dbt, scene, project, folder)
    refused = [entry["reason"] for entry in scene.booked(project) if entry["kind"] == "refusal"]
    assert ["query_too_big"] == refused
