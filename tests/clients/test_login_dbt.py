"""dbt-bigquery logs in to the gate with a key file, and builds what it may build where customers are kept apart."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.login_scene import PROJECTS, HandedOut, LoginScene

PROJECT = Path(__file__).parent / "dbt"

# Where `make setup-dbt` has not run, the fixture installs dbt, or waits until another process has.
pytestmark = [pytest.mark.long, pytest.mark.timeout(700)]


def run_dbt(dbt: str, scene: LoginScene, key: HandedOut, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run dbt as the holder of a key."""
    environment = scene.environment(
        GATE_URL=scene.url,
        GATE_PROJECT=PROJECTS["acme"],
        GATE_KEY_FILE=key.path,
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
    )
    return subprocess.run(
        [dbt, "--no-use-colors", *words, "--profiles-dir", ".", "--target", "login"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_key_file_logs_in_and_builds_a_project(dbt: str, https_gate: LoginScene, tmp_path: Path) -> None:
    """Over https; every job is its customer's and bears the key's principal. A revoked key builds nothing."""
    folder = Path(shutil.copytree(PROJECT, tmp_path / "dbt"))
    key = https_gate.key_file("dbt")
    built = run_dbt(dbt, https_gate, key, folder, "build")
    assert built.returncode == 0, built.stdout[-3000:]
    results = json.loads((folder / "target" / "run_results.json").read_text())["results"]
    assert {"success", "pass"} == {result["status"] for result in results}
    booked = https_gate.booked("dbt")
    assert {"acme"} == set(booked)
    assert len(booked) >= len(results)
    https_gate.revoke(key)
    refused = run_dbt(dbt, https_gate, key, folder, "show", "--inline", "select 1")
    assert refused.returncode != 0
    assert "This key was revoked" in refused.stdout
    assert booked == https_gate.booked("dbt")
