"""Faults of a gate's surroundings, each made in a folder of its own: what serve must say of it, and doctor too.

Used by the house test that no command ends in a traceback. `prepare` makes the fault and returns the environment that
leads a command into it.
"""

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.certificates import make_pair

# A gate that would come up, but for the fault. Nothing listens at port 9, and nothing is sent.
PLAIN = {
    "BQGATE_UPSTREAM__URL": "http://127.0.0.1:9",
    "BQGATE_UPSTREAM__CREDENTIALS": "anonymous",
    "BQGATE_SERVER__PORT": "0",
    # This machine's own credentials are none of a test's business.
    "NO_GCE_CHECK": "true",
    "CLOUDSDK_CONFIG": "/nonexistent",
}
OWN = {"BQGATE_UPSTREAM__CREDENTIALS": "service_account"}

Environment = Mapping[str, str]


@dataclass(frozen=True)
class Fault:
    """One fault. `subject`: doctor's check that is red; `says`: words of the line that serve ends with."""

    name: str
    subject: str
    says: tuple[str, ...]
    prepare: Callable[[Path], Environment]
    status: int = 1


@contextmanager
def taken_port() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        yield port


@cache
def _rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form).decode()


def key_document(**changes: object) -> str:
    """A service account's key file, but for some of its fields."""
    document: dict[str, object] = {
        "type": "service_account",
        "project_id": "gate-project",
        "private_key_id": "1",
        "private_key": _rsa_key(),
        "client_email": "gate@gate-project.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:9/token",
    }
    return json.dumps(document | changes)


def _key_file(content: str | bytes) -> Callable[[Path], Environment]:
    def prepare(folder: Path) -> Environment:
        file = folder / "key.json"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {**OWN, "BQGATE_UPSTREAM__SERVICE_ACCOUNT_FILE": str(file)}

    return prepare


def _default_credentials(content: str | None) -> Callable[[Path], Environment]:
    def prepare(folder: Path) -> Environment:
        file = folder / "adc.json"
        if content is not None:
            file.write_text(content)
        return {**OWN, "GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    return prepare


def _ledger_file(make: Callable[[Path], object]) -> Callable[[Path], Environment]:
    def prepare(folder: Path) -> Environment:
        make(folder / "ledger.db")
        return {"BQGATE_LEDGER__URL": f"sqlite:///{folder}/ledger.db"}

    return prepare


def _later_version(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE ledger_revision (version_num VARCHAR(32))")
        database.execute("INSERT INTO ledger_revision VALUES ('9999')")
    database.close()


def _settings_file(content: bytes | None) -> Callable[[Path], Environment]:
    def prepare(folder: Path) -> Environment:
        file = folder / "bqgate.yaml"
        if content is not None:
            file.write_bytes(content)
        return {"BQGATE_CONFIG": str(file)}

    return prepare


def _certificate(folder: Path) -> Environment:
    (folder / "tls.crt").write_bytes(make_pair("gate")[0])
    (folder / "tls.key").write_bytes(make_pair("other")[1])
    return {
        "BQGATE_SERVER__TLS_CERT_FILE": str(folder / "tls.crt"),
        "BQGATE_SERVER__TLS_KEY_FILE": str(folder / "tls.key"),
    }


def _set(**variables: str) -> Callable[[Path], Environment]:
    return lambda _folder: variables


KEY, ADC = "credentials", "credentials"
FAULTS = (
    Fault("a host of another machine", "port", ("192.0.2.1", "127.0.0.1"), _set(BQGATE_SERVER__HOST="192.0.2.1")),
    Fault("a host that is no name", "port", ("a..b", "no such name"), _set(BQGATE_SERVER__HOST="a..b")),
    Fault("no default credentials", ADC, ("gcloud auth application-default login",), _set(**OWN)),
    Fault("credentials that are nowhere", ADC, ("adc.json", "No such file"), _default_credentials(None)),
    Fault("credentials that are empty", ADC, ("adc.json", "not JSON"), _default_credentials("")),
    Fault("credentials of {}", ADC, ("adc.json", "valid type"), _default_credentials("{}")),
    Fault("credentials of []", ADC, ("adc.json", "no JSON object"), _default_credentials("[]")),
    Fault("a key file that is empty", KEY, ("key.json", "not JSON"), _key_file("")),
    Fault("a key file of {}", KEY, ("key.json", "client_email, private_key, token_uri missing"), _key_file("{}")),
    Fault("a key file of bytes", KEY, ("key.json", "not JSON"), _key_file(b"\xff\xfe\x00")),
    Fault("a user's credentials", KEY, ("key.json", "'authorized_user'"), _key_file('{"type": "authorized_user"}')),
    Fault("a broken key", KEY, ("key.json", "Make a new key"), _key_file(key_document(private_key="----"))),
    Fault("a key without address", KEY, ("key.json", "client_email"), _key_file(key_document(client_email=None))),
    Fault(
        "a ledger without folder",
        "ledger",
        ("/nonexistent/ledger.db", "Its folder is not there"),
        _set(BQGATE_LEDGER__URL="sqlite:////nonexistent/ledger.db"),
    ),
    Fault("a ledger that is a folder", "ledger", ("ledger.db", "It is a folder"), _ledger_file(Path.mkdir)),
    Fault(
        "a ledger that is no database",
        "ledger",
        ("ledger.db", "file is not a database", "backup"),
        _ledger_file(lambda file: file.write_bytes(b"no database" * 500)),
    ),
    Fault("a ledger of a later version", "ledger", ("ledger.db", "later bqgate"), _ledger_file(_later_version)),
    Fault(
        "PostgreSQL that is away",
        "ledger",
        ("postgresql://gate:*****@127.0.0.1:9/bqgate", "Connection refused", "See that the database runs"),
        _set(BQGATE_LEDGER__URL="postgresql://gate:7rtQz2Lw@127.0.0.1:9/bqgate"),
    ),
    Fault("a certificate of another key", "certificate", ("tls.crt", "one pair"), _certificate),
    Fault(
        "a Redis at no port",
        "settings",
        ("budgets.url", "redis://USER:PASSWORD@HOST:PORT"),
        _set(BQGATE_BUDGETS__URL="redis://:7rtQz2Lw@127.0.0.1:first/0"),
        status=2,
    ),
    Fault(
        "a Redis with an unknown option",
        "settings",
        ("budgets.url", "nonsense"),
        _set(BQGATE_BUDGETS__URL="redis://127.0.0.1/0?nonsense=1"),
        status=2,
    ),
    Fault("settings that are nowhere", "settings", ("bqgate.yaml", "--config"), _settings_file(None), status=2),
    Fault("settings in bytes", "settings", ("bqgate.yaml", "UTF-8"), _settings_file(b"a: \xff\xfe"), status=2),
    Fault(
        "settings of another encoding",
        "settings",
        ("bqgate.yaml", "UTF-8"),
        _settings_file(yaml.safe_dump({"server": {}}).encode("utf-16")),
        status=2,
    ),
)
