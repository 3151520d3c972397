"""Google's command line `bq` logs in to the gate, where it is on PATH."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.absent_tools import require_tool
from tests.support.login_scene import PROJECTS, LoginScene

pytestmark = pytest.mark.long


QUERY = ("query", "--use_legacy_sql=false", "--nouse_cache", "SELECT COUNT(*) AS n FROM nycflights13.airlines")


class Bq:
    """The program, with settings and caches in a folder of the test's own: no account of Google's is there."""

    def __init__(self, scene: LoginScene, folder: Path) -> None:
        self._program = require_tool("bq", "install the Google Cloud CLI")
        self._scene = scene
        self._folder = folder

    def run(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Ask one query."""
        environment = self._scene.environment(
            HOME=str(self._folder), CLOUDSDK_CONFIG=str(self._folder / "gcloud"), **variables
        )
        where = ("--api", self._scene.url, f"--project_id={PROJECTS['acme']}", "--headless", "--format=json")
        return subprocess.run(
            [self._program, *where, *options, *QUERY],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def assert_ran(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done
    assert [{"n": "16"}] == json.loads(done.stdout)


def test_a_key_file_logs_in(gate: LoginScene, tmp_path: Path) -> None:
    """The gcloud beneath it takes the file, and the gate for Google's token endpoint."""
    before = gate.granted_logins()
    assert_ran(
        Bq(gate, tmp_path).run(
            CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=gate.key_file("bq-file").path,
            CLOUDSDK_AUTH_TOKEN_HOST=f"{gate.url}/oauth2/token",
        )
    )
    assert gate.granted_logins() - before >= 1
    assert gate.booked("bq-file") == ["acme"]


def test_a_token_in_a_file_works_over_https(https_gate: LoginScene, tmp_path: Path) -> None:
    """It stands in no list of processes. bq is told of the authority by a flag; a revoked token gets 401."""
    key, file = https_gate.static_token("bq-token"), tmp_path / "token"
    file.write_text(key.token)
    bq, authority = Bq(https_gate, tmp_path), f"--ca_certificates_file={https_gate.ca_file}"
    assert_ran(bq.run(authority, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(file)))
    assert https_gate.booked("bq-token") == ["acme"]
    https_gate.revoke(key)
    before = https_gate.refused_calls()
    refused = bq.run(authority, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=str(file))
    assert refused.returncode != 0
    assert "Authorization error" in refused.stdout
    assert https_gate.refused_calls() > before
    assert https_gate.booked("bq-token") == ["acme"]
