import importlib.util
import os
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bqgate.cli import app
from bqgate.cli.tables import print_list, print_one
from tests.house.tree import ROOT


@pytest.mark.parametrize("words", [[], ["keys"], ["budgets"]], ids=" ".join)
def test_without_a_command_there_is_help(words: list[str]) -> None:
    """Status 2, because nothing was asked for, and the whole help."""
    result = CliRunner().invoke(app, words, prog_name="bqgate")
    assert result.exit_code == 2
    assert result.stderr.strip() == CliRunner().invoke(app, [*words, "--help"], prog_name="bqgate").stdout.strip()


def test_the_version_is_the_packages() -> None:
    """One line, with the name."""
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"bqgate {version('bqgate')}\n")


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["srve"], "'serve'"), (["kyes"], "'keys'"), (["check-conf"], "'check-config'"), (["keys", "lst"], "'list'")],
)
def test_an_unknown_command_suggests_near_ones(words: list[str], meant: str) -> None:
    """Status 2, and what was probably meant."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert f"No such command '{words[-1]}'. Did you mean {meant}" in result.stderr


def test_help_and_version_import_no_command() -> None:
    """They are there at once: neither settings nor libraries are loaded for them, nor for completion."""
    script = (
        "import sys, bqgate.cli\ntry: bqgate.cli.main()\nfinally: print([name for name in %r if name in sys.modules])"
    )
    heavy = ["yaml", "structlog", "sqlalchemy", "aiohttp", "rich.table", "bqgate.settings"]
    completing = {"_BQGATE_COMPLETE": "complete_bash", "COMP_WORDS": "bqgate ch", "COMP_CWORD": "1"}
    for arguments, variables in (["--help"], {}), (["--version"], {}), ([], completing):
        command = [sys.executable, "-c", script % heavy, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **variables})
        assert done.stdout.splitlines()[-1] == "[]", arguments


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bqgate ch", ["check-config"]),
        ("bqgate keys r", ["rotate", "revoke"]),
        ("bqgate sandbox --time", ["--time-scale"]),
        ("bqgate --vers", ["--version"]),
    ],
)
def test_the_shell_completes_commands_and_options(tmp_path: Path, typed: str, offered: list[str]) -> None:
    """The script for bash, sourced by a real one, offers what can follow; no shell has to be detected for it."""
    program = tmp_path / "bqgate"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bqgate "$@"\n')
    program.chmod(0o755)
    script = """
    source <(_BQGATE_COMPLETE=source_bash bqgate)
    COMP_WORDS=($1) COMP_CWORD=$(( $(wc -w <<< "$1") - 1 ))
    _bqgate_completion bqgate
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-c", script, "bash", typed]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == offered, done.stderr


def test_what_stands_in_brackets_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of customers, projects and labels come from outside: no table takes them for markup."""
    names = ["[acme-prod]", "[/bold]", "[red]x[/red]", "\\[a]", ":smile:", "[link=http://x]y"]
    print_list([{"name": name, "projects": [name]} for name in names], ("name", "projects"), as_json=False)
    print_one({"name": names}, as_json=False)
    printed = capsys.readouterr().out
    assert all(printed.count(name) >= 3 for name in names), printed


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
    script = "import sys, bqgate.cli.check_config; print([name for name in sys.modules if name in sys.argv[1:]])"
    heavy = ["aiohttp", "sqlalchemy", "redis", "duckdb", "google.cloud.bigquery"]
    done = subprocess.run([sys.executable, "-c", script, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
