"""Show the gate at work on this machine: ``bqgate demo``. The queries are in demo_workload.py.

Needs the extra `sandbox`; where it is not installed, says how to install it, exit status 1, as for a port that is
taken. Ctrl-C ends it with 0.
"""

import asyncio
from typing import Annotated

import typer

from bqgate.cli.loading import fail
from bqgate.cli.sandbox import require_sandbox


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the table instead of staying up.")] = False,  # noqa: FBT002 - typer's way to say a flag
    port: Annotated[int, typer.Option(help="Port of the gate; 0 takes a free one.", min=0, max=65535)] = 8080,
) -> None:
    """Show three customers' queries going through a gate.

    Real queries, sent by Google's own client through a gate to a BigQuery stand-in; a table says what became of each.
    """
    require_sandbox()
    from bqgate.app import CannotListen  # noqa: PLC0415 - the whole gate takes a second to import
    from bqgate.cli.demo_workload import run_demo  # noqa: PLC0415 - needs the extra

    try:
        asyncio.run(run_demo(port=port, once=once))
    except CannotListen as error:
        fail(f"--port: {error}. {error.remedy}")
    except KeyboardInterrupt:
        typer.echo("The demo has ended.")
