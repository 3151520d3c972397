"""Connect a command to the control plane: its address, the credentials, and whom the command is about.

Used by the commands that ask a running gate. A secret comes from a file, the environment or standard input, never as
an argument: arguments end up in the shell's history and in everybody's process list. A refusal by the gate ends the
command with its message and status 1, a wrong argument with status 2.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from bqgate.cli.loading import fail
from bqgate.settings.fields import read_web_url

if TYPE_CHECKING:
    from bqgate.cli.control_plane import ControlPlane

DEFAULT_URL = "http://127.0.0.1:8080"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="BQGATE_URL",
        help=f"Where the control plane listens; else the key file's gate, else {DEFAULT_URL}.",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="BQGATE_KEY_FILE",
        help="A key file of this gate to log in with; without it, the token in BQGATE_TOKEN.",
        show_default=False,
    ),
]
TokenStdin = Annotated[bool, typer.Option("--token-stdin", help="Read a token from standard input instead.")]

OfCustomer = Annotated[
    str | None, typer.Option(help="Of this customer; without it, of all that you may see.", show_default=False)
]
OfPrincipal = Annotated[
    str | None, typer.Option(help="Of this principal; without it, of all that you may see.", show_default=False)
]
Reason = Annotated[str, typer.Option(help="Why; the audit log keeps it.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Caller:
    """What a command was told about whom it calls, and as whom."""

    url: str | None
    key_file: Path | None
    token_stdin: bool


@contextmanager
def connected(caller: Caller) -> "Iterator[ControlPlane]":
    """The control plane as long as the context is open; what it refuses ends the command."""
    from bqgate.cli.control_plane import ControlPlane, Refused  # noqa: PLC0415 - requests and google-auth take a third of a second that other commands need not wait

    token = key_file = None
    if caller.token_stdin:
        token = read_token_stdin()
    elif caller.key_file is not None:
        key_file = read_key_file(caller.key_file)
    elif os.environ.get("BQGATE_TOKEN"):
        token = _token_of(os.environ["BQGATE_TOKEN"], "BQGATE_TOKEN")
    url = _url_of(caller.url, key_file)
    if (token or key_file) and _is_in_the_clear(url):
        typer.echo(f"warning: {url} is not https://, so the credential can be read on its way", err=True)
    try:
        with closing(ControlPlane(url, token=token, key_file=key_file)) as plane:
            yield plane
    except Refused as refused:
        fail(str(refused))


def read_key_file(path: Path) -> dict[str, Any]:
    """The JSON object in a key file; what is wrong with it is said without quoting it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--key-file") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("token_uri"), str):
        raise typer.BadParameter(f"{path} is no key file: no JSON with a token_uri", param_hint="--key-file")
    return content


def read_token_stdin() -> str:
    """The token that standard input holds."""
    return _token_of(sys.stdin.readline(), "standard input")


def _token_of(text: str, source: str) -> str:
    token = text.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise typer.BadParameter(f"{source} holds no token: one word, without blanks")
    return token


def _url_of(asked: str | None, key_file: Mapping[str, Any] | None) -> str:
    if asked is None and key_file is not None:
        asked = _root_of(key_file["token_uri"])
    try:
        return read_web_url(asked or DEFAULT_URL)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def _root_of(token_uri: str) -> str:
    """Where the gate of a key file is."""
    try:
        parts = urlsplit(token_uri)
    except ValueError:
        raise typer.BadParameter("its token_uri is no URL", param_hint="--key-file") from None
    return f"{parts.scheme}://{parts.netloc}"


def _is_in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}
