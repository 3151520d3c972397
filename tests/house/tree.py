"""Find what the house rules look at: every file of the project, and every function in its Python.

Called by the tests of this folder alone. Works from git's list where there is one (with files that are not added yet),
else from the folder, for a source archive without git.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef

_MADE_BY_TOOLS = re.compile(
    r"(^|/)(\.[a-z_-]+_cache|\.venv[^/]*|__pycache__|node_modules|dist|\.git|\.hypothesis)(/|$)"
)


@dataclass(frozen=True)
class Source:
    """One Python file."""

    name: str
    text: str
    tree: ast.Module

    @property
    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    @property
    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


@cache
def files() -> tuple[str, ...]:
    """Names of all files of the project, from its top, with slashes."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
    return tuple(name for name in sorted(set(listed)) if not _MADE_BY_TOOLS.search(name) and (ROOT / name).is_file())


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Name and content of every file that is text."""
    found = []
    for name in files():
        raw = (ROOT / name).read_bytes()
        if b"\0" not in raw[:4096]:
            found.append((name, raw.decode("utf-8", errors="replace")))
    return tuple(found)


@cache
def sources(top: str) -> tuple[Source, ...]:
    """The Python below a folder of the project."""
    return tuple(
        Source(name, text, ast.parse(text, name))
        for name, text in texts()
        if name.startswith(f"{top}/") and name.endswith(".py")
    )
