"""Run the BigQuery stand-in: ``bqgate sandbox --port 9050``. Arguments go to the sandbox as they are.

Needs the extra `sandbox`; where it is not installed, says how to install it, exit status 1.
"""

import importlib.util

import typer

from bqgate.cli.loading import fail

# One package of the extra stands for all of them.
_NEEDED = "duckdb"


def sandbox(context: typer.Context) -> None:
    """Run a BigQuery stand-in with a cost model (--help for its options)."""
    require_sandbox()
    from bqgate.sandbox.__main__ import main  # noqa: PLC0415 - an extra, which may not be installed

    raise typer.Exit(main(context.args))


def require_sandbox() -> None:
    """End the command with the remedy where the extra is missing."""
    if importlib.util.find_spec(_NEEDED) is None:
        fail("the sandbox needs the extra `sandbox`; install it: pip install 'bqgate[sandbox]'")
