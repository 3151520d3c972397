import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth.iam
import pytest
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.cli.bigquery_trials import TRIALS_MAX
from bqgate.sandbox import Fault, Sandbox, SandboxSettings
from tests.support.bad_surroundings import PLAIN, key_document, taken_port
from tests.support.oauth_endpoint import OauthEndpoint, oauth_endpoint
from tests.support.threaded_sandbox import threaded_sandbox

GATE, ACME, ANN = "gate@gate-project.iam.gserviceaccount.com", "acme@p.iam.gserviceaccount.com", "ann@acme.example"


@pytest.fixture(scope="module")
def _sandbox() -> Iterator[Sandbox]:
    users = {"gates-token": GATE, "acmes-token": ACME, "anns-token": ANN}
    with threaded_sandbox(SandboxSettings(users=users, require_token=True)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A stand-in that takes known tokens only."""
    _sandbox.journal.clear()
    yield _sandbox
    _sandbox.faults.clear()


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[OauthEndpoint]:
    """Where Google's libraries fetch tokens, and IAM's."""
    with oauth_endpoint() as endpoint:
        monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", endpoint.url + "/iam/{}:generateAccessToken")
        yield endpoint


Doctor = Callable[..., tuple[Result, list[str]]]


@pytest.fixture
def doctor(tmp_path: Path, sandbox: Sandbox, tokens: OauthEndpoint, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Doctor, and its lines about credentials and dry runs; the key file is key.json."""
    for name, value in PLAIN.items():
        if not name.startswith("BQGATE_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    (tmp_path / "key.json").write_text(key_document(token_uri=f"{tokens.url}/token"))

    def examine(
        upstream: dict[str, Any], *arguments: str, text: str | None = None, **sections: Any
    ) -> tuple[Result, list[str]]:
        document = {
            "server": {"port": 0},
            "ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"},
            "upstream": {"url": sandbox.url, **upstream},
            **sections,
        }
        (tmp_path / "bqgate.yaml").write_text(json.dumps(document))
        result = CliRunner().invoke(app, ["doctor", "-c", str(tmp_path / "bqgate.yaml"), *arguments], input=text)
        said = [line for line in result.stdout.splitlines() if line[2:].startswith(("credentials", "dry run"))]
        return result, said

    return examine


def own(tmp_path: Path) -> dict[str, Any]:
    return {"credentials": "service_account", "service_account_file": str(tmp_path / "key.json")}


ONE = {"acme": {"projects": ["acme-prod", "acme-dev"]}}
CUSTOMERS = {**ONE, "globex": {"projects": ["globex-prod"], "service_account": ACME}}


def test_the_gates_own_account_is_tried_in_each_customers_project(
    doctor: Doctor, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A token is fetched and SELECT 1 dry-run in each customer's first project, with the customer's own account."""
    result, said = doctor(own(tmp_path), customers=CUSTOMERS)
    assert result.exit_code == 0, result.output
    assert said == [
        f"✓ credentials  {GATE}: a token came",
        "✓ dry run      in acme-prod (acme) as the gate's own account: BigQuery answers",
        f"✓ dry run      in globex-prod (globex) as {ACME}: BigQuery answers",
    ]
    received = sandbox.journal.entries(method="jobs.insert")
    assert all(entry.body["configuration"]["dryRun"] is True for entry in received)


def test_without_customers_the_credentials_project_is_tried(doctor: Doctor, tmp_path: Path) -> None:
    """The project of the key file; another by --project."""
    assert "in gate-project as the gate's own account" in doctor(own(tmp_path))[1][1]
    assert "in other-project as" in doctor(own(tmp_path), "--project", "other-project")[1][1]


def test_a_refused_dry_run_is_red_and_says_which_role_is_missing(
    doctor: Doctor, sandbox: Sandbox, tmp_path: Path
) -> None:
    """BigQuery's words, and what to grant to whom."""
    sandbox.faults.add(
        Fault(
            method="jobs.insert", status=403, reason="accessDenied", message="Access Denied: Project acme-prod", count=1
        )
    )
    result, said = doctor(own(tmp_path), customers=ONE)
    assert result.exit_code == 1
    assert said[1].startswith("✗ dry run      in acme-prod (acme) as the gate's own account: 403 Access Denied")
    assert (
        "give the gate's own account the role BigQuery Job User (roles/bigquery.jobUser) in acme-prod" in result.stdout
    )


def test_an_account_that_iam_does_not_lend_is_red(doctor: Doctor, tokens: OauthEndpoint, tmp_path: Path) -> None:
    """The customer whose account it is, IAM's words, and the role that the gate needs; the others are tried."""
    tokens.iam_status = 403
    result, said = doctor(own(tmp_path), customers=CUSTOMERS)
    assert result.exit_code == 1
    assert said[1].startswith("✓ dry run      in acme-prod")
    assert said[2].startswith(f"✗ dry run      in globex-prod (globex) as {ACME}: no token: ")
    assert f"Service Account Token Creator on {ACME}" in result.stdout


def test_many_customers_are_not_all_tried(doctor: Doctor, tmp_path: Path) -> None:
    """A bound, and how to try another one."""
    customers = {f"customer-{number}": {"projects": [f"project-{number}"]} for number in range(TRIALS_MAX + 3)}
    _, said = doctor(own(tmp_path), customers=customers)
    assert len(said) == 1 + TRIALS_MAX + 1
    assert said[-1] == "- dry run      3 more projects are not tried"


def test_a_caller_is_tried_by_the_token_on_standard_input(doctor: Doctor, sandbox: Sandbox) -> None:
    """A good token is green, another one red; neither is shown."""
    result, said = doctor({}, "--token-stdin", "--project", "acme-prod", text="anns-token\n")
    assert (result.exit_code, said) == (0, ["✓ dry run      in acme-prod as the token's holder: BigQuery answers"])
    result, said = doctor({}, "--token-stdin", "--project", "acme-prod", text="eves-token\n")
    assert (result.exit_code, said[0][:16]) == (1, "✗ dry run      i")
    assert "eves-token" not in result.output


def test_without_a_callers_credentials_the_way_to_try_is_said(doctor: Doctor) -> None:
    """No cross: callers bring their own."""
    result, said = doctor({}, customers=ONE)
    assert result.exit_code == 0
    assert said[0].startswith("- dry run      not tried: callers bring their own credentials")
    assert "gcloud auth print-access-token | bqgate doctor --token-stdin" in result.stdout


def test_a_caller_is_tried_as_this_machines_default_credentials(
    doctor: Doctor, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are any: what they may do is seen, and a refusal of them is no cross unless a project was named."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    who = "as this machine's default credentials"
    assert doctor({}, customers=ONE)[1][0] == f"✓ dry run      in acme-prod (acme) {who}: BigQuery answers"
    sandbox.faults.add(Fault(method="jobs.insert", status=403, reason="accessDenied", message="Access Denied"))
    result, said = doctor({}, customers=ONE)
    assert (result.exit_code, said[0][0]) == (0, "-")
    result, said = doctor({}, "--project", "acme-prod")
    assert (result.exit_code, said[0][0]) == (1, "✗")


def test_anonymous_calls_are_tried_without_credentials(doctor: Doctor) -> None:
    """A BigQuery that wants a token refuses them, and what to write is said."""
    result, said = doctor({"credentials": "anonymous"})
    assert result.exit_code == 1
    assert said[0].startswith("✗ dry run      in bqgate-doctor as nobody: 401 ")
    assert "upstream.credentials says whose are to be sent" in result.stdout


def test_a_callers_gate_with_credentials_of_its_own_has_them_tried(doctor: Doctor, tmp_path: Path) -> None:
    """They ask after jobs; serve would not start with a key file that is none."""
    (tmp_path / "key.json").write_text("{}")
    result, said = doctor({"service_account_file": str(tmp_path / "key.json")})
    assert (result.exit_code, said[0][0]) == (1, "✗")
    assert "client_email, private_key, token_uri missing" in said[0]


def test_a_port_in_use_by_a_gate_is_no_cross(doctor: Doctor, tokens: OauthEndpoint) -> None:
    """Doctor is run beside gates that run; a port at which something else answers is a cross."""
    result, _ = doctor({}, server={"port": tokens.port})
    assert f"- port         127.0.0.1:{tokens.port} is in use by a bqgate that answers" in result.stdout
    with taken_port() as port:
        result, _ = doctor({}, server={"port": port})
    assert "✗ port " in result.stdout


def sweep_lines(result: Result) -> list[str]:
    return [line for line in result.stdout.splitlines() if line[2:].startswith("sweep")]


def test_whether_all_jobs_are_shown_is_tried_in_each_project(doctor: Doctor, tmp_path: Path) -> None:
    """Customers' projects, shared ones and those of the sweep, once each."""
    result, _ = doctor(
        own(tmp_path),
        customers=CUSTOMERS,
        isolation={"shared_projects": ["hub"]},
        sweep={"projects": ["more", "acme-dev"]},
    )
    assert result.exit_code == 0, result.output
    projects = ["acme-prod", "acme-dev", "globex-prod", "hub", "more"]
    assert [line[:2] for line in sweep_lines(result)] == ["✓ "] * len(projects)
    assert [line.split("in ")[1].split(":")[0] for line in sweep_lines(result)] == projects


def test_who_may_not_list_all_jobs_is_told_the_role(doctor: Doctor, sandbox: Sandbox, tmp_path: Path) -> None:
    """BigQuery's words, the permission, the role and the command; a gate serves without it, so it is no cross."""
    sandbox.faults.add(
        Fault(
            method="jobs.list", status=403, reason="accessDenied", message="Access Denied: Project acme-prod", count=1
        )
    )
    result, _ = doctor(own(tmp_path), customers=ONE)
    assert result.exit_code == 0
    first, second = sweep_lines(result)
    assert first == "- sweep        in acme-prod: 403 Access Denied: Project acme-prod"
    assert second.startswith("✓ sweep        in acme-dev")
    assert "bigquery.jobs.listAll" in result.stdout
    assert f"--member serviceAccount:{GATE} --role roles/bigquery.resourceViewer" in result.stdout


def test_without_credentials_of_its_own_it_says_that_there_is_no_sweep(doctor: Doctor) -> None:
    """Callers' credentials show a gate no job of others."""
    result, _ = doctor({"credentials": "caller"}, customers=ONE)
    (line,) = sweep_lines(result)
    assert line.startswith("- sweep        callers' credentials go to BigQuery")
    assert "upstream.service_account_file" in line
