"""What is built on Google's Python libraries logs in to the gate: pandas-gbq, SQLAlchemy, googleapiclient."""

from collections.abc import Callable
from typing import Any

import pandas_gbq
import pytest
import sqlalchemy as sa
from google.auth.exceptions import GoogleAuthError
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from tests.support.login_scene import PROJECTS, HandedOut, LoginScene, credentials_of
from tests.support.python_client import token_credentials

# pandas-gbq and sqlalchemy-bigquery warn about what Google's client announces to change, and about rows by REST.
pytestmark = [
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Cannot create BigQuery Storage client"),
]

SQL = "SELECT COUNT(*) AS n FROM nycflights13.airlines"
PROJECT = PROJECTS["acme"]


@pytest.fixture
def by_variable(gate: LoginScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client beneath these tools reads this variable, and no other says anything."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", gate.url)
    monkeypatch.setattr(pandas_gbq.context, "_credentials", None)  # it keeps what it was once given


def read_frame(key: HandedOut) -> int:
    """pandas-gbq with a key file's credentials."""
    frame = pandas_gbq.read_gbq(SQL, PROJECT, credentials=credentials_of(key.path), progress_bar_type=None)
    return int(frame["n"][0])


def read_by_sqlalchemy(key: HandedOut) -> int:
    """SQLAlchemy with the key file named by an argument."""
    return read_by_engine(sa.create_engine(f"bigquery://{PROJECT}", credentials_path=key.path))


def read_by_address(key: HandedOut) -> int:
    """SQLAlchemy with the key file named in the URL."""
    return read_by_engine(sa.create_engine(f"bigquery://{PROJECT}?credentials_path={key.path}"))


def read_by_engine(engine: sa.Engine) -> int:
    try:
        with engine.connect() as connection:
            number: int = connection.execute(sa.text(SQL)).scalar_one()
    finally:
        engine.dispose()
    return number


@pytest.mark.usefixtures("by_variable")
@pytest.mark.parametrize("read", [read_frame, read_by_sqlalchemy, read_by_address])
def test_a_key_file_logs_in(gate: LoginScene, read: Callable[[HandedOut], int]) -> None:
    """The query is booked on the key's principal; the same file after its revocation gets nothing."""
    key = gate.key_file(read.__name__)
    assert read(key) == 16
    assert ["acme"] == gate.booked(read.__name__)
    gate.revoke(key)
    with pytest.raises(Exception, match="invalid_grant: This key was revoked"):
        read(key)


@pytest.mark.usefixtures("by_variable")
def test_pandas_finds_the_key_by_itself(gate: LoginScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOOGLE_APPLICATION_CREDENTIALS is enough."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", gate.key_file("pandas-default").path)
    frame = pandas_gbq.read_gbq(SQL, PROJECT, progress_bar_type=None)
    assert [16] == list(frame["n"])
    assert {"acme"} == set(gate.booked("pandas-default"))


def run_query(url: str, credentials: Any) -> str:
    """jobs.query by a client that knows the gate by its discovery document alone."""
    address = f"{url}/discovery/v1/apis/{{api}}/{{apiVersion}}/rest"
    options: dict[str, Any] = {"discoveryServiceUrl": address, "static_discovery": False, "cache_discovery": False}
    with build("bigquery", "v2", credentials=credentials, **options) as service:
        body = {"query": SQL, "useLegacySql": False}
        answer = service.jobs().query(projectId=PROJECT, body=body).execute()
    number: str = answer["rows"][0]["f"][0]["v"]
    return number


def test_googleapiclient_logs_in(gate: LoginScene) -> None:
    """By a key file and by a static token, each booked on its own principal; ended, neither gets in."""
    key, token = gate.key_file("discovery-file"), gate.static_token("discovery-token")
    assert run_query(gate.url, credentials_of(key.path)) == "16"
    assert run_query(gate.url, token_credentials(token.token)) == "16"
    for each, principal in ((key, "discovery-file"), (token, "discovery-token")):
        assert ["acme"] == gate.booked(principal)
        gate.revoke(each)
    refused = gate.refused_calls()
    with pytest.raises(GoogleAuthError, match="invalid_grant: This key was revoked"):
        run_query(gate.url, credentials_of(key.path))
    with pytest.raises((HttpError, GoogleAuthError)):
        run_query(gate.url, token_credentials(token.token))
    assert gate.refused_calls() - refused == 1
