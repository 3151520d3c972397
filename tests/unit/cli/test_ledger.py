"""Tests of `bqgate ledger verify` and `bqgate ledger audit` on a database that was written before."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.domain.audit import AuditEvent, AuditRecord, chained
from bqgate.domain.entry import EntryKind, Origin
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger, SqlRegistry
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START, ManualClock
from tests.support.registries import make_event, tamper


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["ledger", *arguments], env={"BQGATE_LEDGER__URL": url})


async def fill(url: str, events: Sequence[AuditEvent]) -> tuple[AuditRecord, ...]:
    """A ledger with a charge, a refusal's void hold, an open hold, and these audit events."""
    ledger = await SqlLedger.open(url, ManualClock())
    for hold_id in ("charged", "closed", "open"):
        await ledger.open_hold(make_hold(hold_id))
    await ledger.book(make_entry("charged"))
    await ledger.close_hold("closed")
    await ledger.close()
    registry = await SqlRegistry.open(url)
    records = await registry.append_audit(events)
    await registry.close()
    return records


def filled(url: str, count: int = 3) -> tuple[AuditRecord, ...]:
    moments = [START + timedelta(seconds=number) for number in range(count)]
    return asyncio.run(fill(url, [make_event(at=moment) for moment in moments]))


def test_verify_says_that_all_is_well(ledger_url: str) -> None:
    """Status 0, the number of records and the head's hash; also against a witness."""
    records = filled(ledger_url)
    witness = f"{records[1].seq}:{records[1].hash}"
    for arguments in ([], ["--witness", witness]):
        result = run(ledger_url, "verify", *arguments)
        assert result.exit_code == 0, result.output
        assert f"Audit log: 3 records, the last one's hash is {records[-1].hash}." in result.stdout
        assert "Books: holds, charges and adjustments agree with each other." in result.stdout
        assert "BROKEN" not in result.stdout


def test_verify_says_where_the_audit_log_is_broken(ledger_url: str) -> None:
    """Status 1, the record and what is wrong with it."""
    filled(ledger_url)
    tamper(ledger_url, "UPDATE audit SET actor = 'mallory' WHERE seq = 2")
    result = run(ledger_url, "verify")
    assert result.exit_code == 1
    assert "Audit log: 1 records" in result.stdout
    assert "BROKEN at record 2: its content is not what its hash was made of." in result.stdout


def test_verify_finds_a_cut_off_end_by_its_witness(ledger_url: str) -> None:
    """The head of a log line shows that records are gone from the end."""
    records = filled(ledger_url)
    tamper(ledger_url, "DELETE FROM audit WHERE seq = 3")
    result = run(ledger_url, "verify", "--witness", f"3:{records[2].hash}")
    assert result.exit_code == 1
    assert "BROKEN at record 3: the log ends before this record, but the witness saw record 3." in result.stdout


@pytest.mark.parametrize("witness", ["3", "3:abc", "x:" + "0" * 64, ":" + "0" * 64])
def test_a_witness_that_is_none_is_a_wrong_argument(tmp_path: Path, witness: str) -> None:
    """Status 2, and the form that is wanted."""
    result = run(f"sqlite:///{tmp_path / 'ledger.db'}", "verify", "--witness", witness)
    assert result.exit_code == 2
    assert "SEQ:HASH" in result.stderr


CAPTURED = "UPDATE holds SET state = 'captured' WHERE id = 'closed'"
REOPENED = "UPDATE holds SET state = 'held', ended_at = NULL WHERE id = 'charged'"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (CAPTURED, "1 captured holds without a charge, for example: closed."),
        (REOPENED, "1 holds that are open though they were booked, for example: charged."),
    ],
)
def test_verify_finds_holds_that_do_not_agree_with_charges(ledger_url: str, change: str, fault: str) -> None:
    """Status 1 and the hold, where a hold says captured and nothing was booked, or the other way about."""
    filled(ledger_url)
    tamper(ledger_url, change)
    result = run(ledger_url, "verify")
    assert result.exit_code == 1
    assert f"BROKEN: {fault}" in result.stdout
    assert "Audit log: 3 records" in result.stdout


ELSEWHERE = "charges that count elsewhere than their hold, or are of another amount held"
IMPOSSIBLE = "charges below nothing, or refusals that cost"
CHARGE = "UPDATE entries SET {} WHERE hold_id = 'charged'"
UNGUARDED = "tables whose rows anybody can change, for a trigger is gone or off"
NO_GUARD = {
    "sqlite": "DROP TRIGGER entries_no_update",
    "postgresql": "ALTER TABLE entries DISABLE TRIGGER entries_no_change",
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("DELETE FROM holds WHERE id = 'charged'", "charges of a hold that is not there"),
        (CHARGE.format("customer = 'globex'"), ELSEWHERE),
        (CHARGE.format("principal = 'eve'"), ELSEWHERE),
        (CHARGE.format("month_key = '2020-01'"), ELSEWHERE),
        (CHARGE.format("day_key = NULL"), ELSEWHERE),
        (CHARGE.format("hold_nanos = 1"), ELSEWHERE),
        ("UPDATE holds SET amount_nanos = 1 WHERE id = 'charged'", ELSEWHERE),
        (CHARGE.format("cost_nanos = -1"), IMPOSSIBLE),
        (CHARGE.format("kind = 'refusal', cost_nanos = 5"), IMPOSSIBLE),
    ],
)
def test_verify_finds_a_charge_that_was_changed(ledger_url: str, change: str, fault: str) -> None:
    """Status 1, the charge, and that the table is not guarded any more."""
    filled(ledger_url)
    tamper(ledger_url, NO_GUARD[ledger_url.partition(":")[0].partition("+")[0]])
    tamper(ledger_url, change)
    result = run(ledger_url, "verify")
    assert result.exit_code == 1
    assert f"BROKEN: 1 {fault}, for example: " in result.stdout
    assert UNGUARDED + ", for example: audit, entries." in result.stdout


@pytest.mark.parametrize(
    ("first", "second", "index", "fault"),
    [
        ("US", None, "us", "1 jobs charged twice (US, or no location), for example: acme-prod j."),
        ("eu", "EU", "eu", "1 jobs charged twice (EU, or no location), for example: acme-prod j."),
        ("asia", "asia", "region", "1 jobs charged twice (another region), for example: acme-prod j asia."),
    ],
)
def test_verify_finds_a_job_that_was_charged_twice(
    ledger_url: str, first: str | None, second: str | None, index: str, fault: str
) -> None:
    """Where somebody dropped the unique index and two charges came in."""

    async def book_twice() -> None:
        ledger = await SqlLedger.open(ledger_url, ManualClock())
        for hold_id, location in (("a", first), ("b", second)):
            await ledger.book(make_entry(hold_id, job=JobRef("acme-prod", "j", location)))
        await ledger.book(make_entry("c", job=JobRef("acme-prod", "j", "us-west9")))
        await ledger.close()

    filled(ledger_url)
    kind = "entries_charge" if ledger_url.startswith("sqlite") else "entry_keys"
    tamper(ledger_url, f"DROP INDEX uq_{kind}_{index}")
    asyncio.run(book_twice())
    result = run(ledger_url, "verify")
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if "BROKEN" in line and UNGUARDED not in line] == [
        f"  BROKEN: {fault}"
    ]


def test_a_hold_with_two_entries_is_found(ledger_url: str) -> None:
    """Where somebody dropped the index that keeps a hold's entry alone."""
    filled(ledger_url)
    columns = "kind, customer, principal, project_id, booked_at, outcome, cost_nanos, hold_id, hold_nanos, decision, "
    columns += "estimate_nanos, bytes_processed, bytes_billed, slot_ms, statement_type, cache_hit, labels"
    second = f"INSERT INTO entries (id, {columns}) SELECT 'second', {columns} FROM entries"
    table = "entries" if ledger_url.startswith("sqlite") else "entry_keys"
    tamper(ledger_url, f"DROP INDEX uq_{table}_hold", second)
    result = run(ledger_url, "verify")
    assert result.exit_code == 1
    assert "BROKEN: 1 holds with more than one entry, for example: charged." in result.stdout


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"adjusts": "nowhere"}, "1 adjustments of a charge that is not there, for example: adj."),
        ({"adjusts": None}, "1 adjustments of a charge that is not there, for example: adj."),
        ({"customer": "other"}, "1 adjustments that count elsewhere than their charge, for example: adj."),
        ({"window_keys": {}}, "1 adjustments that count elsewhere than their charge, for example: adj."),
        ({"placed_at": START}, "1 adjustments that count elsewhere than their charge, for example: adj."),
        (
            {"job": JobRef("acme-prod", "another", "US")},
            "1 adjustments that count elsewhere than their charge, for example: adj.",
        ),
        ({"cost_nanos": -700_000_001}, "1 charges that were adjusted below nothing, for example: entry-of-charged."),
        ({}, None),
    ],
)
def test_verify_finds_corrections_that_do_not_go_with_their_charge(
    ledger_url: str, changes: dict[str, Any], fault: str | None
) -> None:
    """One that corrects nothing, that counts elsewhere, or that takes away more than there was."""

    async def adjust() -> None:
        ledger = await SqlLedger.open(ledger_url, ManualClock())
        correction: dict[str, Any] = {
            "id": "adj",
            "kind": EntryKind.ADJUSTMENT,
            "adjusts": "entry-of-charged",
            "job": JobRef("acme-prod", "job-of-charged", "US"),
            "cost_nanos": -700_000_000,
        }
        await ledger.book(make_entry(None, **(correction | changes)))
        await ledger.close()

    filled(ledger_url)
    asyncio.run(adjust())
    result = run(ledger_url, "verify")
    assert result.exit_code == (0 if fault is None else 1)
    assert [line for line in result.stdout.splitlines() if "BROKEN" in line and UNGUARDED not in line] == (
        [] if fault is None else [f"  BROKEN: {fault}"]
    )


def test_verify_finds_a_job_that_was_booked_through_the_gate_and_past_it(ledger_url: str) -> None:
    """Under two spellings, of its project for one, no index can tell that it is one job; its end can."""

    async def book_both() -> None:
        ledger = await SqlLedger.open(ledger_url, ManualClock())
        past = {"origin": Origin.BYPASS, "ended_at": START}
        await ledger.book(make_entry("a", job=JobRef("acme-prod", "j", "US"), ended_at=START))
        await ledger.book(make_entry(None, id="b", job=JobRef("4711", "j", "US"), **past))
        await ledger.book(make_entry(None, id="c", job=JobRef("4711", "k", "US"), **past))
        await ledger.close()

    filled(ledger_url)
    asyncio.run(book_both())
    result = run(ledger_url, "verify")
    assert result.exit_code == 1
    assert "BROKEN: 1 jobs charged both as through the gate and as past it, for example: j." in result.stdout


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_a_database_that_is_away_is_a_sentence(command: str) -> None:
    """Status 1 and which database, without its password."""
    result = run("postgresql://gate:hunter2@127.0.0.1:1/bqgate", command)
    assert result.exit_code == 1
    assert "postgresql://gate:*****@127.0.0.1:1/bqgate" in result.stderr
    assert "hunter2" not in result.output


def test_audit_prints_records_newest_first_as_lines_that_can_be_verified(ledger_url: str) -> None:
    """Each line is one JSON object with all of a record, from which its hash can be made again."""
    records = filled(ledger_url, 1_002)  # more than two pages
    result = run(ledger_url, "audit")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1_002, 0, -1))
    newest = lines[0]
    assert newest["at"] == "2026-11-24T12:16:41.000000+00:00"
    fields = {name: newest[name] for name in AuditEvent.__slots__} | {"at": records[-1].event.at}
    assert chained(newest["seq"], AuditEvent(**fields), newest["previous_hash"]).hash == newest["hash"]
    assert newest["hash"] == records[-1].hash


@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        (["--actor", "ann"], [2, 1]),
        (["--action", "key.created"], [3, 2]),
        (["--customer", "umbrella"], [3]),
        (["--since", "2026-11-24T12:00:01"], [3, 2]),
        (["--since", "2026-11-24T13:00:01+01:00", "--until", "2026-11-24T12:00:02Z"], [2]),
        (["--until", "2026-11-24"], []),
    ],
)
def test_audit_prints_what_is_wanted(tmp_path: Path, arguments: list[str], seqs: list[int]) -> None:
    """By actor, action, customer and time; a moment without a zone is UTC."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    events = [
        make_event("tier.updated", actor="ann"),
        make_event("key.created", actor="ann", at=START + timedelta(seconds=1)),
        make_event("key.created", actor="bob", customer="umbrella", at=START + timedelta(seconds=2)),
    ]
    asyncio.run(fill(url, events))
    result = run(url, "audit", *arguments)
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == seqs


def test_a_moment_that_is_none_is_a_wrong_argument(tmp_path: Path) -> None:
    """Status 2, and an example of a moment."""
    result = run(f"sqlite:///{tmp_path / 'ledger.db'}", "audit", "--since", "yesterday")
    assert result.exit_code == 2
    assert "2026-11-24T12:00:00Z" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", [["check"], ["rerate", "--since", "2026-11-01", "--yes"]])
def test_who_cannot_ask_bigquery_is_told_why(ledger_url: str, tmp_path: Path, command: list[str]) -> None:
    """Status 2, what is wrong with the credentials, and nothing is written."""
    filled(ledger_url)
    document = {"upstream": {"credentials": "service_account", "service_account_file": str(tmp_path / "none.json")}}
    file = tmp_path / "bqgate.yaml"
    file.write_text(yaml.safe_dump(document))
    result = run(ledger_url, *command, "--config", str(file))
    assert result.exit_code == 2
    assert "BigQuery cannot be asked" in result.stderr
    assert "none.json" in result.stderr
    assert run(ledger_url, "verify").stdout.startswith("Audit log: 3 records")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["check", "--since", "2026-11-02", "--until", "2026-11-01"], "not before --until"),
        (["rerate", "--since", "2026-11-02", "--until", "2026-11-01", "--yes"], "not before --until"),
        (["rerate"], "Missing option '--since'"),
        (["rerate", "--since", "2026-11-01"], "nobody is there to be asked"),
        (["check", "--since", "yesterday"], "2026-11-24T12:00:00Z"),
    ],
)
def test_a_span_that_is_none_is_a_wrong_argument(tmp_path: Path, command: list[str], said: str) -> None:
    """Status 2, before anything is opened."""
    result = run(f"sqlite:///{tmp_path / 'ledger.db'}", *command)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("command", [["check"], ["rerate", "--since", "2026-11-01", "--yes"]])
def test_no_ledger_is_made_where_there_is_none(tmp_path: Path, command: list[str]) -> None:
    """Status 1, and the path that was looked at."""
    path = tmp_path / "misspelt.db"
    result = CliRunner().invoke(
        app,
        ["ledger", *command],
        env={"BQGATE_LEDGER__URL": f"sqlite:///{path}", "BQGATE_UPSTREAM__CREDENTIALS": "anonymous"},
    )
    assert result.exit_code == 1
    assert "misspelt.db" in result.stderr
    assert not path.exists()
