"""Prove the ledger against BigQuery: ``bqgate ledger check --config FILE``.

Exit status 0: every job is booked once, at its cost, and nothing else is. 1: something differs, or the database did not
answer. 2: not everything could be looked at or proved, or wrong arguments.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from bqgate.cli.books import OfCustomer, moment, with_books
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.edge import FAILED, INVALID
from bqgate.cli.job_names import name_of
from bqgate.cli.tables import AsJson, print_json, print_list
from bqgate.clock import SystemClock
from bqgate.domain.money import format_usd

if TYPE_CHECKING:
    from bqgate.app.books import Books
    from bqgate.settlement.proof import CheckReport, CheckSpan, Difference

# What ended a moment ago is being booked.
_SETTLED = timedelta(minutes=10)
_SHOWN_OF_A_CAUSE = 20
_COLUMNS = ("customer", "principal", "job", "created_at", "bigquery_usd", "ledger_usd", "missing_usd", "entry_id")


def check(
    config: ConfigFile = None,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="MOMENT",
            help="Jobs made from this moment on; without it, of a day.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="MOMENT",
            help="Jobs made before this moment; without it, until ten minutes ago.",
            show_default=False,
        ),
    ] = None,
    customer: OfCustomer = None,
    project: Annotated[
        str | None, typer.Option(help="In this project; without it, in all that anybody has.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that the ledger has what BigQuery ran: each job once, at its cost, and nothing else.

    BigQuery's jobs are listed with the gate's own credentials, which is free and needs the role BigQuery Resource
    Viewer. Nothing is changed. Exit status 0: they are equal. 1: they differ. 2: they do not, as
    far as this could look, and that was not everywhere.
    """
    from bqgate.settlement.proof import CheckSpan  # noqa: PLC0415 - loads what other commands need not wait for

    now = SystemClock().now()
    end = until or now - _SETTLED
    span = CheckSpan(since or end - timedelta(days=1), end, customer, project)
    if span.since >= span.until:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    if span.since >= now:
        raise typer.BadParameter("no job has been made yet in that time", param_hint="--since, --until")
    report = with_books(config, lambda books: _look(books, span), customer=customer)
    if as_json:
        print_json(_document(span, report))
    else:
        _print(span, report)
    if report.causes:
        raise typer.Exit(FAILED)
    if not report.is_whole:
        raise typer.Exit(INVALID)


async def _look(books: "Books", span: "CheckSpan") -> "CheckReport":
    """Check, and on a terminal show how far it is; the report on standard output stays clean."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Jobs", total=1.0)

        def show(project_id: str, done: float) -> None:
            progress.update(task, completed=done, description=project_id)

        return await books.check.check(span, on_piece=show)


def _document(span: "CheckSpan", report: "CheckReport") -> dict[str, Any]:
    return {
        "since": _written(span.since),
        "until": _written(span.until),
        "projects": report.projects,
        "not_looked_at": [
            {"project_id": each.project_id, "why": each.why, "remedy": each.remedy} for each in report.not_looked
        ],
        "bigquery_usd": format_usd(report.bigquery_nanos),
        "ledger_usd": format_usd(report.ledger_nanos),
        "missing_usd": format_usd(report.bigquery_nanos - report.ledger_nanos),
        "jobs": {
            "listed": report.listed_count,
            "equal": report.equal_count,
            "free": report.free_count,
            "running": report.running_count,
            "of_customers_that_are_off": report.off_count,
        },
        "not_proved": {each.name.lower(): count for each, count in report.unproven.items()},
        "not_proved_usd": format_usd(report.unproven_nanos),
        "causes": {
            each.name.lower(): {"count": count, "missing_usd": format_usd(report.missing_nanos[each])}
            for each, count in report.causes.items()
        },
        "differences": [{"cause": each.cause.name.lower(), **_row(each)} for each in report.differences],
        "differences_left_out": report.left_out_count,
    }


def _print(span: "CheckSpan", report: "CheckReport") -> None:
    typer.echo(f"Jobs made from {_written(span.since)} to {_written(span.until)} in {len(report.projects)} projects")
    sums: list[Mapping[str, Any]] = [
        {"of": "BigQuery", "usd": format_usd(report.bigquery_nanos)},
        {"of": "the ledger", "usd": format_usd(report.ledger_nanos)},
        {"of": "missing in the ledger", "usd": format_usd(report.bigquery_nanos - report.ledger_nanos)},
    ]
    print_list(sums, ("of", "usd"), as_json=False)
    typer.echo(
        f"{report.equal_count} jobs are booked at their cost; {report.free_count} cost nothing, "
        f"{report.running_count} still run, {report.off_count} are of customers whose budgets are off."
    )
    for why, count in report.unproven.items():
        typer.echo(f"Not proved: {count} jobs: {why}.")
    if report.unproven:
        typer.echo(f"  These are booked at {format_usd(report.unproven_nanos)} dollars together.")
    for cause, count in report.causes.most_common():
        typer.echo(f"\nDIFFERENT: {count} times: {cause}. Missing: {format_usd(report.missing_nanos[cause])} dollars.")
        kept = [each for each in report.differences if each.cause is cause][:_SHOWN_OF_A_CAUSE]
        print_list([{**_row(each), "job": name_of(_row(each)["job"])} for each in kept], _COLUMNS, as_json=False)
        if count > len(kept):
            typer.echo(f"… and {count - len(kept)} more; --json has {len(report.differences)} differences.")
    for each in report.not_looked:
        remedy = f" {each.remedy[:1].upper()}{each.remedy[1:]}." if each.remedy else ""
        typer.echo(f"NOT LOOKED AT: {each.project_id}: {each.why}.{remedy}")
    if not report.causes:
        typer.echo("They are equal." if report.is_whole else "No difference, as far as this could look: no proof.")


def _row(difference: "Difference") -> dict[str, Any]:
    job = difference.job
    return {
        "customer": difference.customer,
        "principal": difference.principal,
        "job": None if job is None else {"project_id": job.project_id, "job_id": job.job_id, "location": job.location},
        "created_at": None if difference.created_at is None else _written(difference.created_at),
        "bigquery_usd": format_usd(difference.bigquery_nanos),
        "ledger_usd": format_usd(difference.ledger_nanos),
        "missing_usd": format_usd(difference.missing_nanos),
        "entry_id": difference.entry_id,
    }


def _written(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
