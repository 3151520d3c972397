"""Look at budgets, change and raise them by the admin API: ``bqgate budgets list | show | set | raise | delete``."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bqgate.cli.connecting import Caller, KeyFile, TokenStdin, Url, connected
from bqgate.cli.documents import Kind
from bqgate.cli.policy_commands import policy_commands
from bqgate.cli.tables import AsJson, print_one
from bqgate.policies.budget_models import BudgetPolicy


def _summary(budget: Mapping[str, Any]) -> dict[str, Any]:
    """Whose it is, and which queries it is about, each in one cell."""
    if budget["deployment"]:
        return {"about": "all customers together"}
    part = next((kind for kind in _PARTS if budget[kind] is not None), None)
    about = "all queries" if part is None else f"{part} {budget[part]}"
    return {"customer": budget["customer"] or budget["name"], "about": about}


_PARTS = ("principal", "project", "workload", "label")
_KIND = Kind(
    noun="budget",
    plural="budgets",
    model=BudgetPolicy,
    columns=(
        "name",
        "customer",
        "about",
        "daily_usd",
        "monthly_usd",
        "query_usd",
        "mode",
        "source",
    ),
    summary=_summary,
)

budgets = policy_commands(
    _KIND,
    help_text="Budgets of customers, of parts of their queries, and of the whole deployment.",
    name_help="The budget's name; a customer's name for what is the customer's own.",
    examples="customer=acme, workload=nightly, daily_usd=5",
)


@budgets.command("raise", help="Put an amount on top of a budget's limits for a while.")
def raise_budget(
    name: Annotated[str, typer.Argument(help="The budget's name, or a customer's.", show_default=False)],
    *,
    until: Annotated[str, typer.Option(help="When it ends, like 2026-12-01T18:00:00Z.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why; the audit log keeps it.", show_default=False)],
    daily_usd: Annotated[str | None, typer.Option(help="On top of the day.", show_default=False)] = None,
    monthly_usd: Annotated[str | None, typer.Option(help="On top of the month.", show_default=False)] = None,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Raise a budget."""
    amounts = {"daily_usd": daily_usd, "monthly_usd": monthly_usd}
    body = {key: amount for key, amount in amounts.items() if amount is not None} | {"until": until, "reason": reason}
    with connected(Caller(url, key_file, token_stdin)) as plane:
        document = plane.change("POST", f"{_KIND.path_of(name)}:raise", body)
    if not as_json:
        typer.echo(f"Raised budget {name} until {until}.")
    print_one(document.content, as_json=as_json)
