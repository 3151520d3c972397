"""What a caller writes fits into every column that keeps it, on SQLite and PostgreSQL; what would not is refused."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from bqgate.admission.hold_factory import make_hold
from bqgate.admission.present_budgets import reckon
from bqgate.admission.sizing import HoldSize
from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.domain.budget_scope import Spender
from bqgate.domain.entry import EntryFilter
from bqgate.domain.errors import BqgateError
from bqgate.domain.hold import Hold
from bqgate.domain.job import Estimate
from bqgate.domain.principal import Credential, Principal
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.domain.units import INT64_MAX
from bqgate.gate.routes import resolve
from bqgate.gate.submission import read_submission
from bqgate.identity.audit_log import TEXT_CHARS_MAX, BufferedAuditLog
from bqgate.ledger import SqlLedger, SqlRegistry
from bqgate.ledger.registry_schema import audit
from bqgate.ledger.schema import entries, holds
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.json_text import json_bytes
from bqgate.wire.query_request import parse_insert, parse_query
from tests.support.gate_stand import ListTelemetry
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START, ManualClock

WIDE = "\U00020000"  # a letter of four bytes
LONG = {
    "project_id": f"{'d' * 253}:{'p' * 63}",
    "principal": "a" * 255,
    "workload": "w" * 63,
    "job_id": "j" * 1024,
    "location": f"L{'l' * 62}",
    "request_id": "~" * 36,
}
LABELS = {f"{WIDE * 61}{number:02}": WIDE * 63 for number in range(62)}

# Columns of text, by whose words they hold. A new column belongs into one of the two.
OF_CALLERS = {
    "holds": {
        *("customer", "principal", "project_id", "idempotency_key", "workload", "labels"),
        *("job_project_id", "job_id", "job_location"),
    },
    "entries": {
        *("customer", "principal", "project_id", "workload", "labels"),
        *("job_project_id", "job_id", "job_location", "job_region"),
    },
    "audit": {"actor", "target", "subject", "customer", "source", "request_id", "detail"},
}
OF_THE_GATE = {
    "holds": {"id", "day_key", "month_key", "decision", "fingerprint", "state", "would_have", "would_budget"}
    | {"prices_id", "priced_as", "account"},
    "entries": {
        *("id", "kind", "day_key", "month_key", "outcome", "hold_id", "decision", "reason", "statement_type"),
        *("fingerprint", "would_have", "would_budget", "origin", "adjusts", "reservation", "edition", "prices_id"),
    },
    "audit": {"action", "role", "before", "after", "previous_hash", "hash"},
}


@pytest.mark.parametrize("table", [holds, entries, audit], ids=str)
def test_every_column_of_text_is_accounted_for(table: sa.Table) -> None:
    """Whose words a column holds is known for each."""
    texts = {column.name for column in table.columns if isinstance(column.type, (sa.Text, sa.JSON))}
    assert texts == OF_CALLERS[table.name] | OF_THE_GATE[table.name]


def longest_hold(hold_id: str, *, by_insert: bool) -> Hold:
    """The hold of a query whose every text is as long as the door lets in."""
    route = resolve("POST", f"/w/{LONG['workload']}/projects/{LONG['project_id']}/queries")
    project_id = route.project_id or ""
    if by_insert:
        reference = {"jobId": LONG["job_id"], "location": LONG["location"]}
        query = {"configuration": {"query": {"query": "SELECT 1"}, "labels": LABELS}, "jobReference": reference}
        request = parse_insert(project_id, query)
    else:
        request = parse_query(
            project_id, {"query": "SELECT 1", "requestId": LONG["request_id"], "labels": LABELS, "location": "US"}
        )
    assert request is not None
    principal = Principal(project_id, LONG["principal"], route.workload, Credential("Bearer x"))
    size = HoldSize(1, 1, INT64_MAX)
    tier = Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1)
    present = reckon(CustomerRegistry({}, {}, tier), Customer(project_id, tier), Spender(), START)
    return make_hold(request, principal, Estimate(1, "SELECT", 1), size, present, hold_id=hold_id, now=START, ttl_s=60)


@pytest.mark.parametrize("by_insert", [True, False])
async def test_the_longest_texts_of_a_query_come_back_whole(ledger: SqlLedger, *, by_insert: bool) -> None:
    """From the hold into the entry, through every index."""
    hold = longest_hold("h", by_insert=by_insert)
    await ledger.open_hold(hold)
    (kept,) = await ledger.fetch_open_holds()
    assert kept == replace(hold, scopes=kept.scopes)
    named = {name: getattr(hold, name) for name in ("customer", "principal", "project_id", "workload", "labels", "job")}
    entry = make_entry("h", **named)
    await ledger.book(entry)
    assert (await ledger.fetch_entries(EntryFilter(customer=hold.customer))).entries == (entry,)


@pytest.mark.parametrize("text", ["x" * 8 * 2**20, "a\0b", "\ud800", "a\nb", "\u202e" * 600, WIDE * 600])
async def test_whatever_a_caller_tried_is_told_to_the_audit_log(registry: SqlRegistry, text: str) -> None:
    """Cut, and without what a database does not keep: a refusal must not stop those behind it."""
    audit_log = BufferedAuditLog(registry, ManualClock(), ListTelemetry())
    names = OF_CALLERS["audit"]
    said: dict[str, Any] = dict.fromkeys(names, text)
    audit_log.record(AuditEvent(START, "access.refused", **said))
    await audit_log.flush()
    (record,) = (await registry.fetch_audit(AuditFilter())).records
    for name in names:
        assert 0 < len(getattr(record.event, name)) <= TEXT_CHARS_MAX
        assert getattr(record.event, name).isprintable()


HOSTILE = ["x" * 8 * 2**20, "a\0b", "\ud800", "a\nb", "\u202e"]


def job(**changes: Mapping[str, Any]) -> dict[str, Any]:
    configuration = {"query": {"query": "SELECT 1"}, **changes.get("configuration", {})}
    return {"configuration": configuration, "jobReference": dict(changes.get("reference", {}))}


async def read(document: Mapping[str, Any], *, is_insert: bool) -> None:
    """Take a document through the door."""
    submission = await read_submission(HttpRequest("POST", "/p", "", (), json_bytes(document)))
    parse_insert("p", submission.document) if is_insert else parse_query("p", submission.document)


@pytest.mark.parametrize("text", HOSTILE, ids=["long", "NUL", "half a pair", "line", "unseen"])
@pytest.mark.parametrize(
    "place", ["label key", "label value", "job id", "location", "request id", "property", "query's location"]
)
async def test_what_no_column_keeps_is_refused_at_the_door(place: str, text: str) -> None:
    """Before an estimate and a hold, by whichever method the query comes."""
    documents: dict[str, tuple[bool, dict[str, Any]]] = {
        "label key": (True, job(configuration={"labels": {text: "x"}})),
        "label value": (False, {"query": "SELECT 1", "labels": {"x": text}}),
        "job id": (True, job(reference={"jobId": text})),
        "location": (True, job(reference={"location": text})),
        "query's location": (False, {"query": "SELECT 1", "location": text}),
        "request id": (False, {"query": "SELECT 1", "requestId": text}),
        "property": (False, {"query": "SELECT 1", "connectionProperties": [{"key": "x" * 200, "value": text}]}),
    }
    is_insert, document = documents[place]
    with pytest.raises(BqgateError):
        parse_insert("p", document) if is_insert else parse_query("p", document)
    if text == "\ud800":
        return  # no JSON in UTF-8 has it
    with pytest.raises(BqgateError):
        await read(document, is_insert=is_insert)


@pytest.mark.parametrize(
    "text", ["x" * 20_000, "a%00b", "%ed%a0%80", "a%0ab", "%e2%80%ae", "a%20b", "x" * 64, "%F0%A0%80%80"]
)
@pytest.mark.parametrize("path", ["/w/{}/projects/p/queries", "/projects/{}/queries", "/projects/{}/jobs"])
def test_names_in_a_path_are_bounded(path: str, text: str) -> None:
    """The project becomes a customer's name, the workload a label."""
    with pytest.raises(BqgateError):
        resolve("POST", path.format(text))
