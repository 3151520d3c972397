"""Write the ledger's entries as Parquet: ``bqgate ledger export --to DIR|gs://…|s3://…``.

Called through cli.ledger. Reads one snapshot while gates go on, of the ledger's replica where it has one that answers.
Exit status 1: the database did not answer, or the files cannot be written; 2: wrong arguments, or the extra `parquet`
is not installed.
"""

from datetime import UTC, date, datetime
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import fail, ledger_told, load_or_exit
from bqgate.domain.errors import LedgerUnavailable
from bqgate.settings import Settings


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day like 2026-11-24") from None


def export(
    to: Annotated[
        str,
        typer.Option(metavar="DIR", help="A folder, gs://bucket/prefix, or s3://bucket/prefix.", show_default=False),
    ],
    config: ConfigFile = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=_day, metavar="DAY", help="The first day, in UTC; without it, from the first entry."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=_day, metavar="DAY", help="The day behind the last, in UTC; without it, to the last entry."
        ),
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's entries.")] = None,
) -> None:
    """Write entries as Parquet, a folder for each UTC day. Doing it again writes the same files.

    Whole days are written, so that a day's folder is right whenever it was written last; write the last days again to
    have what was booked late. A folder is for one customer, or for all.
    """
    if to in {"", "-"}:
        raise typer.BadParameter("name a folder: there is a file for each day", param_hint="--to")
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    if find_spec("pyarrow") is None:
        raise typer.BadParameter("Parquet needs the extra parquet: pip install 'bqgate[parquet]'", param_hint="--to")
    from bqgate.exports.parquet_files import ExportFailed, without_login, write_days  # noqa: PLC0415 - pyarrow is an extra
    from bqgate.ledger.entry_stream import stream_entries  # noqa: PLC0415 - SQLAlchemy takes half a second

    settings = load_or_exit(config, to_serve=False)
    console = Console(stderr=True)
    with (
        ledger_told(settings),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("Writing rows", total=None)
        entries = stream_entries(_readable(settings), since=since, until=until, customer=customer)
        try:
            outcome = write_days(
                entries, to, customer=customer, on_rows=lambda rows: progress.update(task, completed=rows)
            )
        except ExportFailed as failed:
            fail(str(failed))
    typer.echo(f"{outcome.rows} entries of {outcome.days} days are in {outcome.files} files below {without_login(to)}.")


def _readable(settings: Settings) -> str:
    """The URL of the ledger's replica, where there is one that answers, else of the ledger.

    Raises:
        LedgerUnavailable: neither answers, or its tables are of another version.
    """
    from bqgate.ledger import check_revision_now  # noqa: PLC0415 - half a second

    replica = settings.ledger.replica_url
    if replica is not None:
        try:
            check_revision_now(replica.reveal())
        except LedgerUnavailable as error:
            typer.echo(f"{error} The ledger itself is read.", err=True)
        else:
            return replica.reveal()
    url = settings.ledger.url.reveal()
    check_revision_now(url)
    return url
