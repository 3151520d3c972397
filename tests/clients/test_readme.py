"""What users copy out of the README, run as it stands: in a folder of its own, with nothing but `bqgate` on PATH.

Only ports and hosts are put in. That the README's first line leads here from a clone is shown by tests/smoke.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bqgate.settings import load_settings
from tests.support.client_scene import wait_until
from tests.support.doc_blocks import ROOT, block, blocks
from tests.support.free_ports import free_port

pytestmark = pytest.mark.long

AIRLINE = "9E Endeavor Air Inc."
OWN_QUERY = "README.md#run-your-own-query.1"
SPENT = "README.md#see-what-is-spent.1"
PAIR, REPLICAS, LOGINS = (f"README.md#run-it.{number}" for number in (1, 2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder whose .venv is the environment of these tests, as `make demo` leaves one in a clone."""
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """This one without settings of the gate or of Google's clients, and with the programs of these tests first."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("BQGATE_", "GOOGLE_", "BIGQUERY_"))
    }
    return {**kept, "PATH": f"{sys.prefix}/bin{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(ROOT), **more}


def run(text: str, folder: Path, variables: dict[str, str]) -> str:
    """What a shell prints for it, once all of it has ended well."""
    done = subprocess.run(
        ["sh", "-ec", text], cwd=folder, env=variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running(text: str, folder: Path, variables: dict[str, str], gate_url: str) -> Iterator[None]:
    """A shell that runs it, with all that it has started, from when the gate is ready."""
    log = folder / "shell.log"
    with log.open("w") as output, ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                ["sh", "-ec", text],
                cwd=folder,
                env=variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        stack.callback(end_group, process.pid)
        wait_until(lambda: process.poll() is not None or is_ready(gate_url), "the gate is ready", timeout_s=60)
        assert process.poll() is None, log.read_text()
        yield


def end_group(leader: int) -> None:
    """End a shell and what it has started in the background."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)


def is_ready(gate_url: str) -> bool:
    try:
        return requests.get(f"{gate_url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_every_block_is_run() -> None:
    """A block that nobody runs would rot; `make demo` is run by tests/smoke/first_query.py, `make test` runs this."""
    known = {"README.md#see-it-work.1", OWN_QUERY, PAIR, REPLICAS, LOGINS, SPENT, "README.md#test-it.1"}
    assert known == {each.name for each in blocks("README.md")}


def test_the_stand_in_and_the_gate_answer_an_own_query(folder: Path) -> None:
    """`init`, `sandbox` and `serve` in an empty folder, the query of the README, and the commands that show spend."""
    gate_port, sandbox_port = free_port(), free_port()
    gate_url = f"http://127.0.0.1:{gate_port}"
    variables = environment(BQGATE_SERVER__PORT=str(gate_port), BQGATE_UPSTREAM__URL=f"http://127.0.0.1:{sandbox_port}")
    text = block(PAIR).text.replace("bqgate sandbox ", f"bqgate sandbox --port {sandbox_port} ")
    with running(text, folder, variables, gate_url):
        printed = run(block(OWN_QUERY).at(gate_url), folder, environment())
        spent = run(block(SPENT).text, folder, environment(BQGATE_URL=gate_url))
    assert AIRLINE in printed
    assert ["total", "day_spent"] == [word for word in ("total", "day_spent") if word in spent]


def test_settings_for_replicas_are_valid(folder: Path) -> None:
    """They are a whole settings file."""
    file = folder / "bqgate.yaml"
    file.write_text(block(REPLICAS).text)
    settings = load_settings(file, {})
    assert "redis://redis:6379/0" == str(settings.budgets.url)


def test_a_first_admin_hands_out_a_key(folder: Path) -> None:
    """The first three lines before the gate runs, the last one once it does; both files are keys."""
    port = free_port()
    gate_url = f"http://127.0.0.1:{port}"
    (folder / "bqgate.yaml").write_text("customers: {acme: {projects: [acme-prod]}}\n")
    text = block(LOGINS).text.replace("https://gate.example.com", gate_url)
    before, last = text.rstrip("\n").rsplit("\n", 1)
    assert last.endswith("# once the gate runs")
    variables = environment(
        BQGATE_SERVER__PORT=str(port), GOOGLE_APPLICATION_CREDENTIALS=str(service_account(folder / "google.json"))
    )
    with running(f"{before}\nexec bqgate serve --config bqgate.yaml", folder, variables, gate_url):
        run(last, folder, environment())
    keys = [json.loads((folder / name).read_text()) for name in ("root.json", "acme.json")]
    assert ["service_account"] * 2 == [key["type"] for key in keys]
    assert f"{gate_url}/oauth2/token" == keys[1]["token_uri"]


def service_account(file: Path) -> Path:
    """Credentials of the gate's own in Google's form; nothing here asks Google with them."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content = {
        "type": "service_account",
        "project_id": "gate",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "gate@gate.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:9/token",
    }
    file.write_text(json.dumps(content))
    return file
