from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from bqgate.cli import app

EXAMPLE = Path(__file__).parents[3] / "config" / "bqgate.example.yaml"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> "type[Runner]":
    """The command line, in an environment without settings."""
    monkeypatch.delenv("BQGATE_CONFIG", raising=False)
    return Runner


class Runner:
    @staticmethod
    def check(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(app, ["check-config", *map(str, arguments)], env=env)


def test_good_settings_are_printed_as_they_take_effect(run: type[Runner]) -> None:
    """The example runs as it is: status 0, and the output is settings again."""
    result = run.check(EXAMPLE)
    assert result.exit_code == 0, result.output
    shown = yaml.safe_load(result.stdout)
    assert shown["customers"]["acme"]["time_zone"] == "America/New_York"
    assert shown["tiers"]["premium"]["throttle_wait_ms"] == 2000


def test_without_a_file_the_built_in_settings_are_shown(run: type[Runner]) -> None:
    """No file is needed."""
    assert yaml.safe_load(run.check().stdout)["server"]["port"] == 8080


def test_the_environment_beats_the_file(run: type[Runner]) -> None:
    """A variable is shown where it takes effect."""
    result = run.check(EXAMPLE, env={"BQGATE_SERVER__PORT": "9000"})
    assert yaml.safe_load(result.stdout)["server"]["port"] == 9000


def test_every_fault_is_listed_and_the_status_is_two(run: type[Runner], tmp_path: Path) -> None:
    """Three faults in three sections are three lines on standard error, nothing on standard output."""
    file = tmp_path / "three.yaml"
    file.write_text("server: {prot: 1}\npricing: {usd_per_tib: 5.0}\ncustomers: {acme: {tier: gold}}\n")
    result = run.check(file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]] == [
        "server.prot",
        "pricing.usd_per_tib",
        "customers.acme.tier",
    ]
    assert "3 faults" in result.stderr


def test_a_file_that_is_not_there_is_a_fault(run: type[Runner], tmp_path: Path) -> None:
    """A wrong path is said, not taken for an empty file."""
    result = run.check(tmp_path / "nowhere.yaml")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_passwords_are_masked(run: type[Runner]) -> None:
    """What is shown can be pasted into a ticket."""
    env = {
        "BQGATE_BUDGETS__URL": "rediss://gate:hunter2@cache:6379/0",
        "BQGATE_LEDGER__URL": "postgresql://gate:hunter2@db/bqgate",
    }
    result = run.check(env=env)
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert yaml.safe_load(result.stdout)["budgets"]["url"] == "rediss://gate:*****@cache:6379/0"


def test_warnings_do_not_fail_the_check(run: type[Runner]) -> None:
    """Open identity on the network is warned about, and allowed."""
    result = run.check(env={"BQGATE_SERVER__HOST": "0.0.0.0"})
    assert result.exit_code == 0
    assert "warning: server.host: 0.0.0.0 can be reached over the network" in result.stderr
