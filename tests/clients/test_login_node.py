"""Google's Node client logs in to the gate with what the gate handed out."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.login_scene import PROJECTS, HandedOut, LoginScene

FOLDER = Path(__file__).parent / "node"


def ask(node: str, scene: LoginScene, how: str, secret: str = "", **variables: str) -> dict[str, Any]:
    """What login.mjs saw: {"n": 16}, or the client's error."""
    done = subprocess.run(
        [node, "login.mjs", scene.url, PROJECTS["acme"], how, secret],
        cwd=FOLDER,
        env=scene.environment(NO_COLOR="1", **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("how", ["token", "signed"])
def test_a_credential_without_a_login_is_enough(node: str, gate: LoginScene, how: str) -> None:
    """A static token, and a key file's own signatures: booked on its principal, and 401 once it is revoked."""
    principal = f"node-{how}"
    key = gate.static_token(principal) if how == "token" else gate.key_file(principal)
    before = gate.granted_logins()
    assert ask(node, gate, how, secret_of(key)) == {"n": 16}
    assert gate.booked(principal) == ["acme"]
    assert gate.granted_logins() == before
    gate.revoke(key)
    refused = ask(node, gate, how, secret_of(key))
    assert (refused.get("code"), refused.get("message")) == (401, "This key was revoked.")


def test_an_external_account_file_logs_in(node: str, https_gate: LoginScene) -> None:
    """Over https, as keyFilename and as the application's default; a revoked one is refused at the token endpoint."""
    key = https_gate.external_account("node-file")
    by_environment = {"BIGQUERY_EMULATOR_HOST": https_gate.url, "GOOGLE_APPLICATION_CREDENTIALS": key.path}
    before = https_gate.granted_logins()
    assert ask(node, https_gate, "file", key.path) == {"n": 16}
    assert ask(node, https_gate, "default", **by_environment) == {"n": 16}
    assert https_gate.granted_logins() - before == 2
    assert https_gate.booked("node-file") == ["acme", "acme"]
    https_gate.revoke(key)
    assert "This key was revoked" in ask(node, https_gate, "file", key.path)["message"]


def secret_of(key: HandedOut) -> str:
    return key.token or key.path
