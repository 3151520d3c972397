import pytest

from bqgate.bigquery.credentials import AnonymousCredentials, CallerCredentials, with_token
from bqgate.domain.principal import Credential
from bqgate.wire.http_message import Headers, HttpRequest

CALLER = Credential("Bearer caller", "quota-project")


async def test_what_the_caller_sent_passes() -> None:
    """Headers, cookies and API keys go on as they came, once."""
    headers = (("authorization", "Bearer caller"), ("x-goog-user-project", "quota-project"), ("Cookie", "c"))
    call = HttpRequest("GET", "/p", "key=k&alt=json", headers)
    assert await CallerCredentials().applied_to(call, CALLER) == call


async def test_the_gates_own_call_bears_the_callers_credential() -> None:
    """A dry run is asked in the name of whoever wants to run the query."""
    call = await CallerCredentials().applied_to(HttpRequest("POST", "/p"), CALLER)
    assert call.headers == (("Authorization", "Bearer caller"), ("x-goog-user-project", "quota-project"))


@pytest.mark.parametrize("name", ["access_token", "oauth_token", "bearer_token", "Access%5FToken"])
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", "Bearer caller"),),
        (("authorization", "Bearer other"),),
        (("Authorization", "Bearer caller"), ("authorization", "Bearer other")),
    ],
)
async def test_one_token_goes_upstream(name: str, headers: Headers) -> None:
    """Whoever sends two tokens is, for Google too, the one that the gate knows."""
    call = HttpRequest("GET", "/p", f"{name}=other&alt=json", headers)
    sent = await CallerCredentials().applied_to(call, Credential("Bearer caller"))
    assert (sent.query, sent.headers) == ("alt=json", (("Authorization", "Bearer caller"),))


async def test_without_credential_nothing_is_added() -> None:
    """An anonymous caller stays anonymous."""
    assert await CallerCredentials().applied_to(HttpRequest("GET", "/p"), Credential()) == HttpRequest("GET", "/p")


@pytest.mark.parametrize(
    "name",
    [
        "AUTHORIZATION",
        "Cookie",
        "Proxy-Authorization",
        "x-goog-api-key",
        "X-Goog-AuthUser",
        "X-Goog-IAM-Authority-Selector",
        "X-Goog-IAM-Authorization-Token",
        "X-Goog-IAP-JWT-Assertion",
        "X-Goog-User-Project",
        "X-Serverless-Authorization",
    ],
)
async def test_no_credential_header_reaches_a_stand_in(name: str) -> None:
    """Whatever Google could take for a credential, or for somebody's quota, is dropped; other headers stay."""
    call = HttpRequest("GET", "/p", "", ((name, "callers"), ("X-Other", "stays")))
    assert (await AnonymousCredentials().applied_to(call, CALLER)).headers == (("X-Other", "stays"),)


@pytest.mark.parametrize(
    "name",
    ["access_token", "oauth%5Ftoken", "bearer_token", "key", "KEY", "userProject", "$httpHeaders", "%24httpHeaders"],
)
async def test_no_credential_in_the_url_reaches_a_stand_in(name: str) -> None:
    """However a parameter's name is written, it is dropped where it could bring a credential along."""
    call = HttpRequest("GET", "/p", f"{name}=callers&alt=json&pageToken=a%2Fb")
    assert (await AnonymousCredentials().applied_to(call, CALLER)).query == "alt=json&pageToken=a%2Fb"


def test_the_gates_token_is_the_only_one() -> None:
    """A token of the gate's own takes the place of everything that came."""
    call = HttpRequest("GET", "/p", "access_token=a", (("authorization", "Bearer b"), ("Authorization", "Bearer c")))
    assert with_token(call, "own") == HttpRequest("GET", "/p", "", (("Authorization", "Bearer own"),))
