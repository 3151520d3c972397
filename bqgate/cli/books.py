"""Open the books for a command, and end it in words and with status 2 where nobody can look.

Called by ledger_check and ledger_rerate, which share their options of time too. Both read the settings that the gate
runs with, and call BigQuery as it does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from bqgate.cli.edge import INVALID
from bqgate.cli.loading import ledger_told, load_or_exit
from bqgate.clock import SystemClock

if TYPE_CHECKING:
    from bqgate.app.books import Books

ResultT = TypeVar("ResultT")


def moment(text: str) -> datetime:
    """A moment or a day of UTC, as an option has it."""
    try:
        read = datetime.fromisoformat(text)
        return read.astimezone(UTC) if read.tzinfo is not None else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no moment like 2026-11-24 or 2026-11-24T12:00:00Z") from None


OfCustomer = Annotated[str | None, typer.Option(help="Of this customer; without it, of all.", show_default=False)]


def with_books(config: Path | None, work: "Callable[[Books], Awaitable[ResultT]]", *, customer: str | None) -> ResultT:
    """Do work on the books, of a customer or of all.

    Status 1: the database does not answer. 2: BigQuery cannot be asked, and why; or there is no such customer.
    """
    # Here, because SQLAlchemy takes half a second that other commands need not wait for.
    from bqgate.app.books import open_books  # noqa: PLC0415 - said above
    from bqgate.bigquery.credentials import CredentialsUnusable  # noqa: PLC0415 - the same
    from bqgate.policies.faults import PolicyFaults  # noqa: PLC0415 - the same

    settings = load_or_exit(config, to_serve=False)

    async def run() -> ResultT:
        async with open_books(settings, SystemClock()) as books:
            if customer is not None and not await books.knows(customer):
                raise typer.BadParameter(
                    f"nobody is called {customer!r}, and nothing is booked for one", param_hint="--customer"
                )
            return await work(books)

    try:
        with ledger_told(settings):
            return asyncio.run(run())
    except CredentialsUnusable as error:
        could_not_look(f"BigQuery cannot be asked: {error} {error.remedy}".rstrip())
    except PolicyFaults as faults:
        could_not_look("; ".join(str(faults).splitlines()))


def could_not_look(message: str) -> NoReturn:
    """End the command because nobody could look."""
    typer.echo(f"bqgate: {message}", err=True)
    raise typer.Exit(INVALID)
