"""The wheel as a user gets it, in fresh environments without the checkout. Part of `make smoke`, not of `make test`.

Each row of COMMANDS is one command line and what it must print; further commands are added there.
"""

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files
from tests.support.demo_table import EXPECTED, decisions_in
from tests.support.free_ports import free_port

pytestmark = pytest.mark.timeout(1_800)

COMMANDS = [
    (("--version",), "bqgate "),
    (("--help",), "check-config"),
    (("init", "first.yaml"), "Wrote first.yaml"),
    (("check-config", "first.yaml"), "http://127.0.0.1:9050"),
    (("init", "--all-keys", "-"), "headroom_ratio"),
    (("serve", "--help"), "--config"),
    (("check-config",), "usd_per_tib"),
    (("migrate",), "sqlite:///bqgate.db"),
]


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and an empty folder to work in."""

    python: Path
    folder: Path

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program there; nothing of this checkout or of the caller's settings is seen."""
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BQGATE_", "PYTHON", "VIRTUAL_ENV"))
        }
        return subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)

    def bqgate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.python.parent / "bqgate", *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True)
    [built] = folder.glob("bqgate-*.whl")
    return built


def install(what: str, python: Path) -> None:
    """Bring a wheel into an environment, with what it says that it needs."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), what], check=True)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel without any extra, in a fresh environment of this Python."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install(str(wheel), python)
    (folder / "empty").mkdir()
    return Installed(python, folder / "empty")


def test_the_wheel_has_everything_that_the_package_has(wheel: Path) -> None:
    """Lua scripts, migrations, pages, marks for type checkers: no file of the package stays behind."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {name for name in files() if name.startswith("bqgate/")} - held == set()
    assert "bqgate/config/prices.yaml" in held
    assert not [name for name in held if not name.startswith(("bqgate/", "bqgate-"))]


def test_the_package_comes_from_the_wheel(bare: Installed) -> None:
    """The list prices are read from where it is installed, not from a checkout."""
    script = "from bqgate.settings.prices import load_price_tables as load, prices_path as at; load(at()); print(at())"
    done = bare.run(bare.python, "-c", script)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(bare.python.parents[1])


@pytest.mark.parametrize(("arguments", "expected"), COMMANDS, ids=[" ".join(command[0]) for command in COMMANDS])
def test_a_command_runs_without_any_extra(bare: Installed, arguments: tuple[str, ...], expected: str) -> None:
    """Each ends with status 0, says what it is to say, and shows no traceback."""
    done = bare.bqgate(*arguments)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "Traceback" not in done.stderr


def test_the_shipped_cost_metrics_are_found_by_name(bare: Installed) -> None:
    """As entry points of the package, which a checkout on the path would not have."""
    script = "from bqgate.metering.loading import load_metric as load; load('storage', {}); load('streaming', {})"
    done = bare.run(bare.python, "-c", script)
    assert done.returncode == 0, done.stderr


def test_a_gate_serves_and_is_healthy_without_any_extra(bare: Installed) -> None:
    """What is installed is a whole gate: it listens, answers, and ends in order."""
    environ = {"PATH": os.environ["PATH"], "BQGATE_SERVER__PORT": str(free_port())}
    program = bare.python.parent / "bqgate"
    with subprocess.Popen([program, "serve"], cwd=bare.folder, env=environ, stdout=subprocess.PIPE, text=True) as gate:
        try:
            assert gate.stdout is not None
            assert gate.stdout.readline().startswith("bqgate listens at http://127.0.0.1:")
            done = subprocess.run([program, "healthcheck"], env=environ, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
        finally:
            gate.terminate()
        assert gate.wait(60) == 0


def test_an_extra_that_is_missing_is_named(bare: Installed) -> None:
    """The demo says how to install what it needs."""
    done = bare.bqgate("demo", "--once")
    assert done.returncode == 1
    assert "pip install 'bqgate[sandbox]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_runs_with_its_extra_alone(wheel: Path, bare: Installed) -> None:
    """With `sandbox` and nothing else, the demo shows its table on this Python."""
    # The last test of this file, because it adds to what is bare; a second environment would take a minute more.
    install(f"{wheel}[sandbox]", bare.python)
    done = bare.bqgate("demo", "--once", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert decisions_in(done.stdout) == EXPECTED
