"""Find or install the clients that are no Python packages of ours; skip their tests loudly where that cannot be.

Where CI=true a client that is there must run, so what would be a skip is a failure.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def require_tool(name: str, remedy: str) -> str:
    """The path of a program on PATH; the test is skipped without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH, so its test is SKIPPED: {remedy}")
    return found


def give_up(what: str) -> None:
    """A client that is there cannot be made to run: a failure under CI=true, elsewhere a loud skip."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(what)
    pytest.skip(f"SKIPPED: {what}")


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Let no two test processes install the same client at once."""
    with (Path(tempfile.gettempdir()) / f"bqgate-tests-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
