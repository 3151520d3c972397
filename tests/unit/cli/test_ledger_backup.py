"""Tests of `bqgate ledger backup` and `bqgate ledger restore` as an operator runs them."""

import asyncio
import stat
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.cli.ledger_backup import appearing
from tests.support.full_ledger import fill_ledger, stored_rows


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["ledger", *arguments], env={"BQGATE_LEDGER__URL": url})


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A filled ledger."""
    filled = f"sqlite:///{tmp_path / 'ledger.db'}"
    asyncio.run(fill_ledger(filled))
    return filled


def test_a_ledger_moves_to_the_other_database(url: str, postgres_url: str, tmp_path: Path) -> None:
    """Both commands print the rows of each table and what they add up to, which is the same; verify is content."""
    file = tmp_path / "backup"
    taken = run(url, "backup", str(file))
    assert taken.exit_code == 0, taken.output
    restored = run(postgres_url, "restore", str(file))
    assert restored.exit_code == 0, restored.output
    assert taken.stdout.splitlines()[:-1] == restored.stdout.splitlines()[:-1]
    assert any(line.startswith("entries: 3 rows, ") for line in taken.stdout.splitlines())
    assert "All rows were read again and are the same." in restored.stdout
    verified = run(postgres_url, "verify")
    assert verified.exit_code == 0, verified.output
    assert stored_rows(postgres_url)["entries"] == stored_rows(url)["entries"]


def test_a_backup_is_for_its_owner_alone(url: str, tmp_path: Path) -> None:
    """It has the hashes of tokens; and while it is written it has another name, which is gone afterwards."""
    assert run(url, "backup", str(tmp_path / "backup")).exit_code == 0
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.partial"))


def test_a_file_that_is_there_is_not_overwritten(url: str, tmp_path: Path) -> None:
    """Status 2, and the older backup is what it was."""
    (tmp_path / "backup").write_text("precious")
    refused = run(url, "backup", str(tmp_path / "backup"))
    assert (refused.exit_code, (tmp_path / "backup").read_text()) == (2, "precious")
    assert "is there already" in refused.stderr


def test_a_file_has_to_be_named(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2 for standard output and for nothing, and no file is made; and for a backup that is not there."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for words in (("backup", "-"), ("backup", ""), ("backup", "no/where"), ("restore", "none"), ("restore", ".")):
        assert run(url, *words).exit_code == 2, words
    assert sorted(tmp_path.iterdir()) == before


def test_two_backups_at_once_do_not_mix(tmp_path: Path) -> None:
    """The first that is whole has the name; the other is refused, and nothing of it is left."""

    def race() -> None:
        with appearing(tmp_path / "backup") as slow:
            slow.write(b"slow")
            with appearing(tmp_path / "backup") as fast:
                fast.write(b"fast")
            slow.write(b"er")

    with pytest.raises(typer.BadParameter, match="is there already"):
        race()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("backup", b"fast")]


def test_a_backup_of_no_ledger_leaves_no_file(tmp_path: Path) -> None:
    """Status 1, the reason, and neither a backup nor a database afterwards."""
    refused = run(f"sqlite:///{tmp_path / 'none.db'}", "backup", str(tmp_path / "backup"))
    assert refused.exit_code == 1
    assert list(tmp_path.iterdir()) == []
    assert "none.db" in refused.stderr


@pytest.mark.parametrize("content", [b"", b"nothing of ours"])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    """Status 1 and a sentence; no database is made."""
    (tmp_path / "backup").write_bytes(content)
    refused = run(f"sqlite:///{tmp_path / 'new.db'}", "restore", str(tmp_path / "backup"))
    assert refused.exit_code == 1
    assert "is damaged, or no backup" in refused.stderr
    assert not (tmp_path / "new.db").exists()


def test_a_backup_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    """Status 2, and which file."""
    refused = run(f"sqlite:///{tmp_path / 'new.db'}", "restore", str(tmp_path / "nowhere"))
    assert refused.exit_code == 2
    assert "nowhere" in refused.stderr


def test_a_ledger_in_use_is_not_restored_into(url: str, tmp_path: Path) -> None:
    """Status 1, and what to do."""
    assert run(url, "backup", str(tmp_path / "backup")).exit_code == 0
    refused = run(url, "restore", str(tmp_path / "backup"))
    assert refused.exit_code == 1
    assert "The database is not empty" in refused.stderr


@pytest.mark.parametrize(
    "words", [("--to", ""), ("--to", "-"), ("--to", "days", "--since", "2026-11-24", "--until", "2026-11-24")]
)
def test_an_export_to_nowhere_or_of_no_time_is_a_mistake(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Status 2, and no folder is made."""
    monkeypatch.chdir(tmp_path)
    assert run(url, "export", *words).exit_code == 2
    assert not [each for each in tmp_path.iterdir() if each.is_dir()]
