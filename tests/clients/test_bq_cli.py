"""Google's command line `bq` against gate and sandbox, where it is on PATH."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.absent_tools import require_tool
from tests.support.client_scene import GIB, Scene

pytestmark = pytest.mark.long


Bq = Callable[..., subprocess.CompletedProcess[str]]
STANDARD = ("query", "--use_legacy_sql=false", "--nouse_cache")


@pytest.fixture
def bq(scene: Scene, project: str, tmp_path: Path) -> Bq:
    """Run bq without any account: a token on the command line, settings and caches in a folder of the test's own."""
    program = require_tool("bq", "install the Google Cloud CLI")
    environment = {**os.environ, "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")}

    def run(*arguments: str, url: str = scene.url) -> subprocess.CompletedProcess[str]:
        options = (
            "--api",
            url,
            "--oauth_access_token=a-token",
            f"--project_id={project}",
            "--headless",
            "--format=json",
        )
        return subprocess.run(
            [program, *options, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_queries_and_listings_work(scene: Scene, project: str, bq: Bq) -> None:
    """Query by jobs.insert and by --rpc, ls, and show -j of the job, which tells what was billed."""
    scene.declare(project, t=42)
    inserted = bq("--job_id=bq-job", *STANDARD, "SELECT COUNT(*) AS n FROM shop.t WHERE a IS NULL")
    assert [{"n": "0"}] == json.loads(inserted.stdout), inserted
    called = bq(*STANDARD, "--rpc", "SELECT 2 AS n")
    assert [{"n": "2"}] == json.loads(called.stdout), called
    assert ["t"] == [table["tableReference"]["tableId"] for table in json.loads(bq("ls", "shop").stdout)]
    job = json.loads(bq("show", "-j", "bq-job").stdout)
    assert str(42 * GIB) == job["statistics"]["query"]["totalBytesBilled"]
    first, second = scene.booked(project)
    assert ("bq-job", "0.42") == (first["job"]["job_id"], first["cost_usd"])
    assert job["configuration"]["labels"]["bqgate_hold"] == first["hold_id"]
    assert "0.00" == second["cost_usd"]


def test_a_dry_run_is_free(scene: Scene, project: str, bq: Bq) -> None:
    """It tells the bytes and books nothing."""
    scene.declare(project, huge=5_000)
    done = bq(*STANDARD, "--dry_run", "SELECT a FROM shop.huge")
    assert str(5_000 * GIB) == json.loads(done.stdout)["statistics"]["totalBytesProcessed"], done
    scene.assert_nothing_booked(project)


def test_a_refusal_is_shown_and_not_repeated(scene: Scene, project: str, bq: Bq) -> None:
    """Bq prints the gate's words and ends with a failure after one attempt."""
    scene.use_up(project)
    done = bq(*STANDARD, "SELECT a + 1 FROM shop.spent")
    words = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert f"Custom quota exceeded: customer {project} has used 9.99 of 10.00 USD today" in words
    assert ["budget_used_up"] == [entry["reason"] for entry in scene.booked(project) if entry["kind"] == "refusal"]


def test_a_file_is_loaded_below_a_workload(scene: Scene, project: str, bq: Bq, tmp_path: Path) -> None:
    """Bq takes the addresses of uploads from the discovery document; they lead to the gate and keep the workload."""
    scene.declare(project)
    file = tmp_path / "rows.csv"
    file.write_text("1,a\n2,b\n")
    url = f"{scene.url}/w/nightly"
    done = bq("load", "--source_format=CSV", "shop.f", str(file), "id:INTEGER,text:STRING", url=url)
    assert done.returncode == 0, done
    counted = bq(*STANDARD, "SELECT SUM(id) AS n FROM shop.f", url=url)
    assert [{"n": "3"}] == json.loads(counted.stdout), counted
    assert ["nightly"] == [entry["workload"] for entry in scene.booked(project)]
