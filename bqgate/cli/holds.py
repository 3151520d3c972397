"""Look at open holds, and end one by hand, by the control plane: ``bqgate holds list | void``."""

from typing import Annotated
from urllib.parse import quote

import typer

from bqgate.cli.client import Caller, KeyFile, OfCustomer, Reason, TokenStdin, Url, connected
from bqgate.cli.job_names import name_of
from bqgate.cli.tables import AsJson, print_list, shown_usd

_PATH = "/v1/holds"
_COLUMNS = ("id", "amount_usd", "customer", "principal", "workload", "age_s", "placed_at", "job")

holds = typer.Typer(name="holds", help="Holds: money set aside for queries that run.", no_args_is_help=True)


@holds.command("list")
def list_open(
    *,
    customer: OfCustomer = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """List open holds, the oldest first."""
    with connected(Caller(url, key_file, token_stdin)) as plane:
        found = list(plane.items(_PATH, "holds", **({} if customer is None else {"customer": customer})))
    rows = [each | {"amount_usd": shown_usd(each["amount_usd"]), "job": name_of(each["job"])} for each in found]
    print_list(found if as_json else rows, _COLUMNS, as_json=as_json)


@holds.command("void")
def void(
    hold_id: Annotated[str, typer.Argument(help="The hold's id, as `bqgate holds list` shows it.", show_default=False)],
    *,
    reason: Reason,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """End an open hold without a cost; should its job be found later, what that cost is booked all the same."""
    with connected(Caller(url, key_file, token_stdin)) as plane:
        ended = plane.change("POST", f"{_PATH}/{quote(hold_id, safe='')}:void", {"reason": reason}).content
    amount = shown_usd(ended["amount_usd"])
    typer.echo(f"Ended hold {ended['id']} of {ended['customer']}; {amount} USD are free again.")
