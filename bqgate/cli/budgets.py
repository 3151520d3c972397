"""Look at budgets, change and raise them by the admin API: ``bqgate budgets list | show | set | raise | raises | …``.

The list is of budgets as they stand: limits in force, what is spent and held, and what is raised. One budget is shown
with its document, where somebody wrote one, and as it stands.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from bqgate.cli.client import Caller, KeyFile, Reason, TokenStdin, Url, connected
from bqgate.cli.documents import Kind
from bqgate.cli.policy_commands import policy_commands
from bqgate.cli.tables import AsJson, print_json, print_list, print_one, shown_usd
from bqgate.policies.budget_models import BudgetPolicy

_KIND = Kind(noun="budget", plural="budgets", model=BudgetPolicy, columns=())
_STATUS = "/v1/budgets"
_COLUMNS = (
    "name",
    "customer",
    "about",
    "day_limit",
    "day_spent",
    "day_held",
    "month_limit",
    "month_spent",
    "month_held",
    "raises",
    "mode",
)
_INCREASE_COLUMNS = ("id", "budget", "customer", "daily_usd", "monthly_usd", "until", "by", "reason")
_UNLISTED = (
    "No customer {name!r} is in the settings or made by an admin: what asks as it has the default tier's limits."
)
# The gate keeps no account of it.
_OFF = "Budget {name} is off, by its own mode or by what it is part of: no query counts in it, and it refuses none."

Name = Annotated[str, typer.Argument(help="The budget's name, or a customer's.", show_default=False)]


def _list_status(kind: Kind, caller: Caller, *, as_json: bool) -> None:
    with connected(caller) as plane:
        items = list(plane.items(_STATUS, kind.plural))
    print_list(items if as_json else [_row_of(item) for item in items], _COLUMNS, as_json=as_json)


def _show(kind: Kind, name: str, caller: Caller, *, as_json: bool) -> None:
    with connected(caller) as plane:
        found = plane.find(kind.path_of(name))
        document = None if found is None else found.content
        if document is not None and as_json:
            print_json(document)
            return
        # Without a document it is a customer's own: its tier says its limits.
        customer = name if document is None else document["customer"] or name
        if document is None:
            budget_status = plane.read(f"/v1/customers/{quote(customer, safe='')}/budget").content
            if as_json:
                print_json(budget_status)
                return
        of_whom = {} if document is not None and document["deployment"] else {"customer": customer}
        budgets = [each for each in plane.items(_STATUS, "budgets", **of_whom) if each["name"] == name]
    if document is not None:
        print_one(document, as_json=False)
        typer.echo()
    if not budgets:
        typer.echo(_OFF.format(name=name), err=True)
        return
    print_one(
        _row_of(budgets[0]) | {"query_limit": shown_usd(budgets[0]["query_limit_usd"], rounds_up=False)}, as_json=False
    )
    if not budgets[0]["listed"]:
        typer.echo(_UNLISTED.format(name=name), err=True)


def _row_of(budget: Mapping[str, Any]) -> dict[str, Any]:
    """A budget as it stands, each thing in one cell."""
    row: dict[str, Any] = {
        "name": budget["name"],
        "customer": budget["customer"],
        "about": _about(budget),
        "raises": "; ".join(_increased(each) for each in budget["raises"]),
        "mode": budget["mode"],
    }
    for period, limit in (("day", "daily_limit_usd"), ("month", "monthly_limit_usd")):
        window = budget["windows"].get(period, {})
        row[f"{period}_limit"] = shown_usd(budget[limit], rounds_up=False)
        row[f"{period}_spent"] = shown_usd(window.get("spent_usd"))
        row[f"{period}_held"] = shown_usd(window.get("held_usd"))
    return {column: row[column] for column in _COLUMNS} | ({} if budget["listed"] else {"listed": False})


def _about(budget: Mapping[str, Any]) -> str:
    match budget["scope"]:
        case "deployment":
            return "all customers together"
        case "customer":
            return "all queries"
        case scope:
            return f"{scope} {budget['value']}"


def _increased(each: Mapping[str, Any]) -> str:
    amounts = [
        f"+{shown_usd(each[key], rounds_up=False)} a {period}"
        for key, period in (("daily_usd", "day"), ("monthly_usd", "month"))
        if each[key] != "0.00"
    ]
    return f"{', '.join(amounts)} until {each['until']}"


budgets = policy_commands(
    _KIND,
    help_text="Limits of customers, of some of their queries, of everybody.",
    name_help="The budget's name; a customer's name for what is the customer's own.",
    examples="customer=acme, workload=nightly, daily_usd=5",
    list_all=_list_status,
    show=_show,
)


@budgets.command("raise", help="Put an amount on top of a budget's limits for a while.")
def raise_budget(
    name: Name,
    *,
    until: Annotated[str, typer.Option(help="When it ends, like 2026-12-01T18:00:00Z.", show_default=False)],
    reason: Reason,
    daily_usd: Annotated[
        str | None, typer.Option(help="Dollars on top of the day's limit; else it stays.", show_default=False)
    ] = None,
    monthly_usd: Annotated[
        str | None, typer.Option(help="Dollars on top of the month's limit; else it stays.", show_default=False)
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(
            help="A word of your own for scripts that repeat: with the same one nothing is raised twice. Without it, "
            "a raise that says the same is the same.",
            show_default=False,
        ),
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Raise a budget."""
    given = {"daily_usd": daily_usd, "monthly_usd": monthly_usd, "request_id": request_id}
    body = {key: value for key, value in given.items() if value is not None} | {"until": until, "reason": reason}
    with connected(Caller(url, key_file, token_stdin)) as plane:
        document = plane.change("POST", f"{_KIND.path_of(name)}:raise", body)
    raised = document.content["raised"]
    if as_json:
        print_json(document.content)
    elif document.status == 201:
        typer.echo(f"Raised budget {name} until {raised['until']}.")
        typer.echo(f"To end it before that: bqgate budgets end-raise {name} {raised['id']} --reason …")
    else:
        typer.echo(f"Budget {name} is raised so already, until {raised['until']} ({raised['id']}); nothing was added.")


@budgets.command("raises", help="List the raises that run, the next to end first.")
def list_raises(
    *,
    budget: Annotated[
        str | None, typer.Option(help="On top of this budget; without it, of all.", show_default=False)
    ] = None,
    customer: Annotated[
        str | None, typer.Option(help="Of budgets of this customer; without it, of all.", show_default=False)
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """List raises."""
    wanted = {key: value for key, value in {"budget": budget, "customer": customer}.items() if value is not None}
    with connected(Caller(url, key_file, token_stdin)) as plane:
        raises = list(plane.items("/admin/v1/raises", "raises", **wanted))
    amounts = ("daily_usd", "monthly_usd")
    rows = [each | {key: shown_usd(each[key], rounds_up=False) for key in amounts} for each in raises]
    print_list(raises if as_json else rows, _INCREASE_COLUMNS, as_json=as_json)


@budgets.command("end-raise", help="End a raise now.")
def end_raise(
    name: Name,
    raise_id: Annotated[
        str, typer.Argument(help="The raise's id, as `bqgate budgets raises` shows it.", show_default=False)
    ],
    *,
    reason: Reason,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """End a raise."""
    path = f"{_KIND.path_of(name)}/raises/{quote(raise_id, safe='')}:end"
    with connected(Caller(url, key_file, token_stdin)) as plane:
        ended = plane.change("POST", path, {"reason": reason}).content
    typer.echo(f"Ended raise {ended['id']} of budget {name}.")
