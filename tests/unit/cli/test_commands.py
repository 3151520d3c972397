import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bqgate.cli import app


def test_the_help_names_every_command() -> None:
    """Without arguments the command line says what there is."""
    result = CliRunner().invoke(app, [])
    for command in ("serve", "sandbox", "check-config", "migrate"):
        assert command in result.output


def test_migrate_makes_the_tables(tmp_path: Path) -> None:
    """On a database without tables, migrate makes them and says where."""
    file = tmp_path / "ledger.db"
    result = CliRunner().invoke(app, ["migrate"], env={"BQGATE_LEDGER__URL": f"sqlite:///{file}"})
    assert result.exit_code == 0, result.output
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0] > 0
    connection.close()


def test_migrate_says_which_database_does_not_answer() -> None:
    """A database that is away is status 1 and a sentence, without the password."""
    env = {"BQGATE_LEDGER__URL": "postgresql://gate:hunter2@127.0.0.1:1/bqgate"}
    result = CliRunner().invoke(app, ["migrate"], env=env)
    assert result.exit_code == 1
    assert "postgresql://gate:*****@127.0.0.1:1/bqgate" in result.stderr
    assert "hunter2" not in result.output


def test_without_its_extra_the_sandbox_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is a command to paste."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["sandbox"])
    assert result.exit_code == 1
    assert "pip install 'bqgate[sandbox]'" in result.stderr


def test_wrong_settings_stop_the_gate_before_it_listens() -> None:
    """Serve runs the same check as check-config."""
    result = CliRunner().invoke(app, ["serve"], env={"BQGATE_SERVER__PORT": "http"})
    assert result.exit_code == 2
    assert "server.port: 'http' is not a whole number (from BQGATE_SERVER__PORT)" in result.stderr


def test_check_config_loads_no_room_that_it_does_not_need() -> None:
    """A check in somebody's pipeline is quick: neither the gate nor a store is imported for it."""
    script = "import sys, bqgate.cli; print([name for name in sys.modules if name in sys.argv[1:]])"
    heavy = ["aiohttp", "sqlalchemy", "redis", "duckdb", "google.cloud.bigquery"]
    done = subprocess.run([sys.executable, "-c", script, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
