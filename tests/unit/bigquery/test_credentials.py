import pytest

from bqgate.bigquery.credentials import AnonymousCredentials, CallerCredentials
from bqgate.domain.principal import Credential
from bqgate.wire.exchange import Call

CALLER = Credential("Bearer caller", "quota-project")


def test_what_the_caller_sent_passes() -> None:
    """Headers, cookies and tokens in the URL go on as they came, once."""
    headers = (("authorization", "Bearer caller"), ("x-goog-user-project", "quota-project"), ("Cookie", "c"))
    call = Call("GET", "/p", "key=k&access_token=t", headers)
    assert CallerCredentials().applied_to(call, CALLER) == call


def test_the_gates_own_call_bears_the_callers_credential() -> None:
    """A dry run is asked in the name of whoever wants to run the query."""
    call = CallerCredentials().applied_to(Call("POST", "/p"), CALLER)
    assert call.headers == (("Authorization", "Bearer caller"), ("x-goog-user-project", "quota-project"))


@pytest.mark.parametrize("name", ["access_token", "oauth_token"])
def test_a_token_in_the_url_is_not_doubled(name: str) -> None:
    """A call with its token in the URL gets no second one in a header."""
    call = Call("GET", "/p", f"{name}=t")
    assert CallerCredentials().applied_to(call, Credential("Bearer t")) == call


def test_without_credential_nothing_is_added() -> None:
    """An anonymous caller stays anonymous."""
    assert CallerCredentials().applied_to(Call("GET", "/p"), Credential()) == Call("GET", "/p")


def test_anonymous_drops_everything() -> None:
    """No credential of any form reaches a stand-in."""
    headers = (
        ("AUTHORIZATION", "Bearer caller"),
        ("X-Goog-User-Project", "q"),
        ("x-goog-api-key", "k"),
        ("X-Goog-IAM-Authorization-Token", "t"),
        ("Cookie", "c"),
        ("X-Other", "stays"),
    )
    call = Call("GET", "/p", "key=k&alt=json&oauth%5Ftoken=t&access_token=t", headers)
    assert AnonymousCredentials().applied_to(call, CALLER) == Call("GET", "/p", "alt=json", (("X-Other", "stays"),))
