"""Show spend by day, week or month by the control plane: ``bqgate spend``."""

from typing import Annotated, Any, Literal

import typer

from bqgate.cli.client import Caller, KeyFile, OfCustomer, OfPrincipal, TokenStdin, Url, connected
from bqgate.cli.tables import AsCsv, AsJson, print_csv, print_json, print_list, shown_usd

_PATH = "/v1/spend"
_ROWS_MAX = 10_000


def spend(
    *,
    period: Annotated[Literal["day", "week", "month"], typer.Option(help="What a row adds up.")] = "day",
    by: Annotated[
        str,
        typer.Option(
            help="Whose a row is, beside its customer's: customer, principal, project, workload, origin, or label:KEY."
        ),
    ] = "customer",
    customer: OfCustomer = None,
    principal: OfPrincipal = None,
    since: Annotated[
        str | None,
        typer.Option(help="The first day, like 2026-11-24; else 30 days, 12 weeks or 12 months.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="The last day, which counts too; without it, today.", show_default=False)
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show spend by day, week or month.

    Days are those of each customer's time zone, weeks those of ISO 8601. Refusals cost nothing and are not in it.
    """
    if as_json and as_csv:
        raise typer.BadParameter("say one of --json and --csv", param_hint="--csv")
    wanted = {
        "period": period,
        "group_by": by,
        "customer": customer,
        "principal": principal,
        "since": since,
        "until": until,
        "rows_max": str(_ROWS_MAX),
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    with connected(Caller(url, key_file, token_stdin)) as plane:
        found = plane.read(_PATH, **given).content
    if as_json:
        print_json(found)
        return
    columns = _columns_of(by)
    rows = [{**row, by: row["value"]} if "value" not in columns and by != "customer" else row for row in found["rows"]]
    if as_csv:
        print_csv(rows, columns)
    else:
        _print_table(found, rows, columns)
    if found["rows_left_out"]:
        typer.echo(
            f"warning: {found['rows_left_out']} more rows are not shown; ask for fewer days, or one customer.", err=True
        )


def _columns_of(by: str) -> tuple[str, ...]:
    return (
        "period",
        "customer",
        *(() if by == "customer" else (by,)),
        "cost_usd",
        "job_count",
        "bytes_billed",
        "slot_ms",
    )


def _print_table(found: dict[str, Any], rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """The rows, and a last one with the total of all."""
    total = {"period": "total", **found["total"]}
    shown = [row | {"cost_usd": shown_usd(row["cost_usd"])} for row in (*rows, total)]
    print_list(shown, columns, as_json=False)
