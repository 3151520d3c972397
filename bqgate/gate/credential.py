"""Read a caller's credential from the headers or the URL.

Used by identify.py, passthrough.py and the HTTP server. The URL parameters access_token and oauth_token are BigQuery's
system parameters (https://cloud.google.com/apis/docs/system-parameters) and count as a bearer token. Nothing is
verified here.
"""

from bqgate.domain.principal import Credential
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.query_string import values_of


def credential_of(call: HttpRequest) -> Credential:
    """The caller's credential; an empty one where there is none."""
    authorization = call.header("authorization")
    if authorization is None:
        tokens = (*values_of(call.query, "access_token"), *values_of(call.query, "oauth_token"))
        authorization = f"Bearer {tokens[0]}" if tokens else None
    return Credential(authorization, call.header("x-goog-user-project"))
