"""Decide in whose name a call goes to BigQuery (setting upstream.credentials), and drop every other credential.

Called by HttpUpstream for each call. Credentials travel in Authorization, X-Goog-Api-Key and a few rarer headers, in
cookies, and in the URL parameters access_token, oauth_token and key. Whose quota a call uses is said beside them, in
x-goog-user-project and quotaUser (https://cloud.google.com/apis/docs/system-parameters); a job's bill goes to the
project in its path, whatever they say.

    caller           the one token by which the gate knows the caller, and whose quota is used; the gate's own calls
                     for a caller bear the same
    anonymous        nothing passes, for a stand-in that asks for nothing
    service_account  nothing passes, the gate's own token is put in (service_account.py), or that of the service account
                     of the caller's customer (impersonation.py)

What leaves: the call to send, or UpstreamNotTried where there is no token to put in.
"""

from typing import Protocol

from bqgate.domain.principal import Credential
from bqgate.wire.http_message import Headers, HttpRequest, IndexedHeaders, headers_of, replaced, without
from bqgate.wire.query_string import without_parameters

_USER_PROJECT = "x-goog-user-project"
# Whatever Google, or a front end of its, may take for who calls: a second one would run in one name what the gate books
# in another. API keys may stand for a service account (https://cloud.google.com/docs/authentication/api-keys).
_IDENTITY_HEADERS = frozenset(
    {
        "cookie",
        "proxy-authorization",
        "x-gdata-key",
        "x-goog-api-key",
        "x-goog-authuser",  # which of the cookie's accounts
        "x-goog-pageid",  # and which of that account's pages
        "x-serverless-authorization",  # read in place of Authorization by some of Google's front ends
    }
)
# X-Goog-IAM-Authority-Selector and -Authorization-Token; X-Goog-IAP-JWT-Assertion; X-Goog-Authenticated-User-Email.
_IDENTITY_FAMILIES = ("x-goog-authenticated-user-", "x-goog-iam-", "x-goog-iap-")
_USER_PROJECTS = frozenset({_USER_PROJECT})
_QUOTA_HEADERS = frozenset({"x-goog-quota-user", _USER_PROJECT})
# Parameters that begin with "$" are refused at the HTTP server; this one would bring any header with it.
_IDENTITY_PARAMETERS = frozenset({"access_token", "authuser", "bearer_token", "key", "oauth_token", "$httpheaders"})
_QUOTA_PARAMETERS = frozenset({"quotauser", "userip", "userproject"})
_AUTHORIZATION = frozenset({"authorization"})
_CREDENTIAL_HEADERS = _IDENTITY_HEADERS | _QUOTA_HEADERS | _AUTHORIZATION
_CREDENTIAL_PARAMETERS = _IDENTITY_PARAMETERS | _QUOTA_PARAMETERS


class CredentialsUnusable(Exception):
    """There are no credentials, or they are none to work with; `remedy` is what to do."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


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
    """The caller's token goes upstream."""

    async def applied_to(self, call: HttpRequest, credential: Credential) -> HttpRequest:
        """The call with the one token by which the gate knows the caller, in a header, and with one quota project."""
        headers = _without_identities(call.headers)
        headers = _with_one(headers, _AUTHORIZATION, "Authorization", credential.authorization)
        headers = _with_one(headers, _USER_PROJECTS, _USER_PROJECT, credential.user_project)
        query = without_parameters(call.query, _IDENTITY_PARAMETERS)
        return call if headers is call.headers and query is call.query else call.changed(headers=headers, query=query)

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
    return call.changed(headers=replaced(call.headers, _AUTHORIZATION, ("Authorization", f"Bearer {token}")))


def without_credentials(call: HttpRequest) -> HttpRequest:
    """The call without any credential that the caller sent, and without any word about whose quota is used."""
    query = without_parameters(call.query, _CREDENTIAL_PARAMETERS)
    return call.changed(headers=_without_identities(call.headers, _CREDENTIAL_HEADERS), query=query)


def _with_one(headers: IndexedHeaders, names: frozenset[str], name: str, value: str | None) -> IndexedHeaders:
    """The headers with that one of the names, and this value; None: with none of them."""
    if value is None:
        return without(headers, names)
    return headers if headers_of(headers, names) == [value] else replaced(headers, names, (name, value))


def _without_identities(headers: Headers, names: frozenset[str] = _IDENTITY_HEADERS) -> IndexedHeaders:
    kept = without(headers, names)
    names_of_families = {name for name in kept.names if name.startswith(_IDENTITY_FAMILIES)}
    return without(kept, names_of_families) if names_of_families else kept
