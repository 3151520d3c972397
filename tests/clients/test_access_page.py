"""What admins copy out of docs/access.md, run as it stands against a gate that asks everybody who they are.

Only hosts, ports and the date of a raise are put in, and files lie in a folder of the test's own.
"""

import json
import os
import re
import secrets
import subprocess
import sys
from datetime import UTC, timedelta
from pathlib import Path

import pytest
import yaml
from google.api_core.exceptions import Conflict

from bqgate.clock import SystemClock
from bqgate.settings import load_settings
from tests.support.certificates import make_pair, write_pair
from tests.support.doc_blocks import ROOT, block, blocks
from tests.support.login_scene import LoginScene, credentials_of
from tests.support.python_client import python_client

pytestmark = pytest.mark.long

BEGIN = [f"docs/access.md#begin.{number}" for number in (1, 2, 3, 4)]
ADMINS = [
    BEGIN[3],
    "docs/access.md#google-callers.1",
    "docs/access.md#the-command-line.1",
]
OWN_CREDENTIALS = "docs/access.md#the-gates-own-credentials.1"
EXCHANGE = "docs/access.md#access-tokens-by-hand.1"
PROVIDER = "docs/access.md#your-identity-provider.1"


def run(text: str, scene: LoginScene, folder: Path) -> str:
    """What a shell prints for it in a folder with the first admin's key, once all of it has ended well."""
    (folder / "root.json").write_text((scene.folder / "root.json").read_text())
    path = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", text],
        cwd=folder,
        env=scene.environment(PATH=path, PYTHONPATH=str(ROOT), BQGATE_KEY_FILE="root.json"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_block_is_run() -> None:
    """A block that nobody runs would rot."""
    assert {*BEGIN, *ADMINS, OWN_CREDENTIALS, EXCHANGE, PROVIDER} == {each.name for each in blocks("docs/access.md")}


def test_the_first_steps_make_a_valid_gate_and_a_key(tmp_path: Path) -> None:
    """The secret out of the shell, the settings, and the first admin's key where the ledger is."""
    write_pair(make_pair("a gate"), tmp_path / "tls.crt", tmp_path / "tls.key")
    (tmp_path / "bqgate.yaml").write_text(block(BEGIN[1]).text.replace("/etc/bqgate", str(tmp_path)))
    path = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BQGATE_")}
    done = subprocess.run(
        ["sh", "-ec", f"{block(BEGIN[0]).text}\n{block(BEGIN[2]).text}"],
        cwd=tmp_path,
        env={**kept, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    key = json.loads((tmp_path / "root.json").read_text())
    assert "https://gate.example.com:8443/oauth2/token" == key["token_uri"]


@pytest.mark.parametrize("name", ADMINS)
def test_commands_of_admins_work(name: str, gate: LoginScene, tmp_path: Path) -> None:
    """Each block ends well with the first admin's key; what they name is there, and a raise ends later."""
    run_job("job_1", gate)
    soon = (SystemClock().now().astimezone(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = block(name).text.replace("https://gate.example.com:8444", gate.url)
    run(re.sub(r"(?<=--until )\S+", soon, text), gate, tmp_path)


def run_job(job_id: str, scene: LoginScene) -> None:
    """Run a job of acme's by this id, unless it has been run."""
    credentials = credentials_of(scene.key_file("page").path)
    with python_client(scene.url, "acme-prod", credentials=credentials) as client:
        try:
            client.query("SELECT 1", job_id=job_id, job_retry=None).result()
        except Conflict:
            return


def test_data_and_accounts_of_customers_are_set(gate: LoginScene, tmp_path: Path) -> None:
    """The second line is for gates with credentials of their own only, as this one says that has none."""
    data, account = block(OWN_CREDENTIALS).text.splitlines()
    assert "shared.reference" in run(data, gate, tmp_path)
    with pytest.raises(AssertionError, match=r"is used with upstream\.credentials: service_account only"):
        run(account, gate, tmp_path)


def test_a_static_token_is_exchanged_by_hand(gate: LoginScene, tmp_path: Path) -> None:
    """Curl gets an access token for what the token's file holds."""
    (tmp_path / "acme.token").write_text(gate.static_token("by-hand").token)
    answer = json.loads(run(block(EXCHANGE).text.replace("https://gate", gate.url), gate, tmp_path))
    assert "Bearer" == answer["token_type"]
    assert answer["access_token"]


def test_settings_of_an_identity_provider_are_valid(tmp_path: Path) -> None:
    """Beside the section that asks for a login."""
    document = yaml.safe_load(block(PROVIDER).text)
    identity = {"mode": "required", "public_url": "https://gate.example.com", "token_secret": secrets.token_urlsafe(48)}
    file = tmp_path / "bqgate.yaml"
    file.write_text(yaml.safe_dump({"identity": identity, **document}))
    assert ["corporate"] == list(load_settings(file, {}).issuers)
