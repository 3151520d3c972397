"""Tests that a command which only reads the ledger makes nothing, changes nothing and needs no secret of the gate."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.ledger import SqlRegistry
from tests.support.registries import make_event

KEY = "0123456789abcdef"
READING = {
    "verify": ["ledger", "verify"],
    "audit": ["ledger", "audit"],
    "keys-list": ["keys", "list", "--local"],
    "keys-revoke": ["keys", "revoke", KEY, "--local"],
    "keys-rotate": ["keys", "rotate", KEY, "--local", "--out", "rotated.json"],
}


@pytest.fixture(params=READING.values(), ids=list(READING))
def command(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One of the commands, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return list(request.param)


def run(command: list[str], url: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, command, env={"BQGATE_LEDGER__URL": url, **(env or {})})


def said(result: Result) -> str:
    return " ".join(result.stderr.split())


@pytest.mark.parametrize("url", ["sqlite:///misspelt.db", "sqlite:///file:misspelt.db?uri=true"])
def test_where_there_is_no_ledger_it_says_so_and_leaves_no_file(command: list[str], url: str, tmp_path: Path) -> None:
    """Status 1, the whole path that was looked at, and what makes a ledger; the folder stays empty."""
    result = run(command, url)
    assert result.exit_code == 1, result.output
    assert f"There is no ledger: {tmp_path / 'misspelt.db'} is not there." in said(result)
    assert "bqgate migrate" in said(result)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_no_ledger(command: list[str], tmp_path: Path) -> None:
    """A file without tables is not said to be in order, and stays empty."""
    (tmp_path / "empty.db").touch()
    result = run(command, "sqlite:///empty.db")
    assert result.exit_code == 1, result.output
    assert "this database has no tables of bqgate" in said(result)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("empty.db", 0)]


def test_another_programs_database_stays_as_it_is(command: list[str], tmp_path: Path) -> None:
    """Not a byte of it is changed, nor is its journal: the path was wrong."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / "other.db").read_bytes()
    result = run(command, "sqlite:///other.db")
    assert result.exit_code == 1, result.output
    assert "this database has no tables of bqgate" in said(result)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"other.db": before}


def test_a_file_that_is_no_database_is_a_sentence(command: list[str], tmp_path: Path) -> None:
    """Status 1, and SQLite's own words for what is wrong."""
    (tmp_path / "notes.txt").write_text("not a database, however long it may be\n" * 100)
    result = run(command, "sqlite:///notes.txt")
    assert result.exit_code == 1, result.output
    assert "file is not a database" in said(result)


def test_a_folder_is_no_ledger(command: list[str], tmp_path: Path) -> None:
    """Status 1 and a sentence for a path that is a folder's."""
    (tmp_path / "folder").mkdir()
    result = run(command, "sqlite:///folder")
    assert result.exit_code == 1, result.output
    assert "unable to open database file" in said(result)


# What a gate is told beside its ledger, by a file or by the environment of its own container.
ELSEWHERE = {
    "a_secret": "identity: {mode: required}\n",
    "tls_files": "server: {tls_cert_file: /etc/gate/tls.crt, tls_key_file: /etc/gate/tls.key}\n",
    "google_key": "upstream: {credentials: service_account, service_account_file: /etc/gate/google.json}\n",
    "redis_with_a_password": "server: {workers: 4}\n",
}


@pytest.mark.parametrize("settings", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_only_the_gate_has_is_not_needed_to_read(settings: str, tmp_path: Path) -> None:
    """Secrets, files and URLs with passwords that the gate's own environment has are no fault for who reads."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    asyncio.run(_write(url))
    file = tmp_path / "bqgate.yaml"
    file.write_text(settings)
    for command in (READING["verify"], READING["audit"], READING["keys-list"], ["migrate"]):
        result = run([*command, "--config", str(file)], url)
        assert (result.exit_code, result.stderr) == (0, ""), command
    assert CliRunner().invoke(app, ["check-config", str(file)]).exit_code == 2
    assert CliRunner().invoke(app, ["serve", "--config", str(file)]).exit_code == 2


async def _write(url: str) -> None:
    registry = await SqlRegistry.open(url)
    await registry.append_audit([make_event()])
    await registry.close()


def test_the_first_admins_key_is_made_without_the_gates_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is made where the ledger is; the secret that signs tokens is the gate's alone."""
    monkeypatch.chdir(tmp_path)
    env = {"BQGATE_IDENTITY__MODE": "required"}
    result = run(["keys", "create", "--local", "--role", "super_admin", "--out", "root.json"], "sqlite:///new.db", env)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "root.json").is_file()


def test_other_faults_of_the_settings_still_end_a_reader(tmp_path: Path) -> None:
    """A key that is misspelt may be the ledger's: nothing is read by half of a file."""
    file = tmp_path / "bqgate.yaml"
    file.write_text("ledger: {ulr: sqlite:///elsewhere.db}\n")
    result = CliRunner().invoke(app, ["ledger", "audit", "--config", str(file)])
    assert result.exit_code == 2
    assert "ledger.ulr" in result.stderr


def test_a_path_with_blanks_and_signs_is_read(tmp_path: Path) -> None:
    """A ledger's file may be called anything that SQLite's URLs would take for something else."""
    url = f"sqlite:///{tmp_path / 'a b#c 100%.db'}"
    asyncio.run(_write(url))
    result = run(["ledger", "verify"], url)
    assert result.exit_code == 0, result.output
    assert "Audit log: 1 records" in result.stdout
