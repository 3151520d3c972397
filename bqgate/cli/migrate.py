"""Create or upgrade the ledger's tables: ``bqgate migrate --config FILE``.

For PostgreSQL, before a new version of the gate starts. Exit status 1: the database did not answer or refused.
"""

import asyncio

import typer

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import ledger_told, load_or_exit


def migrate(config: ConfigFile = None) -> None:
    """Create or upgrade the ledger's tables."""
    from bqgate import ledger  # noqa: PLC0415 - SQLAlchemy and Alembic take half a second that check-config need not wait

    settings = load_or_exit(config, to_serve=False)
    with ledger_told(settings):
        asyncio.run(ledger.migrate(settings.ledger.url.reveal()))
    typer.echo(f"The ledger at {settings.ledger.url} has the tables of this version.")
