"""Look at the cost breakers that are open, and close one, by the admin API: ``bqgate breakers list | reset``."""

from typing import Annotated
from urllib.parse import quote

import typer

from bqgate.cli.client import Caller, KeyFile, Reason, TokenStdin, Url, connected
from bqgate.cli.tables import AsJson, print_list

_PATH = "/admin/v1/breakers"
_COLUMNS = ("customer", "state", "opened_at", "until", "reason")

breakers = typer.Typer(
    name="breakers", help="Cost breakers: customers who were stopped for the day.", no_args_is_help=True
)


@breakers.command("list")
def list_open(
    *, url: Url = None, key_file: KeyFile = None, token_stdin: TokenStdin = False, as_json: AsJson = False
) -> None:
    """List the cost breakers that are open."""
    with connected(Caller(url, key_file, token_stdin)) as plane:
        found = list(plane.items(_PATH, "breakers"))
    rows = [{"customer": each["customer"], **each["breaker"]} for each in found]
    print_list(found if as_json else rows, _COLUMNS, as_json=as_json)


@breakers.command("reset")
def reset(
    customer: Annotated[str, typer.Argument(help="Whose breaker.", show_default=False)],
    *,
    reason: Reason,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """Close a customer's cost breaker; limits and grace judge its queries as they stand."""
    with connected(Caller(url, key_file, token_stdin)) as plane:
        plane.change("POST", f"{_PATH}/{quote(customer, safe='')}:reset", {"reason": reason})
    typer.echo(f"Closed the cost breaker of {customer}.")
