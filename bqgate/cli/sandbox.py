"""Run the BigQuery stand-in: ``bqgate sandbox --port 9050``.

Needs the extra `sandbox`; where it is not installed, says how to install it, exit status 1. The options are those of
``python -m bqgate.sandbox``; they are declared here too, because help must be there without the extra.
"""

import importlib.util
import math
from pathlib import Path
from typing import Annotated

import typer

from bqgate.cli.loading import fail

# What the extra brings for the sandbox itself; the example data's package is looked for where it is read.
_NEEDED = ("duckdb", "pandas", "pyarrow", "sqlglot")


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

    if not math.isfinite(time_scale):
        raise typer.BadParameter("say a number", param_hint="--time-scale")
    settings = SandboxSettings(host=host, port=port, data=data, time_scale=time_scale, query_cache=not no_cache)
    raise typer.Exit(run(settings))


def require_sandbox() -> None:
    """End the command with the remedy where the extra is missing."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        fail("the sandbox needs the extra `sandbox`; install it: pip install 'bqgate[sandbox]'")
