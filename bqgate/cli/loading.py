"""Load the settings for a command, or end it with every fault on standard error.

Called by every command that reads settings; `fail` and `refuse` by all. Exit status 2: the settings are wrong.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from bqgate.cli.edge import FAILED, INVALID
from bqgate.domain.errors import LedgerUnavailable
from bqgate.settings import Settings, SettingsInvalid, load_settings


def load_or_exit(path: Path | None, *, to_serve: bool = True) -> Settings:
    """The settings of a file (None: the built-in ones) below the environment.

    Warnings go to standard error. A command that serves nobody (`to_serve` False) needs no secrets of the gate, and is
    not warned of what is none of its business.
    """
    try:
        settings = load_settings(path, os.environ, to_serve=to_serve)
    except SettingsInvalid as invalid:
        refuse(str(path or "environment"), [str(fault) for fault in invalid.faults])
    for warning in settings.warnings if to_serve else ():
        typer.echo(f"warning: {warning}", err=True)
    return settings


def refuse(where: str, faults: Collection[str]) -> NoReturn:
    """End the command because what it is told cannot be used. `faults`: a line for each."""
    typer.echo(f"{where}: {len(faults)} {'fault' if len(faults) == 1 else 'faults'}", err=True)
    for fault in faults:
        typer.echo(f"  {fault}", err=True)
    raise typer.Exit(INVALID)


def fail(message: str) -> NoReturn:
    """End the command because something outside does not work."""
    typer.echo(f"bqgate: {message}", err=True)
    raise typer.Exit(FAILED)


@contextmanager
def ledger_told(settings: Settings) -> Iterator[None]:
    """End the command where the ledger's database does not let it go on."""
    try:
        yield
    except LedgerUnavailable as error:
        fail(f"ledger.url {settings.ledger.url}: {error} {error.remedy}".rstrip())
