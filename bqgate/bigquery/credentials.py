"""Decide in whose name a call goes to BigQuery (setting upstream.credentials), and drop every other credential.

Called by HttpUpstream for each call. Credentials travel in Authorization, in x-goog-user-project (whose project's quota
is used), X-Goog-Api-Key and a few rarer headers, in cookies, and in the URL parameters access_token, oauth_token and
key (https://cloud.google.com/apis/docs/system-parameters).

    caller           it passes as it came, but for second tokens; the gate's own calls for a caller bear the caller's
    anonymous        nothing passes, for a stand-in that asks for nothing
    service_account  nothing passes, the gate's own token is put in (service_account.py), or that of the service account
                     of the caller's customer (impersonation.py)

What leaves: the call to send, or UpstreamNotTried where there is no token to put in.
"""

from dataclasses import replace
from typing import Protocol

from bqgate.domain.principal import Credential
from bqgate.wire.http_message import HttpRequest, without
from bqgate.wire.query_string import without_parameters

_CREDENTIAL_HEADERS = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-goog-api-key",
        "x-goog-authuser",  # which of the cookie's accounts
        "x-goog-iam-authority-selector",
        "x-goog-iam-authorization-token",
        "x-goog-iap-jwt-assertion",
        "x-goog-user-project",
        "x-serverless-authorization",  # read in place of Authorization by some of Google's front ends
    }
)
_URL_TOKENS = frozenset({"access_token", "bearer_token", "oauth_token"})
# Parameters that begin with "$" are refused at the HTTP server; this one would bring any header with it.
_CREDENTIAL_PARAMETERS = _URL_TOKENS | {"key", "userproject", "$httpheaders"}


class UpstreamCredentials(Protocol):
    """Puts the right credential into a call."""

    async def applied_to(self, call: HttpRequest, credential: Credential) -> HttpRequest:
        """The call as it goes upstream.

        Raises:
            UpstreamNotTried: the token to put in is missing.
        """

    def drop_refused(self, credential: Credential) -> bool:
        """Told that BigQuery takes a call's token for none (401). Whether the gate had put it in: no caller's fault."""


class CallerCredentials:
    """What the caller sent goes upstream."""

    async def applied_to(self, call: HttpRequest, credential: Credential) -> HttpRequest:
        """The call with the one token by which the gate knows the caller, in a header.

        A second token, in another header or in the URL, could be somebody else's: Google would then run in one name
        what the gate books in another.
        """
        headers, query = call.headers, call.query
        if credential.authorization is not None:
            query = without_parameters(query, _URL_TOKENS)
            if [value for key, value in headers if key.lower() == "authorization"] != [credential.authorization]:
                headers = (*without(headers, {"authorization"}), ("Authorization", credential.authorization))
        if credential.user_project is not None and call.header("x-goog-user-project") is None:
            headers = (*headers, ("x-goog-user-project", credential.user_project))
        return replace(call, headers=headers, query=query)

    def drop_refused(self, credential: Credential) -> bool:  # noqa: ARG002 - the port's signature
        """It was the caller's, who is to hear of it."""
        return False


class AnonymousCredentials:
    """Nothing goes upstream."""

    async def applied_to(self, call: HttpRequest, credential: Credential) -> HttpRequest:  # noqa: ARG002 - the port's signature
        """The call without any credential."""
        return without_credentials(call)

    def drop_refused(self, credential: Credential) -> bool:  # noqa: ARG002 - the port's signature
        """There was none."""
        return False


def with_token(call: HttpRequest, token: str) -> HttpRequest:
    """The call with this token in place of everything that the caller sent."""
    call = without_credentials(call)
    return replace(call, headers=(*call.headers, ("Authorization", f"Bearer {token}")))


def without_credentials(call: HttpRequest) -> HttpRequest:
    """The call without any credential that the caller sent."""
    query = without_parameters(call.query, _CREDENTIAL_PARAMETERS)
    return replace(call, headers=without(call.headers, _CREDENTIAL_HEADERS), query=query)
