"""Keep the tests' files in memory where the machine has room: a disk that others keep busy takes seconds for a flush.

The ledger flushes at every commit, and what a gate answers when that takes too long has tests of its own. What these
files survive is the end of a process, for which memory is as good as a disk.
"""

import os
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are made by tempfile
_BYTES_MIN = 4 * 2**30


def pytest_configure() -> None:
    """Choose the folder for temporary files, for this process and those that it starts, unless somebody has."""
    if "TMPDIR" in os.environ or not _has_room(_MEMORY):
        return
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None  # what was asked before is forgotten


def _has_room(folder: Path) -> bool:
    """Whether files can be kept there, and programs among them run, as those of a virtual environment do."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    can_run = not found.f_flag & os.ST_NOEXEC
    return can_run and os.access(folder, os.W_OK) and found.f_bavail * found.f_frsize >= _BYTES_MIN
