"""Look at everything a gate leans on, and say what is wrong and how to mend it: ``bqgate doctor --config FILE``.

One line for each check, in the order in which a gate needs them; nothing is changed but that SQLite may write beside
its file. The checks themselves are in doctor_checks.py. Exit status 0: a gate with these settings can serve; 1: it can
not, or not well.
"""

import asyncio
import os
from typing import Annotated

import typer

from bqgate.cli.client import read_token_stdin
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.edge import FAILED
from bqgate.clock import SystemClock
from bqgate.settings import SettingsInvalid, load_settings


def doctor(
    *,
    config: ConfigFile = None,
    project: Annotated[
        str | None,
        typer.Option(help="Project to try a dry run in; without it, each customer's.", show_default=False),
    ] = None,
    token_stdin: Annotated[
        bool,
        typer.Option("--token-stdin", help="Try as a caller, with the Google access token on standard input."),
    ] = False,
) -> None:
    """Check the settings and every system that the gate leans on.

    It fetches a token and makes dry runs, which cost nothing, with the credentials that the gate would use.
    """
    token = read_token_stdin() if token_stdin else None
    try:
        settings = load_settings(config, os.environ)
    except SettingsInvalid as invalid:
        _print("✗", "settings", "; ".join(str(fault) for fault in invalid.faults))
        _print(
            "→", "", "mend them (`bqgate check-config` shows the same); without good settings nothing else is checked"
        )
        raise typer.Exit(FAILED) from None
    _print("✓", "settings", f"{config or 'built in'}, with the environment over them")
    for warning in settings.warnings:
        _print("!", "", warning)
    from bqgate.cli.doctor_checks import findings_of  # noqa: PLC0415 - loads SQLAlchemy and requests, which bad settings need not wait for

    async def check_all() -> bool:
        is_well = True
        async for finding in findings_of(settings, SystemClock(), project=project, token=token):
            _print({True: "✓", False: "✗", None: "-"}[finding.is_good], finding.subject, finding.said)
            if finding.remedy:
                _print("→", "", finding.remedy)
            is_well = is_well and finding.is_good is not False
        return is_well

    if not asyncio.run(check_all()):
        raise typer.Exit(FAILED)


def _print(mark: str, subject: str, said: str) -> None:
    typer.echo(f"{mark} {subject:<12} {said}" if subject else f"  {'':<12} {mark} {said}")
