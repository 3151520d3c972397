"""Create or upgrade the ledger's tables: ``bqgate migrate --config FILE``.

For PostgreSQL, before a new version of the gate starts. Exit status 1: the database did not answer or refused.
"""

import asyncio

import typer

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import fail, load_or_exit
from bqgate.domain.errors import LedgerUnavailable


def migrate(config: ConfigFile = None) -> None:
    """Create or upgrade the ledger's tables."""
    from bqgate import ledger  # noqa: PLC0415 - SQLAlchemy and Alembic take half a second that check-config need not wait

    url = load_or_exit(config, to_serve=False).ledger.url
    try:
        asyncio.run(ledger.migrate(url.reveal()))
    except (LedgerUnavailable, ValueError) as error:
        fail(f"ledger.url {url}: {error}")
    typer.echo(f"The ledger at {url} has the tables of this version.")
