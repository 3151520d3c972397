import pytest

from bqgate.domain.principal import Credential
from bqgate.gate.credential import credential_of
from bqgate.wire.http_message import Headers, HttpRequest


@pytest.mark.parametrize(
    ("query", "headers", "credential"),
    [
        ("", (), Credential()),
        ("", (("authorization", "Bearer a"), ("X-Goog-User-Project", "q")), Credential("Bearer a", "q")),
        ("access_token=u%2Fv", (), Credential("Bearer u/v")),
        ("oauth_token=u", (), Credential("Bearer u")),
        ("access_token=u", (("Authorization", "Bearer a"),), Credential("Bearer a")),
        ("key=k", (), Credential()),
    ],
)
def test_a_credential_is_found_in_header_or_url(query: str, headers: Headers, credential: Credential) -> None:
    """The header comes first, then a token in the URL; an API key is nobody."""
    assert credential_of(HttpRequest("GET", "/", query, headers)) == credential
