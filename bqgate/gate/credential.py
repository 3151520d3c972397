"""Find what a caller sent to prove who it is: in the headers, or in the URL.

Called by the passthrough and by whoever identifies. Tokens in the URL are BigQuery's system parameters access_token and
oauth_token (https://cloud.google.com/apis/docs/system-parameters); they count as a bearer token. Nothing is checked.
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
