import subprocess
import sysconfig
from pathlib import Path

from tests.house.tree import ROOT


def test_arrows_point_down() -> None:
    """The contracts in pyproject.toml are kept: bands, walls, no circles, and no room without a place."""
    command: list[str | Path] = [Path(sysconfig.get_path("scripts")) / "lint-imports", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
