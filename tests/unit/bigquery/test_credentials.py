import pytest

from bqgate.bigquery.credentials import AnonymousCredentials, CallerCredentials, with_token
from bqgate.domain.principal import Credential
from bqgate.wire.http_message import Headers, HttpRequest

CALLER = Credential("Bearer caller", "quota-project")


# Headers that Google, or a front end of its, may take for who calls.
IDENTITY_HEADERS = (
    "Cookie",
    "Proxy-Authorization",
    "X-GData-Key",
    "x-goog-api-key",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-Authenticated-User-ID",
    "X-Goog-AuthUser",
    "X-Goog-IAM-Authority-Selector",
    "X-Goog-IAM-Authorization-Token",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-PageId",
    "X-Serverless-Authorization",
)
IDENTITY_PARAMETERS = ("access_token", "oauth%5Ftoken", "bearer_token", "key", "KEY", "authuser", "%24httpHeaders")
# Those that say whose quota is used.
QUOTA_HEADERS = ("X-Goog-User-Project", "X-Goog-Quota-User")
QUOTA_PARAMETERS = ("userProject", "quotaUser", "userIp")


async def test_the_callers_token_and_quota_project_pass() -> None:
    """They go on as they came, once, and so does whatever is no credential."""
    headers = (("authorization", "Bearer caller"), ("x-goog-user-project", "quota-project"), ("X-Other", "stays"))
    call = HttpRequest("GET", "/p", "quotaUser=a%2Fb&userIp=192.0.2.1&alt=json&prettyPrint=false", headers)
    assert await CallerCredentials().applied_to(call, CALLER) == call


@pytest.mark.parametrize("credential", [CALLER, Credential()], ids=["a caller with a token", "one without"])
@pytest.mark.parametrize("name", IDENTITY_HEADERS)
async def test_no_second_identity_goes_beside_the_callers(name: str, credential: Credential) -> None:
    """BigQuery runs in the name that the gate books, or in none; headers of other families stay."""
    call = HttpRequest("GET", "/p", "", ((name, "somebody else's"), ("X-Goog-Request-Reason", "stays")))
    sent = await CallerCredentials().applied_to(call, credential)
    assert "somebody else's" not in {value for _, value in sent.headers}
    assert sent.header("x-goog-request-reason") == "stays"
    assert sent.header("authorization") == credential.authorization


@pytest.mark.parametrize("credential", [CALLER, Credential()], ids=["a caller with a token", "one without"])
@pytest.mark.parametrize("name", IDENTITY_PARAMETERS)
async def test_no_second_identity_goes_in_the_url(name: str, credential: Credential) -> None:
    """However a parameter's name is written."""
    call = HttpRequest("GET", "/p", f"{name}=theirs&alt=json&pageToken=a%2Fb")
    assert (await CallerCredentials().applied_to(call, credential)).query == "alt=json&pageToken=a%2Fb"


async def test_one_quota_project_goes_upstream() -> None:
    """The one that the gate's own calls for this caller bear."""
    headers = (("X-Goog-User-Project", "quota-project"), ("x-goog-user-project", "another"))
    sent = await CallerCredentials().applied_to(HttpRequest("GET", "/p", "", headers), CALLER)
    assert [value for key, value in sent.headers if key.lower() == "x-goog-user-project"] == ["quota-project"]


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


@pytest.mark.parametrize("name", ["AUTHORIZATION", *IDENTITY_HEADERS, *QUOTA_HEADERS])
async def test_no_credential_header_reaches_a_stand_in(name: str) -> None:
    """Whatever Google could take for a credential, or for somebody's quota, is dropped; other headers stay."""
    call = HttpRequest("GET", "/p", "", ((name, "callers"), ("X-Other", "stays")))
    assert (await AnonymousCredentials().applied_to(call, CALLER)).headers == (("X-Other", "stays"),)


@pytest.mark.parametrize("name", [*IDENTITY_PARAMETERS, *QUOTA_PARAMETERS])
async def test_no_credential_in_the_url_reaches_a_stand_in(name: str) -> None:
    """However a parameter's name is written, it is dropped where it could bring a credential along."""
    call = HttpRequest("GET", "/p", f"{name}=callers&alt=json&pageToken=a%2Fb")
    assert (await AnonymousCredentials().applied_to(call, CALLER)).query == "alt=json&pageToken=a%2Fb"


def test_the_gates_token_is_the_only_one() -> None:
    """A token of the gate's own takes the place of everything that came."""
    call = HttpRequest("GET", "/p", "access_token=a", (("authorization", "Bearer b"), ("Authorization", "Bearer c")))
    assert with_token(call, "own") == HttpRequest("GET", "/p", "", (("Authorization", "Bearer own"),))
