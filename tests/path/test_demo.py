import subprocess
import sys
from pathlib import Path

from tests.support.demo_table import EXPECTED, costs_in, decisions_in


def test_the_demo_shows_every_decision_and_ends(tmp_path: Path) -> None:
    """One command without arguments of anybody's: real flights, ten queries, each with its decision and its cost."""
    command = [sys.executable, "-m", "bqgate", "demo", "--once", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert decisions_in(done.stdout) == EXPECTED
    costs = costs_in(done.stdout)
    # A text of two letters counts four bytes, a number eight, on 336,776 flights of 100,000 rows each, less gaps.
    assert costs["delays by carrier"] == "2.2597"
    assert costs["the same again"] == costs["longest flight + 3"] == "0.00"
