"""Make the commands of one kind of documents: ``list | show | set | delete``, by the admin API.

Used by tiers.py and customers.py; what the commands do is in documents.py. A change holds for the next query on every
replica within two seconds.
"""

from typing import Annotated, Any, Protocol

import typer

from bqgate.cli import documents
from bqgate.cli.client import Caller, KeyFile, TokenStdin, Url
from bqgate.cli.tables import AsJson


class Listing(Protocol):
    """What `list` does."""

    def __call__(self, kind: documents.Kind, caller: Caller, *, as_json: bool) -> None:
        """Print all of them."""


class Showing(Protocol):
    """What `show` does."""

    def __call__(self, kind: documents.Kind, name: str, caller: Caller, *, as_json: bool) -> None:
        """Print one."""


def policy_commands(
    kind: documents.Kind,
    *,
    help_text: str,
    name_help: str,
    examples: str,
    list_all: Listing = documents.list_all,
    show: Showing = documents.show,
) -> typer.Typer:
    """The commands.

    Args:
        kind: whose.
        help_text: what such documents are.
        name_help: what their name is.
        examples: some KEY=VALUE, as in the settings file.
        list_all: prints all, where that is more than their documents.
        show: prints one, the same.
    """
    commands = typer.Typer(name=kind.plural, help=help_text, no_args_is_help=True)
    name_argument = typer.Argument(help=name_help, show_default=False)
    words_argument = typer.Argument(
        metavar="KEY=VALUE...",
        help=f"As in the settings file: {examples}. KEY= takes a value away.",
        show_default=False,
    )
    _add_reading(commands, kind, name_argument, list_all, show)
    _add_changing(commands, kind, name_argument, words_argument)
    return commands


def _add_reading(
    commands: typer.Typer, kind: documents.Kind, name_argument: Any, list_all: Listing, show: Showing
) -> None:
    @commands.command("list", help=f"List all {kind.plural}.")
    def list_them(
        *, url: Url = None, key_file: KeyFile = None, token_stdin: TokenStdin = False, as_json: AsJson = False
    ) -> None:
        list_all(kind, Caller(url, key_file, token_stdin), as_json=as_json)

    @commands.command("show", help=f"Show one {kind.noun}.")
    def show_one(
        name: Annotated[str, name_argument],
        *,
        url: Url = None,
        key_file: KeyFile = None,
        token_stdin: TokenStdin = False,
        as_json: AsJson = False,
    ) -> None:
        show(kind, name, Caller(url, key_file, token_stdin), as_json=as_json)


def _add_changing(commands: typer.Typer, kind: documents.Kind, name_argument: Any, words_argument: Any) -> None:
    @commands.command("set", help=f"Change keys of a {kind.noun}, or create it.")
    def set_keys(
        name: Annotated[str, name_argument],
        words: Annotated[list[str], words_argument],
        *,
        url: Url = None,
        key_file: KeyFile = None,
        token_stdin: TokenStdin = False,
        as_json: AsJson = False,
    ) -> None:
        documents.set_keys(kind, name, words, Caller(url, key_file, token_stdin), as_json=as_json)

    delete_help = f"Delete a {kind.noun}; one that the settings file has goes back to what the file says."

    @commands.command("delete", help=delete_help)
    def delete(
        name: Annotated[str, name_argument],
        *,
        url: Url = None,
        key_file: KeyFile = None,
        token_stdin: TokenStdin = False,
    ) -> None:
        documents.delete(kind, name, Caller(url, key_file, token_stdin))
