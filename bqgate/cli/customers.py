"""Look at customers and change them by the admin API: ``bqgate customers list | show | set | delete``.

What the commands do is in documents.py. A change holds for the next query on every replica within two seconds.
"""

from typing import Annotated

import typer

from bqgate.cli import documents
from bqgate.cli.connecting import Caller, KeyFile, TokenStdin, Url
from bqgate.cli.tables import AsJson
from bqgate.policies.models import CustomerPolicy

customers = typer.Typer(
    name="customers", help="Who pays, under which tier, and what they may touch.", no_args_is_help=True
)

CUSTOMERS = documents.Kind(
    noun="customer",
    plural="customers",
    model=CustomerPolicy,
    columns=("name", "tier", "mode", "time_zone", "projects", "principals", "data", "source"),
)

Name = Annotated[str, typer.Argument(help="The customer's id.", show_default=False)]
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUE...",
        help="As in the settings file: tier=premium, projects='[acme-prod, acme-dev]', time_zone=Europe/Berlin. "
        "KEY= takes a value away.",
        show_default=False,
    ),
]


@customers.command("list")
def list_customers(
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """List all customers."""
    documents.list_all(CUSTOMERS, Caller(url, key_file, token_stdin), as_json=as_json)


@customers.command("show")
def show_customer(
    name: Name,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Show one customer."""
    documents.show(CUSTOMERS, name, Caller(url, key_file, token_stdin), as_json=as_json)


@customers.command("set")
def set_customer(
    name: Name,
    words: Words,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Change keys of a customer, or create it."""
    documents.set_keys(CUSTOMERS, name, words, Caller(url, key_file, token_stdin), as_json=as_json)


@customers.command("delete")
def delete_customer(
    name: Name,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """Delete a customer; one that the settings file has goes back to what the file says."""
    documents.delete(CUSTOMERS, name, Caller(url, key_file, token_stdin))
