import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from aiohttp import web
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.cli.doctor_checks import SKEW_S_MAX, judge_clock
from bqgate.cli.redis_check import REDIS_MAJOR_MIN, judge_redis
from bqgate.domain.audit import AuditEvent
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry, migrate
from tests.support.bad_surroundings import PLAIN
from tests.support.certificates import make_pair, write_pair
from tests.support.threaded_sandbox import threaded_sandbox

TOKEN_SECRET = "mR7x0fJq2LwZ9uTn5bVhYc3KpD8sEgA1iOkNvBtXrQeUzWyH"
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@contextmanager
def serving(answer: Any, *, headers: dict[str, str] | None = None) -> Iterator[str]:
    """A server in a thread of its own that gives one JSON answer to everything; its URL."""
    is_up, stop = threading.Event(), asyncio.Event()
    found: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def live() -> None:
        async def respond(_request: web.Request) -> web.Response:
            return web.json_response(answer, headers=headers)

        server = web.Application()
        server.router.add_route("*", "/{tail:.*}", respond)
        runner = web.AppRunner(server)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.append((f"http://127.0.0.1:{runner.addresses[0][1]}", asyncio.get_running_loop()))
        is_up.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert is_up.wait(20)
    url, loop = found[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


@pytest.fixture(scope="module")
def bigquery() -> Iterator[str]:
    """A stand-in for BigQuery."""
    with threaded_sandbox() as sandbox:
        yield sandbox.url


class Patient:
    """Settings, and doctor before them."""

    def __init__(self, folder: Path, upstream_url: str) -> None:
        self.folder = folder
        self.ledger_url = f"sqlite:///{folder}/ledger.db"
        self.document: dict[str, Any] = {
            "server": {"port": 0},
            "upstream": {"url": upstream_url},
            "ledger": {"url": self.ledger_url},
        }

    def require_identity(self) -> None:
        self.document["upstream"]["credentials"] = "anonymous"
        self.document["identity"] = {"mode": "required", "token_secret": TOKEN_SECRET}

    def examine(self) -> tuple[Result, dict[str, str]]:
        """The outcome, and each check's mark by its subject."""
        result = CliRunner().invoke(app, ["doctor", "--config", str(self.write())])
        lines = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
        return result, {line[2:15].strip(): line[0] for line in lines}

    def write(self) -> Path:
        file = self.folder / "bqgate.yaml"
        file.write_text(json.dumps(self.document))
        return file


@pytest.fixture
def patient(tmp_path: Path, bigquery: str, monkeypatch: pytest.MonkeyPatch) -> Patient:
    """A gate that would run, of open identity, in memory and on SQLite, on a machine without credentials."""
    for name in ("NO_GCE_CHECK", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, PLAIN[name])
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return Patient(tmp_path, bigquery)


def test_a_healthy_gate_is_status_0(patient: Patient) -> None:
    """Every check is good, or its question does not arise."""
    result, marks = patient.examine()
    assert result.exit_code == 0, result.output
    assert marks == {
        "settings": "✓",
        "port": "✓",
        "web pages": "-",
        "ledger": "✓",
        "journal": "✓",
        "policies": "✓",
        "budgets": "✓",
        "bigquery": "✓",
        "clock": "✓",
        "dry run": "-",
        "sweep": "-",
        "secrets": "-",
        "super admin": "-",
    }


def test_doctor_makes_no_database(patient: Patient) -> None:
    """A ledger that is not there yet stays so."""
    result, _ = patient.examine()
    assert "not there yet" in result.stdout
    assert not (patient.folder / "ledger.db").exists()


def test_bad_settings_end_the_visit(patient: Patient) -> None:
    """Every fault is named, and nothing else is looked at."""
    patient.document["server"] = {"prot": 1}
    result, marks = patient.examine()
    assert result.exit_code == 1
    assert marks == {"settings": "✗"}
    assert "server.prot" in result.stdout


def test_a_database_without_tables_is_told_the_remedy(patient: Patient) -> None:
    """An empty database is not one of this version."""
    (patient.folder / "ledger.db").touch()
    result, marks = patient.examine()
    assert result.exit_code == 1
    assert marks["ledger"] == "✗"
    assert "bqgate migrate" in result.stdout


def test_a_database_that_is_away_is_named_without_its_password(patient: Patient) -> None:
    """Nobody listens: the line has the address, not the password."""
    patient.document["ledger"] = {"url": "postgresql://gate:hunter2@127.0.0.1:1/bqgate"}
    result, marks = patient.examine()
    assert marks["ledger"] == "✗"
    assert "hunter2" not in result.output


def test_a_folder_for_the_journal_that_cannot_be_is_red(patient: Patient) -> None:
    """As it is for `serve`, and with the same ways out; nothing is made to find that out."""
    new, blocked = patient.folder / "new" / "journal", patient.folder / "a file" / "journal"
    blocked.parent.write_text("in the way")
    patient.document["ledger"]["journal_folder"] = str(new)
    result, marks = patient.examine()
    assert marks["journal"] == "✓"
    assert "can be made" in result.stdout
    assert not new.parent.exists()
    patient.document["ledger"]["journal_folder"] = str(blocked)
    result, marks = patient.examine()
    assert (result.exit_code, marks["journal"]) == (1, "✗")
    assert "ledger.sync: before_forward" in result.stdout
    patient.document["ledger"]["sync"] = "before_forward"
    _, marks = patient.examine()
    assert marks["journal"] == "-"


def test_what_no_ledger_has_taken_is_told(patient: Patient) -> None:
    """Records that were set aside wait for a person, who hears of them here again."""
    folder = patient.folder / "ledger.db.journal"
    folder.mkdir()
    (folder / "7.journal.refused").touch()
    result, marks = patient.examine()
    assert (result.exit_code, marks["journal"]) == (1, "✗")
    assert "7.journal.refused: what no ledger has taken" in result.stdout


def test_a_redis_is_asked_for_its_version_and_policy(patient: Patient, redis_url: str) -> None:
    """A real Redis is good from version 7 on."""
    patient.document["budgets"] = {"url": redis_url}
    _, marks = patient.examine()
    with redis.Redis.from_url(redis_url) as client:
        major = int(client.info("server")["redis_version"].partition(".")[0])
    assert marks["budgets"] == ("✓" if major >= REDIS_MAJOR_MIN else "✗")


def test_a_cluster_is_asked_too(patient: Patient, redis_cluster_url: str) -> None:
    """A real cluster answers with the version of its nodes."""
    patient.document["budgets"] = {"url": redis_cluster_url}
    result, _ = patient.examine()
    assert "no answer" not in result.stdout


def test_a_redis_that_is_away_is_said(patient: Patient) -> None:
    """Nobody listens: status 1 and a remedy."""
    patient.document["budgets"] = {"url": "redis://:hunter2@127.0.0.1:1/0"}
    result, marks = patient.examine()
    assert (result.exit_code, marks["budgets"]) == (1, "✗")
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("nodes", "is_good"),
    [
        ([{"redis_version": "7.0.0", "maxmemory_policy": "noeviction"}], True),
        ([{"redis_version": "10.2.1", "maxmemory_policy": "noeviction"}], True),
        ([{"redis_version": "6.2.14", "maxmemory_policy": "noeviction"}], False),
        ([{"redis_version": "7.4.0", "maxmemory_policy": "allkeys-lru"}], False),
        ([{"redis_version": "7.4.0"}], False),
        (
            [
                {"redis_version": "8.0.0", "maxmemory_policy": "noeviction"},
                {"redis_version": "8.0.0", "maxmemory_policy": "volatile-lru"},
            ],
            False,
        ),
    ],
)
def test_a_redis_must_be_new_enough_and_keep_what_it_is_given(nodes: list[dict[str, str]], *, is_good: bool) -> None:
    """Every node is of version 7 or later and evicts nothing; what is bad has a remedy."""
    finding = judge_redis("redis://here", nodes)
    assert finding.is_good is is_good
    assert bool(finding.remedy) is not is_good


def test_an_upstream_that_is_away_leaves_the_clock_unjudged(patient: Patient) -> None:
    """One cause is one cross."""
    patient.document["upstream"]["url"] = "http://127.0.0.1:1"
    result, marks = patient.examine()
    assert (result.exit_code, marks["bigquery"], marks["clock"]) == (1, "✗", "-")


@pytest.mark.parametrize(
    ("url", "remedy"), [("http://127.0.0.1:1", "bqgate sandbox"), ("https://0.0.0.0:1", "name resolution")]
)
def test_an_upstream_that_is_away_is_told_its_likely_remedy(patient: Patient, url: str, remedy: str) -> None:
    """On this machine it is the sandbox that nobody started; elsewhere the way there is looked at."""
    patient.document["upstream"]["url"] = url
    result, _ = patient.examine()
    assert remedy in result.stdout


def test_an_upstream_that_is_no_bigquery_is_said(patient: Patient) -> None:
    """Any web server answers; BigQuery's discovery says that it is BigQuery."""
    with serving({"hello": "there"}) as url:
        patient.document["upstream"]["url"] = url
        result, marks = patient.examine()
    assert marks["bigquery"] == "✗"
    assert "not as BigQuery does" in result.stdout


def test_a_clock_that_is_wrong_is_said(patient: Patient) -> None:
    """BigQuery's Date is hours away: status 1."""
    with serving({"name": "bigquery"}, headers={"Date": "Tue, 24 Nov 2020 12:00:00 GMT"}) as url:
        patient.document["upstream"]["url"] = url
        result, marks = patient.examine()
    assert (result.exit_code, marks["bigquery"], marks["clock"]) == (1, "✓", "✗")
    assert "ahead of BigQuery's" in result.stdout


@pytest.mark.parametrize(
    ("ahead_s", "is_good"),
    [
        (0, True),
        (0.9, True),
        (SKEW_S_MAX, True),
        (SKEW_S_MAX + 2, False),
        (-SKEW_S_MAX, True),
        (-SKEW_S_MAX - 2, False),
    ],
)
def test_clocks_may_differ_a_little(ahead_s: float, *, is_good: bool) -> None:
    """A Date header without fractions of a second is no fault of anybody's."""
    here = NOON + timedelta(seconds=ahead_s)
    assert judge_clock("Tue, 24 Nov 2026 12:00:00 GMT", here, here).is_good is is_good


def test_a_slow_answer_is_no_wrong_clock() -> None:
    """The header was written at some moment of the wait."""
    finding = judge_clock("Tue, 24 Nov 2026 12:00:00 GMT", NOON - timedelta(seconds=30), NOON + timedelta(seconds=30))
    assert finding.is_good


def test_required_identity_wants_a_super_admin(patient: Patient) -> None:
    """Without a key there is a cross and the command that makes one; with it all is well; revoked it is not."""
    patient.require_identity()
    result, marks = patient.examine()
    assert (result.exit_code, marks["secrets"], marks["super admin"]) == (1, "✓", "✗")
    assert "bqgate keys create --role super_admin --local" in result.stdout
    assert TOKEN_SECRET not in result.output
    options = ("--local", "--config", str(patient.write()))
    made = CliRunner().invoke(app, ["keys", "token", "--role", "super_admin", *options])
    assert made.exit_code == 0, made.output
    result, marks = patient.examine()
    assert (result.exit_code, marks["super admin"]) == (0, "✓"), result.output
    CliRunner().invoke(app, ["keys", "revoke", made.stdout.split("_")[1], "--force", *options])
    assert patient.examine()[1]["super admin"] == "✗"


def test_a_ledger_that_cannot_be_read_leaves_the_super_admin_unjudged(patient: Patient) -> None:
    """One cause is one cross."""
    patient.require_identity()
    asyncio.run(migrate(patient.ledger_url))
    (patient.folder / "ledger.db").write_bytes(b"no database" * 1_000)
    _, marks = patient.examine()
    assert (marks["ledger"], marks["super admin"]) == ("✗", "-")


def test_settings_that_contradict_what_admins_wrote_are_red(patient: Patient) -> None:
    """Serve would refuse them: doctor names the document and what to do."""

    async def write() -> None:
        registry = await SqlRegistry.open(patient.ledger_url)
        event = AuditEvent(NOON, "customer.created", "ann@acme.example", "customers/acme")
        await registry.write_policy(PolicyKind.CUSTOMER, "acme", {"tier": "gone"}, expected_version=0, event=event)
        await registry.close()

    asyncio.run(write())
    result, marks = patient.examine()
    assert (result.exit_code, marks["ledger"], marks["policies"]) == (1, "✓", "✗")
    assert "customers.acme.tier: there is no tier 'gone'" in result.stdout


def test_a_certificate_is_checked_where_there_is_one(patient: Patient) -> None:
    """A good pair is good until its end; a key of another certificate, or an end that is past, is not."""
    cert_file, key_file = patient.folder / "tls.crt", patient.folder / "tls.key"
    patient.document["server"] |= {"tls_cert_file": str(cert_file), "tls_key_file": str(key_file)}
    write_pair(make_pair("gate"), cert_file, key_file)
    assert patient.examine()[1]["certificate"] == "✓"
    key_file.write_bytes(make_pair("other")[1])
    assert patient.examine()[1]["certificate"] == "✗"
    write_pair(make_pair("gate", ends_at=datetime(2021, 1, 1, tzinfo=UTC)), cert_file, key_file)
    result, marks = patient.examine()
    assert (result.exit_code, marks["certificate"]) == (1, "✗")
    assert "ended at 2021-01-01" in result.stdout


def test_what_is_open_to_whom_is_told(patient: Patient) -> None:
    """By which names an open gate is called, what it refuses, and that its control plane is where clients call."""
    patient.document["server"] |= {"host": "0.0.0.0", "allowed_hosts": ["gate.example"]}
    result, marks = patient.examine()
    assert (marks["web pages"], marks["control"]) == ("-", "-")
    [told] = [line for line in result.stdout.splitlines() if "web pages" in line]
    assert "gate.example" in told
    assert "refuses pages of other origins" in told
    assert "server.control_port" in result.stdout
    patient.require_identity()
    patient.document["server"] = {"port": 0}
    result, marks = patient.examine()
    assert "control" not in marks
    assert "answers to any name; pages of other origins need a token" in result.stdout


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"role": "slave", "master_replid": "a"}, "is a replica"),
        ({"role": "master"}, "replication id"),
    ],
)
def test_a_redis_that_cannot_keep_budgets_is_told(node: dict[str, str], says: str) -> None:
    """A replica takes no writes; without its replication id nobody sees what a failover lost."""
    healthy = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction"}
    finding = judge_redis("redis://here", [healthy | node])
    assert finding.is_good is False
    assert says in finding.said
    assert finding.remedy


def test_a_user_of_redis_who_may_too_little_is_told(
    patient: Patient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that is missing is named, and nothing is left in Redis."""
    monkeypatch.setattr("bqgate.cli.redis_check.REDIS_MAJOR_MIN", 6)
    user = "limited", "w0rd-of-the-limited"
    with redis.Redis.from_url(redis_url) as raw:
        raw.execute_command("ACL", "SETUSER", user[0], "on", f">{user[1]}", "~bqgate:*", "+@all", "-hdel", "-lpush")
        patient.document["budgets"] = {"url": redis_url.replace("://", f"://{user[0]}:{user[1]}@")}
        try:
            result, marks = patient.examine()
            assert (result.exit_code, marks["budgets"]) == (1, "✗")
            assert "may not call HDEL, LPUSH" in result.output
            raw.execute_command("ACL", "SETUSER", user[0], "-info")
            result, marks = patient.examine()
            assert marks["budgets"] == "✗"
            assert "may too little" in result.output
        finally:
            raw.execute_command("ACL", "DELUSER", user[0])
        assert raw.dbsize() == 0
