"""Walk a newcomer's path and time it: clone, the README's lines, an own query's rows, with no package at hand.

Not part of the suite, because it downloads everything anew: `pytest -q -s tests/smoke/first_query.py`. The Python is
that in PYTHON, as for make. It prints how long each step took.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.doc_blocks import GATE_URL, ROOT, block
from tests.support.first_query import command_in

LIMIT_S = 180
AIRLINE = "9E Endeavor Air Inc."


@pytest.mark.timeout(900)
def test_a_clone_shows_rows_of_an_own_query_within_three_minutes(tmp_path: Path) -> None:
    """By the README's lines alone; what the demo says to copy works as well."""
    began_s = time.monotonic()  # noqa: TID251 - what a person waits is what is measured
    clone = tmp_path / "bqgate"
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(clone)], check=True, timeout=60)
    with demo(clone, tmp_path / "pip-cache") as said:
        up_s = time.monotonic() - began_s  # noqa: TID251 - the same
        command = command_in(said)
        own = block("README.md#run-your-own-query.1").at(gate_url_in(command))
        assert AIRLINE in printed_by(own, clone)
        took_s = time.monotonic() - began_s  # noqa: TID251 - the same
        assert AIRLINE in printed_by(command, clone)
    print(f"\nfrom the clone to the demo's hint {up_s:.0f} s, to the first rows {took_s:.0f} s")  # noqa: T201 - told to people
    assert took_s < LIMIT_S


@contextmanager
def demo(clone: Path, cache: Path) -> Iterator[str]:
    """The README's first line, in the clone; what it has said once it stays up. The port is a free one."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    }
    environment |= {"PIP_CACHE_DIR": str(cache), "ARGS": "--port 0"}
    assert shutil.which("make"), "make is not on PATH"
    with subprocess.Popen(
        ["sh", "-c", block("README.md#see-it-work.1").text],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ctrl-C ends it." in line:
                    break
            else:
                pytest.fail(f"the demo ended: {''.join(said)}")
            yield "".join(said)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=30)  # what it says at its end must find a reader


def gate_url_in(command: str) -> str:
    """Where the demo's gate is."""
    return next(word.strip('"},') for word in command.split() if word.startswith('"http://'))


def printed_by(command: str, folder: Path) -> str:
    """What a shell prints for it."""
    assert GATE_URL not in command
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
