"""Check settings without starting anything: ``bqgate check-config FILE``, or the file that `bqgate serve` would read.

The same code that `bqgate serve` runs, on the same file: --config, BQGATE_CONFIG, or FILE as an argument, which beats
the variable as --config does. Exit status 0: they are good, and standard output is all of them as they take effect, as
YAML, secrets masked, below a comment that says what was read; 2: they are not, and standard error has every fault with
its path and a remedy.
"""

import os
from pathlib import Path
from typing import Annotated

import typer
import yaml

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import load_or_exit
from bqgate.settings.document import variables_of
from bqgate.settings.sweep_rules import why_no_sweep


def check_config(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The settings file, instead of --config FILE.", show_default=False),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Check the settings, and show all of them as they take effect.

    Secrets and passwords are masked. Without a file the built-in settings are checked, below the environment.
    """
    source = context.get_parameter_source("config")
    is_option = source is not None and source.name == "COMMANDLINE"
    if file is not None and is_option and config is not None and config.resolve() != file.resolve():
        raise typer.BadParameter(f"{config} and {file} are two files; name one", param_hint="--config and FILE")
    checked = file or config
    settings = load_or_exit(checked)
    typer.echo(f"# {_sources(checked)}")
    reason = why_no_sweep(settings.upstream, settings.sweep)
    if reason is not None:
        typer.echo(f"# No sweep: {reason}.")
    typer.echo(yaml.safe_dump(dict(settings.effective), sort_keys=False, allow_unicode=True), nl=False)


def _sources(file: Path | None) -> str:
    """What was read, in one line: a variable that is forgotten explains much."""
    read = (
        "No file is named (--config, BQGATE_CONFIG): the built-in settings" if file is None else f"Settings of {file}"
    )
    variables = variables_of(os.environ)
    return f"{read}, overridden by {', '.join(variables)}." if variables else f"{read}."
