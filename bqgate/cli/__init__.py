"""Offer the command line: ``bqgate init | check-config | serve | keys | ledger | …``; docs/cli.md lists every command.

One file per command, of its name; each loads the settings, calls one room and turns what it raises into a sentence and
an exit status: 0 done, 1 something outside does not work, 2 the caller's mistake (arguments or settings), 130 Ctrl-C.
What may happen to any command becomes a sentence in edge.py; a traceback is a bug. A new command is one line of
COMMANDS, and what tests/house/test_commands_are_known.py then asks for.
"""

import sys
from functools import partial
from typing import Annotated

import typer

from bqgate import __version__
from bqgate.cli.edge import run
from bqgate.cli.listed import ListedCommand, ListingGroup

TRY = "Try it"
RUN = "Run a gate"
ASK = "Ask a running gate"
READ = "Read its database"

COMMANDS = (
    ListedCommand(TRY, "demo", "Show three customers' queries going through a gate."),
    ListedCommand(TRY, "sandbox", "Run a BigQuery stand-in that knows what queries cost."),
    ListedCommand(RUN, "init", "Write a settings file to begin with."),
    ListedCommand(RUN, "check-config", "Check the settings, and show all of them as they take effect."),
    ListedCommand(RUN, "doctor", "Check the settings and every system that the gate leans on."),
    ListedCommand(RUN, "migrate", "Create or upgrade the ledger's tables."),
    ListedCommand(RUN, "serve", "Run the gate until it is told to stop."),
    ListedCommand(RUN, "healthcheck", "Say whether the gate on this machine answers; for HEALTHCHECK."),
    ListedCommand(ASK, "spend", "Show spend by day, week or month."),
    ListedCommand(ASK, "jobs", "Jobs and refusals: what each cost, and why."),
    ListedCommand(ASK, "holds", "Holds: money set aside for queries that run."),
    ListedCommand(ASK, "breakers", "Cost breakers: customers who were stopped for the day."),
    ListedCommand(ASK, "keys", "Key files and tokens: who may call the gate."),
    ListedCommand(ASK, "customers", "Who pays, under which tier, and what they may touch."),
    ListedCommand(ASK, "tiers", "The limits that classes of customers share."),
    ListedCommand(ASK, "budgets", "Limits of customers, of some of their queries, of everybody."),
    ListedCommand(READ, "ledger", "Verify, prove and correct the ledger; read its audit log."),
)


class Commands(ListingGroup):
    """The commands of bqgate."""

    listed = COMMANDS


app = typer.Typer(
    name="bqgate",
    cls=Commands,
    help="A gate in front of BigQuery: every query is priced, held against a budget, and booked.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,  # its tracebacks show local variables, credentials among them
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer hands a flag's value over
    if wanted:
        typer.echo(f"bqgate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a command."""


def main() -> None:
    """Run a command, and end the process with its status; in help its name is bqgate, however it was started."""
    sys.exit(run(partial(app, prog_name="bqgate")))
