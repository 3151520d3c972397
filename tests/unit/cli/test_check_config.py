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


BROKEN = "server: {prot: 1}\n"


@pytest.mark.parametrize("way", ["argument", "option", "short", "variable"])
def test_the_file_that_serve_would_read_is_checked(run: type[Runner], tmp_path: Path, way: str) -> None:
    """However the file is named, its faults are found: checking it says what serving it would."""
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    arguments, env = {
        "argument": ([str(file)], {}),
        "option": (["--config", str(file)], {}),
        "short": (["-c", str(file)], {}),
        "variable": ([], {"BQGATE_CONFIG": str(file)}),
    }[way]
    result = run.check(*arguments, env=env)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == f"{file}: 1 fault"
    assert "server.prot" in result.stderr


@pytest.mark.parametrize("named", [["--config"], []], ids=["option", "argument"])
def test_a_file_on_the_command_line_beats_the_variable(run: type[Runner], tmp_path: Path, named: list[str]) -> None:
    """Both ways to name it on the command line do; the output says which file it was."""
    (tmp_path / "broken.yaml").write_text(BROKEN)
    result = run.check(*named, EXAMPLE, env={"BQGATE_CONFIG": str(tmp_path / "broken.yaml")})
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"# Settings of {EXAMPLE}."


def test_two_different_files_are_an_error(run: type[Runner], tmp_path: Path) -> None:
    """Neither is checked in silence for the other."""
    result = run.check(EXAMPLE, "--config", tmp_path / "other.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "are two files; name one" in result.stderr


def test_the_same_file_named_twice_is_no_error(run: type[Runner]) -> None:
    """By whatever path."""
    result = run.check(EXAMPLE, "-c", EXAMPLE.parent / ".." / "config" / EXAMPLE.name)
    assert result.exit_code == 0, result.output


def test_the_output_says_what_was_read(run: type[Runner]) -> None:
    """File or none, and the variables that override it, in a comment of the YAML; other variables do not count."""
    env = {"BQGATE_SERVER__PORT": "9000", "BQGATE_SERVICE_HOST": "10.0.0.1"}
    first = run.check(env=env).stdout.splitlines()[0]
    assert first == (
        "# No file is named (--config, BQGATE_CONFIG): the built-in settings, overridden by BQGATE_SERVER__PORT."
    )


def test_warnings_do_not_fail_the_check(run: type[Runner]) -> None:
    """Open identity on the network is warned about, and allowed."""
    result = run.check(env={"BQGATE_SERVER__HOST": "0.0.0.0"})
    assert result.exit_code == 0
    assert "warning: server.host: 0.0.0.0 can be reached over the network" in result.stderr


@pytest.mark.parametrize(
    ("customers", "told"),
    [
        ("{acme: {}, globex: {}}", "customers: acme, globex go up to BigQuery as the gate's own account"),
        (
            "{acme: {service_account: %s}, globex: {}}",
            "customers: globex goes up to BigQuery as the gate's own account",
        ),
        ("{acme: {service_account: %s}, globex: {service_account: %s}}", "customers: acme, globex have one"),
        ("{acme: {}}", None),
        ("{}", None),
    ],
)
def test_what_reading_cannot_see_is_said(run: type[Runner], tmp_path: Path, customers: str, told: str | None) -> None:
    """Where only the gate's reading keeps customers apart it says what that misses, and the status is still 0."""
    file = tmp_path / "gate.yaml"
    account = "acme@acme-prod.iam.gserviceaccount.com"
    file.write_text(
        f"identity: {{mode: required, token_secret: mR7x0fJq2LwZ9uTn5bVhYc3KpD8sEgA1iOkNvBtXrQeUzWyH}}\n"
        f"upstream: {{credentials: service_account}}\ncustomers: {customers.replace('%s', account)}\n"
    )
    result = run.check(file)
    assert result.exit_code == 0, result.output
    assert [line.startswith(f"warning: {told}") for line in result.stderr.splitlines()] == ([True] if told else [])
    if told and "go" in told.split("BigQuery")[0].split():
        for unseen in ("views, routines and authorized datasets", "EXTERNAL_QUERY", "remote functions", "row-level"):
            assert unseen in result.stderr


def test_who_trusts_every_caller_or_sends_their_own_tokens_hears_nothing_of_it(
    run: type[Runner], tmp_path: Path
) -> None:
    """Nobody is kept apart by an open gate; BigQuery tells callers apart by their own tokens."""
    file = tmp_path / "gate.yaml"
    for text in ("upstream: {credentials: service_account}", "upstream: {credentials: caller}"):
        file.write_text(f"{text}\ncustomers: {{acme: {{}}, globex: {{}}}}\n")
        assert run.check(file).stderr == ""
