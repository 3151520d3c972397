"""Load the credentials in whose name the gate calls BigQuery, and fetch tokens with them, in words when that fails.

Used by service_account.py and impersonation.py, by app at the start, and by `bqgate doctor`, so that what doctor tries
is what the gate does. Everything blocks: google-auth does. What leaves: CredentialsUnusable, TokenNotFetched, each
with what is wrong and what to do, never with any part of a key.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import google.auth
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.oauth2 import service_account

from bqgate.bigquery.credentials import CredentialsUnusable
from bqgate.bigquery.token_causes import cause_of_failure
from bqgate.observe.redact import redact_text

SCOPES = ("https://www.googleapis.com/auth/bigquery", "https://www.googleapis.com/auth/cloud-platform")

Transport: TypeAlias = Callable[..., Any]

_CHARS_MAX = 300
_NAMED_BY = "GOOGLE_APPLICATION_CREDENTIALS"
_NEW_KEY = "Make a new key: gcloud iam service-accounts keys create FILE --iam-account ACCOUNT."
_SEE_ENDPOINT = "See that the credentials are whole, and that they name Google's token endpoint."
_FIELDS = ("client_email", "private_key", "token_uri")
# google-auth takes fields out of files and answers without looking whether they are there, and what they are.
_UNREAD = (GoogleAuthError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
# What a header can carry; Google's tokens are shorter by far.
_TOKEN = re.compile(r"[!-~]{1,16384}")


class TokenSource(Protocol):
    """What google.auth's credentials offer and this module needs. `expiry` is naive UTC; None: it never ends."""

    token: str | None
    expiry: datetime | None

    def refresh(self, request: Transport) -> None:
        """Fetch a new token; blocks."""


class TokenNotFetched(Exception):
    """No token came; `cause` is why in words that callers may read, `remedy` what whoever runs the gate can do."""

    def __init__(self, message: str, *, cause: str, remedy: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.remedy = remedy


def load_token_source(key_file: str | None) -> TokenSource:
    """The credentials of a key file, or those of the machine (Application Default Credentials) where it is None.

    Raises:
        CredentialsUnusable: the file is no service account's key, or the machine has no credentials.
    """
    return _default_source() if key_file is None else _source_of(Path(key_file))


def fetch_token(source: TokenSource, request: Transport) -> None:
    """Have a source fetch a new token.

    Raises:
        TokenNotFetched: it did not come.
    """
    try:
        source.refresh(request)
    except _UNREAD as error:
        raise TokenNotFetched(_said_by(error), cause=cause_of_failure(error), remedy=_remedy_of(error)) from error
    if not isinstance(source.token, str) or not _TOKEN.fullmatch(source.token):
        # google-auth takes whatever stands in the answer.
        raise TokenNotFetched("the answer holds no token", cause="no token in the answer", remedy=_SEE_ENDPOINT)


@contextmanager
def _readable(about: str, remedy: str) -> Iterator[None]:
    """Name what google-auth could not make anything of."""
    try:
        yield
    except _UNREAD as error:
        raise CredentialsUnusable(f"{about}: {_said_by(error)}", remedy=remedy) from error


def _source_of(file: Path) -> TokenSource:
    """A service account's key, as Google's console and gcloud write it."""
    about = f"the key file {file}"
    content = _read_object(file, about)
    kind = content.get("type", "service_account")
    if kind != "service_account":
        raise CredentialsUnusable(
            f"{about} is no service account's key: its type is {str(kind)[:40]!r}",
            remedy=f"Take a service account's key, or leave service_account_file out and name this one in {_NAMED_BY}.",
        )
    missing = [name for name in _FIELDS if not isinstance(content.get(name), str)]
    if missing:
        raise CredentialsUnusable(f"{about} is no service account's key: {', '.join(missing)} missing", remedy=_NEW_KEY)
    with _readable(f"{about} cannot be used", _NEW_KEY):
        source: TokenSource = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]  # google-auth declares no types
            content, scopes=SCOPES
        )
    return source


def _default_source() -> TokenSource:
    named = os.environ.get(_NAMED_BY)
    about = "Google's application default credentials"
    if named:
        about = f"{_NAMED_BY} names {named}, which"
        _read_object(Path(named), about)
    remedy = (
        f"Name a credentials file in {_NAMED_BY}, or run: gcloud auth application-default login, or write "
        "upstream.service_account_file."
    )
    with _readable(f"{about} cannot be used", remedy):
        source, _ = google.auth.default(scopes=SCOPES)
    found: TokenSource = source
    return found


def _read_object(file: Path, about: str) -> dict[str, Any]:
    remedy = "Name a file that this user can read, with credentials in JSON as Google writes them."
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialsUnusable(f"{about} cannot be read: {error.strerror}", remedy=remedy) from None
    except (ValueError, RecursionError):
        raise CredentialsUnusable(f"{about} is not JSON", remedy=remedy) from None
    if not isinstance(content, dict):
        raise CredentialsUnusable(f"{about} holds no JSON object", remedy=remedy)
    return content


def _said_by(error: BaseException) -> str:
    """The cause in one line. Of an answer that is a page, and of what Python makes of one, only that it is none."""
    if not isinstance(error, GoogleAuthError | OSError):
        return "what was read is not as Google writes it"
    text = redact_text(str(_innermost(error))).strip()
    if not text or text.startswith("<"):
        return "the answer is not as Google's" if text else type(error).__name__
    return text.splitlines()[0][:_CHARS_MAX].rstrip(".")


def _innermost(error: BaseException) -> object:
    """What is at the bottom of errors that wrap another as their reason or first argument; of the last, its text."""
    inner = getattr(error, "reason", None)
    if not isinstance(inner, BaseException):
        inner = error.args[0] if error.args else None
    if isinstance(inner, BaseException):
        return _innermost(inner)
    return inner if isinstance(inner, str) else error


def _remedy_of(error: BaseException) -> str:
    if isinstance(error, TransportError):
        return (
            "See that name resolution, firewall and proxy let this machine reach where its credentials say (token_uri)."
        )
    if isinstance(error, RefreshError) and "invalid_grant" in str(error):
        return f"The key is revoked, its account is deleted or disabled, or this machine's clock is wrong. {_NEW_KEY}"
    return _SEE_ENDPOINT
