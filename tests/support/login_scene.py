"""Set a scene for real clients that must log in: a gate that asks everybody who they are, and what it hands out.

Two customers, acme and globex, share one upstream account (credentials anonymous), so the gate keeps them apart. The
first super_admin's key is made by a `bqgate keys create --local` process; further keys come from such processes
(`run_keys`) or over the admin API, asked with that first key alone. A test gives its key a principal of its own, and
`booked` tells what that principal spent, whoever paid.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account

from bqgate.sandbox import SandboxSettings
from tests.support.certificates import make_pair, write_pair
from tests.support.free_ports import free_port
from tests.support.gate_stack import Stack, running_stack

SCOPES = ("https://www.googleapis.com/auth/bigquery",)
PROJECTS = {"acme": "acme-prod", "globex": "globex-prod"}
# Many keys are spoilt on purpose here, and one principal makes all of them.
LIMITS: dict[str, Any] = {
    "identity": {"failed_logins_per_minute": 10_000},
    "rate_limits": {"other_per_minute": 100_000},
}
# What would lead a client to another gate, or past what this one handed out.
_MISLEADING = {
    "BIGQUERY_EMULATOR_HOST",
    "BQGATE_CONFIG",
    "BQGATE_KEY_FILE",
    "BQGATE_TOKEN",
    "BQGATE_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "REQUESTS_CA_BUNDLE",
}


@dataclass
class HandedOut:
    """A key of the gate's, and the file or the text that its holder has."""

    id: str
    file: Path | None = None
    token: str = ""

    @property
    def path(self) -> str:
        """The key file, as clients want it."""
        assert self.file is not None
        return str(self.file)


@dataclass
class LoginScene:
    """The running gate, and the first super_admin's session. `ca_file` is set where the gate speaks https."""

    stack: Stack
    folder: Path
    url: str
    ca_file: Path | None
    root: AuthorizedSession

    def key_file(self, principal: str, *, customer: str = "acme", role: str = "user") -> HandedOut:
        """A key file out of the answer of POST /admin/v1/keys."""
        made = self._create(principal, customer=customer, role=role, kind="key_file")
        file = self.folder / f"{made['id']}.json"
        file.write_text(json.dumps(made["key_file"]))
        return HandedOut(made["id"], file)

    def static_token(self, principal: str, *, customer: str = "acme", role: str = "user") -> HandedOut:
        """A static token out of the same answer."""
        made = self._create(principal, customer=customer, role=role, kind="token")
        return HandedOut(made["id"], token=made["token"])

    def external_account(self, principal: str, *, customer: str = "acme") -> HandedOut:
        """An external-account file out of the same answer, with its token in a file beside it."""
        made = self._create(principal, customer=customer, role="user", kind="token")
        file, token_file = self.folder / f"{made['id']}.account.json", self.folder / f"{made['id']}.token"
        token_file.write_text(made["token"])
        account = made["external_account"]
        account["credential_source"]["file"] = str(token_file)
        file.write_text(json.dumps(account))
        return HandedOut(made["id"], file, made["token"])

    def revoke(self, key: HandedOut) -> None:
        """End a key."""
        answer = self.root.delete(f"{self.url}/admin/v1/keys/{key.id}")
        assert answer.status_code == 204, answer.text

    def run_keys(self, *words: str) -> None:
        """Run `bqgate keys …` where the ledger is."""
        run_keys(self.folder, *words)

    def booked(self, principal: str) -> list[str]:
        """Who paid for each job that a principal ran, once nothing is held any more."""
        for customer in PROJECTS:
            self.stack.settle(customer)
        answer = self.root.get(f"{self.url}/v1/jobs", params={"page_size": "1000"})
        assert answer.status_code == 200, answer.text
        ran = [each for each in answer.json()["jobs"] if each["principal"] == principal and each["kind"] == "charge"]
        return [each["customer"] for each in ran]

    def granted_logins(self) -> int:
        """How many access tokens the gate has given so far."""
        return int(self.stack.gate.metrics.value("bqgate_logins_total", result="granted", reason=""))

    def refused_calls(self) -> int:
        """How many calls for BigQuery were answered 401."""
        return int(self.stack.gate.metrics.value("bqgate_refused_calls_total", reason="Unauthenticated"))

    def environment(self, **more: str) -> dict[str, str]:
        """A client's environment: this one without what misleads, and with the authority that signed the gate."""
        kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        return kept | self.trust | more

    @property
    def trust(self) -> dict[str, str]:
        """How Python and Node clients are told of the authority."""
        if self.ca_file is None:
            return {}
        return dict.fromkeys(("REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "HTTPLIB2_CA_CERTS"), str(self.ca_file))

    def _create(self, principal: str, **body: str) -> dict[str, Any]:
        answer = self.root.post(f"{self.url}/admin/v1/keys", json={"principal": principal, **body})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


@contextmanager
def open_login_scene(folder: Path, *, is_https: bool = False) -> Iterator[LoginScene]:
    """Run a sandbox and a gate with identity required, and log in as the first super_admin."""
    port = free_port()  # key files bear the address, so it is chosen before the gate is there
    server: dict[str, Any] = {"port": port}
    url, ca_file = f"http://127.0.0.1:{port}", None
    if is_https:
        ca_file, key_file = folder / "tls.crt", folder / "tls.key"
        write_pair(make_pair("a gate"), ca_file, key_file)
        server |= {"tls_cert_file": str(ca_file), "tls_key_file": str(key_file)}
        url = f"https://localhost:{port}"  # the name in the certificate
    document = {
        "server": server,
        "identity": {"mode": "required", "token_secret": secrets.token_urlsafe(48), "public_url": url},
        "upstream": {"credentials": "anonymous"},
        "customers": {name: {"projects": [project]} for name, project in PROJECTS.items()},
        "pricing": {"model": "on_demand"},
    }
    document = {name: {**document.get(name, {}), **LIMITS.get(name, {})} for name in {*document, *LIMITS}}
    with running_stack(folder, document, sandbox=SandboxSettings(row_multiplier=1)) as stack:
        run_keys(folder, "create", "--role", "super_admin", "--out", str(folder / "root.json"))
        with _session(folder / "root.json", ca_file) as root:
            yield LoginScene(stack, folder, url, ca_file, root)


def run_keys(folder: Path, *words: str) -> None:
    """Run `bqgate keys … --local` in a process of its own, beside the gate whose settings lie in a folder."""
    command = [sys.executable, "-m", "bqgate", "keys", *words, "--local", "--config", str(folder / "bqgate.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def credentials_of(key_file: str, **options: Any) -> Any:
    """A key file's credentials, as google-auth reads them."""
    load: Any = service_account.Credentials.from_service_account_file
    return load(key_file, scopes=SCOPES, **options)


@contextmanager
def _session(key_file: Path, ca_file: Path | None) -> Iterator[AuthorizedSession]:
    """A session that logs in at the gate, as any program of Google's library would."""
    login = requests.Session()
    login.trust_env = False  # a bundle named in the environment would go before what is said here
    login.verify = True if ca_file is None else str(ca_file)
    credentials = credentials_of(str(key_file))
    authorized: Any = AuthorizedSession  # google-auth declares no types
    request: Any = Request
    with login, authorized(credentials, auth_request=request(login)) as session:
        session.trust_env, session.verify = False, login.verify
        yield session
