"""Run the BigQuery stand-in: ``bqgate sandbox --port 9050``.

Needs the extra `sandbox`; where it is not installed, says how to install it, exit status 1. The options are those of
``python -m bqgate.sandbox``; they are declared here too, because help must be there without the extra.
"""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from bqgate.cli.loading import fail

# One package of the extra stands for all of them.
_NEEDED = "duckdb"


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 9050,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="FOLDER",
            help="Folder with a sub-folder of CSV or Parquet files for each dataset; without it, the example data.",
            show_default=False,
        ),
    ] = None,
    time_scale: Annotated[
        float,
        typer.Option(min=0, help="How long jobs take: 0 ends them at once, 1 is about as long as at Google."),
    ] = 1.0,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Never serve a finished result again.")] = False,
) -> None:
    """Run a BigQuery stand-in that knows what queries cost."""
    require_sandbox()
    from bqgate.sandbox import SandboxSettings  # noqa: PLC0415 - an extra, which may not be installed
    from bqgate.sandbox.__main__ import run  # noqa: PLC0415 - the same

    settings = SandboxSettings(host=host, port=port, data=data, time_scale=time_scale, query_cache=not no_cache)
    raise typer.Exit(run(settings))


def require_sandbox() -> None:
    """End the command with the remedy where the extra is missing."""
    if importlib.util.find_spec(_NEEDED) is None:
        fail("the sandbox needs the extra `sandbox`; install it: pip install 'bqgate[sandbox]'")
