import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.house.tree import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_types_hold() -> None:
    """Mypy finds nothing, strictly, in product and tests; in a new checkout that takes it a minute."""
    command: list[str | Path] = [Path(sysconfig.get_path("scripts")) / "mypy", "--no-error-summary"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
