"""Look at tiers and change them by the admin API: ``bqgate tiers list | show | set | delete``.

What the commands do is in documents.py. A change holds for the next query on every replica within two seconds.
"""

from typing import Annotated

import typer

from bqgate.cli import documents
from bqgate.cli.connecting import Caller, KeyFile, TokenStdin, Url
from bqgate.cli.tables import AsJson
from bqgate.policies.models import TierPolicy

tiers = typer.Typer(name="tiers", help="The limits that classes of customers share.", no_args_is_help=True)

TIERS = documents.Kind(
    noun="tier",
    plural="tiers",
    model=TierPolicy,
    columns=("name", "daily_usd", "monthly_usd", "emergency_usd", "query_usd", "throttle_wait_ms", "source"),
)

Name = Annotated[str, typer.Argument(help="The tier's name.", show_default=False)]
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUE...",
        help="As in the settings file: daily_usd=12.50, thresholds='[{used_ratio: \"0.9\", action: throttle}]'. "
        "KEY= takes a value away.",
        show_default=False,
    ),
]


@tiers.command("list")
def list_tiers(
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """List all tiers."""
    documents.list_all(TIERS, Caller(url, key_file, token_stdin), as_json=as_json)


@tiers.command("show")
def show_tier(
    name: Name,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Show one tier."""
    documents.show(TIERS, name, Caller(url, key_file, token_stdin), as_json=as_json)


@tiers.command("set")
def set_tier(
    name: Name,
    words: Words,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Change keys of a tier, or create it."""
    documents.set_keys(TIERS, name, words, Caller(url, key_file, token_stdin), as_json=as_json)


@tiers.command("delete")
def delete_tier(
    name: Name,
    *,
    url: Url = None,
    key_file: KeyFile = None,
    token_stdin: TokenStdin = False,
) -> None:
    """Delete a tier; one that the settings file has goes back to what the file says."""
    documents.delete(TIERS, name, Caller(url, key_file, token_stdin))
