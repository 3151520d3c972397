"""What a starting gate imports."""

import subprocess
import sys

HEAVY = [
    *("alembic", "google.auth", "google.cloud", "jwt", "markdown_it", "pandas", "psycopg", "pyarrow"),
    *("requests", "sqlglot", "typer.rich_utils", "urllib3"),
]


def test_a_gate_without_keys_and_postgresql_imports_none_of_their_libraries() -> None:
    """They would take half of its start and of its memory; each is imported where the settings ask for it.

    All but Redis's, and what that brings, which pybreaker imports.
    """
    script = "import sys, bqgate.cli.serve, bqgate.app; print([name for name in %r if name in sys.modules])"
    command = [sys.executable, "-c", script % HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
