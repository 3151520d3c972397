"""Give the tests with real clients one stack to share and a project of their own each."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.absent_tools import give_up, one_at_a_time, require_tool
from tests.support.client_scene import Scene, open_scene
from tests.support.login_scene import LoginScene, open_login_scene

NODE_FOLDER = Path(__file__).parent / "node"
# Clients whose packages would change ours live apart: dbt wants other versions, and one that ibis brings changes what
# the others do.
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Sandbox and gate, shared by all tests of the session."""
    with open_scene(tmp_path_factory.mktemp("clients")) as opened:
        yield opened


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gate whose waiting room has no place, and a project `crowd` that is throttled from the first cent on."""
    tier = {"daily_usd": "10", "monthly_usd": "300", "emergency_usd": "50", "throttle_wait_ms": 2_000}
    document = {
        "admission": {"waiting_max": 0},
        "tiers": {"tight": {**tier, "thresholds": [{"used_ratio": "0.0001", "action": "throttle"}]}},
        "customers": {"crowd": {"tier": "tight", "projects": ["crowd"]}},
    }
    with open_scene(tmp_path_factory.mktemp("crowded"), document) as opened:
        opened.declare("crowd", t=10)
        yield opened


@pytest.fixture
def project(scene: Scene) -> str:
    """A project, and customer, of the test's own."""
    return scene.new_project()


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginScene]:
    """A gate that asks everybody who they are."""
    with open_login_scene(tmp_path_factory.mktemp("login")) as opened:
        yield opened


@pytest.fixture(scope="session")
def https_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginScene]:
    """Another, behind a certificate that only those trust who were told of it."""
    with open_login_scene(tmp_path_factory.mktemp("https"), is_https=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def node() -> str:
    """Node 18 or newer, with the client installed."""
    program = require_tool("node", "install Node 18 or newer")
    npm = require_tool("npm", "install npm")
    with one_at_a_time("node"):
        if not (NODE_FOLDER / "node_modules" / "@google-cloud" / "bigquery" / "package.json").exists():
            command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
            done = subprocess.run(command, cwd=NODE_FOLDER, capture_output=True, text=True, timeout=100, check=False)
            if done.returncode:
                give_up(f"npm cannot install @google-cloud/bigquery: {done.stderr[-500:]}")
    return program


@pytest.fixture(scope="session")
def dbt() -> str:
    """The program dbt, installed when it is not there."""
    return environment_of_its_own(".venv-dbt", "dbt", "constraints-dbt.txt", "dbt-core<1.12", "dbt-bigquery<1.12")


@pytest.fixture(scope="session")
def storage_python() -> str:
    """A Python beside whose clients google-cloud-bigquery-storage is installed, ibis among them."""
    return environment_of_its_own(
        ".venv-ibis",
        "python",
        "constraints-ibis.txt",
        "bigquery-magics",
        "google-cloud-bigquery-storage",
        "ibis-framework[bigquery]",
        "pandas-gbq",
        "sqlalchemy-bigquery",
    )


def environment_of_its_own(name: str, program: str, constraints: str, *wanted: str) -> str:
    """A program of a virtual environment beside ours, which is made when it is not there."""
    folder = ROOT / name
    stamp, found = folder / ".set-up", folder / "bin" / program
    with one_at_a_time(name):
        if not stamp.exists():
            pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            for command in (
                (sys.executable, "-m", "venv", str(folder)),
                (*pip, "--constraint", str(ROOT / constraints), *wanted),
            ):
                done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
                if done.returncode:
                    give_up(f"{name} cannot be made: {done.stderr[-500:]}")
            stamp.touch()
    return str(found)
