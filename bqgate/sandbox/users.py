"""Say who calls, from the token that came along.

The server asks before it does anything else with a call. A token is looked up in the settings' table; a call without a
known one belongs to the default user unless tokens are required. What leaves is a User or a 401 in BigQuery's form.
The token "invalid" is refused in every setting, so that a client's reaction to a 401 can be tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.settings import SandboxSettings

CHALLENGE = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
INVALID = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
MISSING = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other "
    "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


@dataclass(frozen=True)
class User:
    """Who calls. `cache_key` tells callers apart whose cached results are apart; unknown tokens count one by one."""

    email: str
    cache_key: str


def user_of(settings: SandboxSettings, headers: Mapping[str, str], query: Mapping[str, str]) -> User:
    """Find the caller.

    Raises:
        ApiError: 401 `authError` or `required`.
    """
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    token = token or query.get("access_token", "") or query.get("oauth_token", "")
    if token == "invalid":  # noqa: S105 - a word that stands for every bad token
        raise ApiError(401, "authError", INVALID, headers={"WWW-Authenticate": CHALLENGE})
    if token in settings.users:
        return User(settings.users[token], settings.users[token])
    if settings.require_token:
        reason, message = ("authError", INVALID) if token else ("required", MISSING)
        raise ApiError(401, reason, message, headers={"WWW-Authenticate": CHALLENGE})
    return User(settings.default_user_email, f"token:{token}")
