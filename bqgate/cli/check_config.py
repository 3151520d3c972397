"""Check settings without starting anything: ``bqgate check-config FILE``.

The same code that `bqgate serve` runs. Exit status 0: they are good, and standard output is all of them as they take
effect, as YAML, secrets masked; 2: they are not, and standard error has every fault with its path and a remedy.
"""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from bqgate.cli.loading import load_or_exit


def check_config(
    file: Annotated[
        Path | None, typer.Argument(help="The YAML file. Without it, the built-in settings.", show_default=False)
    ] = None,
) -> None:
    """Check settings and print all of them as they take effect, secrets masked."""
    settings = load_or_exit(file)
    typer.echo(yaml.safe_dump(dict(settings.effective), sort_keys=False, allow_unicode=True), nl=False)
