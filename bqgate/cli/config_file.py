"""Name the settings file, for every command that reads settings: ``--config``, ``-c`` or BQGATE_CONFIG.

Used by serve, check-config, doctor, migrate, ledger and keys, so that all of them look at the file that the gate runs
with.
"""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="BQGATE_CONFIG",
        metavar="FILE",
        help="Settings file in YAML; without one, the built-in settings.",
        show_default=False,
    ),
]
