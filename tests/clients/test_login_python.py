"""Google's Python client logs in to the gate with what the gate handed out, and with nothing else."""

from datetime import timedelta
from typing import Any

import google.auth.jwt
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Forbidden, Unauthorized
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, OAuthError, RefreshError
from google.cloud import bigquery

from bqgate.clock import SystemClock
from tests.support.login_scene import PROJECTS, HandedOut, LoginScene, credentials_of
from tests.support.python_client import anonymous, python_client, token_credentials

AIRLINES = "SELECT COUNT(*) AS n FROM nycflights13.airlines"
BIGQUERY = "https://bigquery.googleapis.com/"
PROJECT = PROJECTS["acme"]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment says where the gate is or who asks."""
    for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["http", "https"])
def either_gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LoginScene:
    """Each gate in turn; the client is told of the authority behind https."""
    scene: LoginScene = request.getfixturevalue("gate" if request.param == "http" else "https_gate")
    for variable, value in scene.trust.items():
        monkeypatch.setenv(variable, value)
    return scene


def by_key_file(scene: LoginScene, key: HandedOut) -> bigquery.Client:
    """A client as docs/access.md tells users to make it."""
    load: Any = bigquery.Client.from_service_account_json
    client = load(key.path, client_options=ClientOptions(api_endpoint=scene.url))
    assert isinstance(client, bigquery.Client)
    return client


def count_airlines(client: bigquery.Client) -> int:
    """Run a query; it has 16 for an answer."""
    (row,) = client.query_and_wait(AIRLINES, job_config=bigquery.QueryJobConfig(use_query_cache=False))
    number: int = row["n"]
    return number


def test_a_key_file_logs_in(either_gate: LoginScene) -> None:
    """The file alone says who asks, where to log in and for which project; a revoked one is refused in words."""
    key = either_gate.key_file("by-file")
    with by_key_file(either_gate, key) as client:
        assert PROJECT == client.project
        assert count_airlines(client) == 16
    assert ["acme"] == either_gate.booked("by-file")
    either_gate.revoke(key)
    with by_key_file(either_gate, key) as client, pytest.raises(RefreshError, match="invalid_grant: This key was revo"):
        count_airlines(client)


def test_the_environment_is_enough(either_gate: LoginScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOOGLE_APPLICATION_CREDENTIALS and BIGQUERY_EMULATOR_HOST: not a word of it in the program."""
    key = either_gate.key_file("by-environment", customer="globex")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key.path)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", either_gate.url)
    with bigquery.Client() as client:
        assert PROJECTS["globex"] == client.project
        assert count_airlines(client) == 16
    assert ["globex"] == either_gate.booked("by-environment")


def test_an_expired_token_is_renewed(gate: LoginScene) -> None:
    """The client logs in anew by itself: when it knows that its token has ended, and when the gate says so."""
    with by_key_file(gate, gate.key_file("renewing")) as client:
        before = gate.granted_logins()
        count_airlines(client)
        assert gate.granted_logins() - before == 1
        count_airlines(client)
        assert gate.granted_logins() - before == 1
        client._credentials.expiry = SystemClock().now().replace(tzinfo=None) - timedelta(minutes=1)
        count_airlines(client)
        assert gate.granted_logins() - before == 2
        header, claims, signature = client._credentials.token.split(".")
        client._credentials.token = f"{header}.{claims}.{signature[::-1]}"
        refused = gate.refused_calls()
        count_airlines(client)
        assert (gate.granted_logins() - before, gate.refused_calls() - refused) == (3, 1)
    assert ["acme"] * 4 == gate.booked("renewing")


def test_a_client_that_is_at_work_ends_with_its_key(gate: LoginScene) -> None:
    """Its access token has minutes to live and is refused all the same."""
    key = gate.key_file("at-work")
    with by_key_file(gate, key) as client:
        count_airlines(client)
        gate.revoke(key)
        refused = gate.refused_calls()
        with pytest.raises(RefreshError, match="This key was revoked"):
            count_airlines(client)
        assert gate.refused_calls() - refused == 1
    assert ["acme"] == gate.booked("at-work")


def test_a_key_signs_its_own_tokens(gate: LoginScene) -> None:
    """Self-signed JWTs, by scope and by audience, need no login; a revoked key's are refused."""
    key = gate.key_file("signing")
    by_scope = credentials_of(key.path, always_use_jwt_access=True)
    signed: Any = google.auth.jwt.Credentials
    by_audience = signed.from_service_account_file(key.path, audience=BIGQUERY)
    before = gate.granted_logins()
    for credentials in (by_scope, by_audience):
        with python_client(gate.url, PROJECT, credentials=credentials) as client:
            assert count_airlines(client) == 16
    assert gate.granted_logins() == before
    assert ["acme"] * 2 == gate.booked("signing")
    gate.revoke(key)
    with python_client(gate.url, PROJECT, credentials=by_audience) as client, pytest.raises(Unauthorized):
        count_airlines(client)


def test_an_external_account_file_logs_in(either_gate: LoginScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the application's default; the token in the file beside it is exchanged, and a revoked one is not."""
    key = either_gate.external_account("by-exchange")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key.path)
    options = ClientOptions(api_endpoint=either_gate.url)
    before = either_gate.granted_logins()
    with bigquery.Client(PROJECT, client_options=options) as client:
        assert count_airlines(client) == 16
    assert either_gate.granted_logins() - before == 1
    assert ["acme"] == either_gate.booked("by-exchange")
    either_gate.revoke(key)
    with bigquery.Client(PROJECT, client_options=options) as client, pytest.raises(OAuthError, match="was revoked"):
        count_airlines(client)


def test_what_is_made_where_the_ledger_is_works_at_once(gate: LoginScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bqgate keys token --local` beside the running gate writes both files; the gate learns of it by itself."""
    account, token = gate.folder / "local.json", gate.folder / "local.token"
    words = ("--role", "user", "--customer", "acme", "--principal", "made-locally")
    gate.run_keys("token", *words, "--out", str(token), "--external-account", str(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    with bigquery.Client(PROJECT, client_options=ClientOptions(api_endpoint=gate.url)) as client:
        assert count_airlines(client) == 16
    with python_client(gate.url, PROJECT, credentials=token_credentials(token.read_text())) as client:
        assert count_airlines(client) == 16
    assert ["acme"] * 2 == gate.booked("made-locally")


def test_a_static_token_is_enough(gate: LoginScene) -> None:
    """As a fixed access token; after its end 401, which the client shows at once."""
    key = gate.static_token("by-token")
    with python_client(gate.url, PROJECT, credentials=token_credentials(key.token)) as client:
        assert count_airlines(client) == 16
        gate.revoke(key)
        # google-auth would renew the token, and such credentials have nothing to do it with.
        refused = gate.refused_calls()
        with pytest.raises(RefreshError, match="do not contain the necessary fields"):
            count_airlines(client)
        assert gate.refused_calls() - refused == 1
    assert ["acme"] == gate.booked("by-token")


@pytest.mark.parametrize("credentials", [anonymous(), token_credentials("ya29.somebodys-google-token")])
def test_a_stranger_is_refused(gate: LoginScene, credentials: Credentials) -> None:
    """Without a credential, and with one of Google's, nothing reaches BigQuery."""
    before, refused = len(gate.stack.sandbox.journal.entries()), gate.refused_calls()
    with python_client(gate.url, PROJECT, credentials=credentials) as client:
        with pytest.raises((Unauthorized, GoogleAuthError)):
            count_airlines(client)
        with pytest.raises((Unauthorized, GoogleAuthError)):
            list(client.list_datasets())
    assert gate.refused_calls() - refused == 2
    assert before == len(gate.stack.sandbox.journal.entries())


def test_a_customer_does_not_get_into_anothers_project(gate: LoginScene) -> None:
    """Logged in as acme, globex's project is closed: to queries, to lists, and to acme's own money."""
    with by_key_file(gate, gate.key_file("prying")) as client:
        with pytest.raises(Forbidden, match="Access Denied"):
            client.query_and_wait(AIRLINES, project=PROJECTS["globex"])
        with pytest.raises(Forbidden, match="Access Denied"):
            list(client.list_datasets(PROJECTS["globex"]))
    assert gate.booked("prying") == []
