import json
import socket
from contextlib import closing

import google.auth.transport.requests
import pytest
from google.auth.exceptions import RefreshError, TransportError

from bqgate.bigquery.token_causes import cause_of_failure

IAM = {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "secret details"}}


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (("secret details", {"error": "invalid_grant", "error_description": "secret"}), "invalid_grant"),
        (("secret details", json.dumps(IAM)), "PERMISSION_DENIED"),
        (("secret details", "<html>secret</html>"), "RefreshError"),
        pytest.param(("secret details", "[" * 100_000), "RefreshError", id="nested without end"),
        (("secret details", {"error": "ya29.secret token"}), "RefreshError"),
        (("secret details",), "RefreshError"),
        ((), "RefreshError"),
    ],
)
def test_a_refused_token_is_told_by_its_errors_name(said: tuple[object, ...], cause: str) -> None:
    """The word that Google's answer has for it, and nothing of its text."""
    assert cause_of_failure(RefreshError(*said)) == cause  # type: ignore[no-untyped-call]  # no types


@pytest.mark.parametrize(
    ("host", "cause"), [("127.0.0.1", "no connection"), ("no-such-host.invalid", "DNS does not know its name")]
)
def test_a_token_endpoint_that_is_not_there_is_told_so(host: str, cause: str) -> None:
    """As google-auth's own transport meets it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(TransportError) as caught:
        google.auth.transport.requests.Request()(f"http://{host}:{port}/token", timeout=2)
    assert cause_of_failure(caught.value) == cause
