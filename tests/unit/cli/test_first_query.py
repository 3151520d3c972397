"""The first query that the demo shows is a whole command, whatever the terminal and the folder."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bqgate.cli import demo_workload
from bqgate.cli.first_query import first_query_command
from tests.support.first_query import command_in


def command(python: str, folder: str) -> str:
    return first_query_command(
        python=Path(python), folder=Path(folder), url="http://127.0.0.1:8080", project="acme-prod"
    )


def test_a_python_below_the_readers_folder_is_named_shortly() -> None:
    """So that the line reads as the README's."""
    assert command("/home/ann/bqgate/.venv/bin/python", "/home/ann/bqgate").startswith("./.venv/bin/python - <<'END'\n")


def test_a_python_elsewhere_is_named_in_full_and_quoted() -> None:
    """A blank in a path does not end a word of the shell."""
    assert command("/opt/my tools/bin/python", "/home/ann").startswith("'/opt/my tools/bin/python' - <<'END'\n")


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_terminal_breaks_its_lines(width: int) -> None:
    """A line that was wrapped would be copied as two, and what stands in brackets is no markup."""
    written = io.StringIO()
    terminal = Console(file=written, width=width, force_terminal=True)
    demo_workload._say_where_to_look(terminal, url="http://127.0.0.1:8080", control_url="http://127.0.0.1:8080")
    expected = command(sys.executable, str(Path.cwd()))
    assert expected == command_in(written.getvalue())
