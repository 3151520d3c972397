"""Decide in whose name a call goes to BigQuery (setting upstream.credentials), and drop every other credential.

Called by HttpUpstream for each call. Credentials travel in Authorization, in x-goog-user-project (whose project's quota
is used), X-Goog-Api-Key and a few rarer headers, in cookies, and in the URL parameters access_token, oauth_token and
key (https://cloud.google.com/apis/docs/system-parameters).

    caller           all of it passes as it came; the gate's own calls for a caller bear the caller's credential
    anonymous        nothing passes, for a stand-in that asks for nothing
    service_account  nothing passes, the gate's own token is put in (service_account.py)

What leaves: the call to send. Nothing fails here.
"""

from dataclasses import replace
from typing import Protocol

from bqgate.domain.principal import Credential
from bqgate.wire.exchange import Call, without
from bqgate.wire.query_string import values_of, without_parameters

_CREDENTIAL_HEADERS = frozenset(
    {
        "authorization",
        "cookie",
        "x-goog-api-key",
        "x-goog-iam-authority-selector",
        "x-goog-iam-authorization-token",
        "x-goog-user-project",
    }
)
_URL_TOKENS = ("access_token", "oauth_token")
_CREDENTIAL_PARAMETERS = frozenset({*_URL_TOKENS, "key"})


class UpstreamCredentials(Protocol):
    """Puts the right credential into a call."""

    def applied_to(self, call: Call, credential: Credential) -> Call:
        """The call as it goes upstream.

        Raises:
            UpstreamUnavailable: the gate's own token is missing; nothing was sent.
        """


class CallerCredentials:
    """What the caller sent goes upstream."""

    def applied_to(self, call: Call, credential: Credential) -> Call:
        """The call with the caller's credential, added where the call is the gate's own and bears none."""
        headers = call.headers
        has_token = call.header("authorization") is not None or any(values_of(call.query, name) for name in _URL_TOKENS)
        if credential.authorization is not None and not has_token:
            headers = (*headers, ("Authorization", credential.authorization))
        if credential.user_project is not None and call.header("x-goog-user-project") is None:
            headers = (*headers, ("x-goog-user-project", credential.user_project))
        return replace(call, headers=headers)


class AnonymousCredentials:
    """Nothing goes upstream."""

    def applied_to(self, call: Call, credential: Credential) -> Call:  # noqa: ARG002 - the port's signature
        """The call without any credential."""
        return without_credentials(call)


def without_credentials(call: Call) -> Call:
    """The call without any credential that the caller sent."""
    query = without_parameters(call.query, _CREDENTIAL_PARAMETERS)
    return replace(call, headers=without(call.headers, _CREDENTIAL_HEADERS), query=query)
