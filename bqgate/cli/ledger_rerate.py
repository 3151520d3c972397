"""Price charges again after a change of prices: ``bqgate ledger rerate --since DAY --config FILE``.

What would change is shown first, by customer; then it asks, unless --yes says so. The audit log has who did it before
the first adjustment is written. Exit status 0: done, or nothing is to be done. 1: the database did not answer, or
somebody said no. 2: wrong arguments, or BigQuery cannot be called.
"""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from bqgate.cli.books import OfCustomer, moment, with_books
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.local_keys import local_actor
from bqgate.cli.tables import AsJson, print_json, print_list
from bqgate.clock import SystemClock
from bqgate.domain.audit import AuditEvent
from bqgate.domain.money import format_usd
from bqgate.domain.pricing import PriceList

if TYPE_CHECKING:
    from bqgate.app.books import Books
    from bqgate.settlement.rerating import CustomerSums, RerateReport, Span

_COLUMNS = ("customer", "charges", "changed", "before_usd", "after_usd", "difference_usd")


def rerate(
    config: ConfigFile = None,
    *,
    since: Annotated[
        datetime,
        typer.Option(
            parser=moment, metavar="MOMENT", help="Charges booked from this moment on; in UTC unless it says."
        ),
    ],
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="MOMENT",
            help="Charges booked before this moment; without it, now.",
            show_default=False,
        ),
    ] = None,
    customer: OfCustomer = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Price charges again by the prices that hold now, by adjustments; nothing that is booked is edited.

    What the ledger does not tell (old charges, scripts, hidden bytes) is asked at BigQuery, which is free. Running it
    again changes nothing more. Running gates take the new sums within a minute or two.
    """
    from bqgate.settlement.rerating import Span  # noqa: PLC0415 - loads what other commands need not wait for

    span = Span(since, until or SystemClock().now(), customer)
    if span.since >= span.until:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    if not dry_run and not yes and not sys.stdin.isatty():
        raise typer.BadParameter(
            "say --yes, or --dry-run to look first: nobody is there to be asked", param_hint="--yes"
        )
    with_books(config, lambda books: _rerate(books, span, dry_run=dry_run, yes=yes, as_json=as_json), customer=customer)


async def _rerate(books: "Books", span: "Span", *, dry_run: bool, yes: bool, as_json: bool) -> None:
    prices = books.policies.prices
    report = await _go(books, span, is_look=True)
    if not as_json or not (dry_run or yes):
        _print(report, prices, heading="By the prices that hold now" if dry_run else "To be corrected")
    if dry_run or not report.total.changed_count:
        if as_json:
            print_json(_document(span, report, prices, is_written=False))
        return
    if not yes:
        typer.confirm(f"Write {report.total.changed_count} adjustments?", abort=True)
    await books.registry.append_audit([_event(span, report, prices)])
    written = await _go(books, span, is_look=False)
    if as_json:
        print_json(_document(span, written, prices, is_written=True))
    else:
        typer.echo(
            f"Written: {written.total.changed_count} adjustments, {format_usd(_difference(written.total))} dollars."
        )


async def _go(books: "Books", span: "Span", *, is_look: bool) -> "RerateReport":
    """Look or write, and on a terminal show how far it is."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Looking" if is_look else "Writing", total=1.0)
        length = span.until - span.since

        def show(at: datetime) -> None:
            progress.update(task, completed=(span.until - at) / length)

        rerating = books.rerating
        return await (rerating.look(span, show) if is_look else rerating.book(span, show))


def _event(span: "Span", report: "RerateReport", prices: PriceList) -> AuditEvent:
    total = report.total
    return AuditEvent(
        at=SystemClock().now(),
        action="ledger.rerated",
        actor=local_actor(),
        target="ledger/entries",
        customer=span.customer,
        detail=f"charges booked from {_written(span.since)} to {_written(span.until)}",
        before={"cost_usd": format_usd(total.before_nanos), "charges": total.charge_count},
        after={
            "cost_usd": format_usd(total.after_nanos),
            "changed": total.changed_count,
            "prices_id": prices.id,
            "prices": prices.document(),
        },
    )


def _print(report: "RerateReport", prices: PriceList, *, heading: str) -> None:
    per_tib, per_slot_hour = format_usd(prices.nanos_per_tib), format_usd(prices.nanos_per_slot_hour)
    typer.echo(f"{heading}: {prices.model.value}, {per_tib} dollars a TiB, {per_slot_hour} a slot-hour ({prices.id})")
    rows = [_row(name, sums) for name, sums in sorted(report.customers.items())]
    print_list([*rows, _row("total", report.total)], _COLUMNS, as_json=False)
    for why, count in report.left_out.most_common():
        typer.echo(f"Left as they are: {count} charges: {why}.")
    if report.left_out:
        typer.echo(f"  These cost {format_usd(report.left_out_nanos)} dollars together, before and after.")
    if not report.total.changed_count:
        typer.echo("Nothing is to be corrected.")


def _document(span: "Span", report: "RerateReport", prices: PriceList, *, is_written: bool) -> dict[str, Any]:
    return {
        "since": _written(span.since),
        "until": _written(span.until),
        "is_written": is_written,
        "prices": {"id": prices.id, **prices.document()},
        "total": _row("total", report.total),
        "customers": [_row(name, sums) for name, sums in sorted(report.customers.items())],
        "asked_at_bigquery": report.asked_count,
        "left_out": {why.name.lower(): count for why, count in report.left_out.items()},
        "left_out_usd": format_usd(report.left_out_nanos),
    }


def _row(name: str, sums: "CustomerSums") -> dict[str, Any]:
    return {
        "customer": name,
        "charges": sums.charge_count,
        "changed": sums.changed_count,
        "before_usd": format_usd(sums.before_nanos),
        "after_usd": format_usd(sums.after_nanos),
        "difference_usd": format_usd(_difference(sums)),
    }


def _difference(sums: "CustomerSums") -> int:
    return sums.after_nanos - sums.before_nanos


def _written(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
