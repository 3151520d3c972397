"""Customers with service accounts of their own: BigQuery's IAM sees each call in its customer's name alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bqgate.clock import SystemClock
from bqgate.domain.entry import EntryFilter
from bqgate.domain.job import JobRef
from bqgate.sandbox import Fault
from tests.support.own_accounts import ACCOUNTS, ACME, ACME_LATER, GATE, GLOBEX, OwnAccounts, own_accounts

OWN = "SELECT owner FROM `hub.acme.t`"
LOAD = {"sourceFormat": "NEWLINE_DELIMITED_JSON"}


@pytest.fixture
async def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OwnAccounts]:
    async with own_accounts(tmp_path, monkeypatch) as stand:
        yield stand


def upload_of(dataset: str) -> tuple[bytes, dict[str, str]]:
    """A load job with its file of one row."""
    load = {**LOAD, "destinationTable": {"datasetId": dataset, "tableId": "t"}}
    job = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps({'configuration': {'load': load}})}\r\n"
    text = f'{job}--b\r\nContent-Type: text/plain\r\n\r\n{{"owner":"new"}}\n\r\n--b--\r\n'
    return text.encode(), {"Content-Type": "multipart/related; boundary=b"}


def batch_of(*calls: tuple[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Calls packed into one."""
    parts = "".join(
        f"--b\r\nContent-Type: application/http\r\n\r\n{line} HTTP/1.1\r\n"
        f"Content-Type: application/json\r\n\r\n{'' if body is None else json.dumps(body)}\r\n"
        for line, body in calls
    )
    return f"{parts}--b--\r\n".encode(), {"Content-Type": "multipart/mixed; boundary=b"}


async def work(stand: OwnAccounts, who: str) -> None:
    """All that a client does with BigQuery, under one customer's name."""
    customers, sql = stand.customers, f"SELECT owner FROM `hub.{who}.t`"
    query = {"query": sql, "useLegacySql": False}

    async def call(verb: str, path: str, body: Any = None, **more: Any) -> Any:
        reply = await customers.call(who, verb, path, body, **more)
        assert 200 <= reply.status < 300, (verb, path, reply.text)
        return reply

    for extra in ({}, {"dryRun": True}, {"requestId": f"{who}-1"}, {"maxResults": 0}):
        await call("POST", "projects/hub/queries", query | extra)
    await call("POST", "projects/hub/jobs", {"configuration": {"query": query, "dryRun": True}})
    job = await customers.start(who, sql)
    for path in (
        f"jobs/{job}",
        f"queries/{job}",
        f"queries/{job}?maxResults=1&startIndex=0",
        "jobs",
        "jobs?allUsers=0",
    ):
        await call("GET", f"projects/hub/{path}")
    await call("POST", f"projects/hub/jobs/{job}/cancel")
    override = {"X-HTTP-Method-Override": "GET", "Content-Type": "application/x-www-form-urlencoded"}
    await call("POST", f"projects/hub/queries/{job}", b"location=US", headers=override)
    for path in ("", f"/{who}", f"/{who}/tables", f"/{who}/tables/t", f"/{who}/tables/t/data"):
        await call("GET", f"projects/hub/datasets{path}")
    await call("GET", "projects")
    await call("POST", f"projects/hub/datasets/{who}/tables/t/insertAll", {"rows": [{"json": {"owner": "x"}}]})
    view = {"tableReference": {"tableId": f"view_of_{who}"}, "view": query}
    await call("POST", f"projects/hub/datasets/{who}/tables", view)
    body, headers = upload_of(who)
    await call("POST", "/upload/bigquery/v2/projects/hub/jobs?uploadType=multipart", body, headers=headers)
    load = {**LOAD, "destinationTable": {"datasetId": who, "tableId": "t"}}
    await call("POST", "/upload/bigquery/v2/projects/hub/jobs?uploadType=resumable", {"configuration": {"load": load}})
    packed, headers = batch_of(
        (f"GET /bigquery/v2/projects/hub/queries/{job}", None), ("POST /bigquery/v2/projects/hub/queries", query)
    )
    answer = await call("POST", "/batch/bigquery/v2", packed, headers=headers)
    assert answer.text.count("HTTP/1.1 200") == 2, answer.text
    await stand.stack.fetch_settled(who)
    await call("DELETE", f"projects/hub/jobs/{job}/delete")


async def test_every_call_bears_the_token_of_its_customers_account(stand: OwnAccounts) -> None:
    """Dry runs, queries, results, lists, rows, uploads, batches, cancels, settlement: whoever works beside whom.

    The gate's own account may nothing at BigQuery, and is never seen there.
    """
    for who, account in ACCOUNTS.items():
        stand.bigquery.calls.clear()
        await work(stand, who)
        assert stand.bigquery.callers() == {account}
    stand.bigquery.calls.clear()
    await asyncio.gather(*(stand.customers.query(who, f"SELECT {n}") for who in ACCOUNTS for n in range(20)))
    assert stand.bigquery.callers() == {ACME, GLOBEX}
    assert {path for _, _, path in stand.bigquery.refused} <= {"/bigquery/v2/projects/hub/jobs"}, "jobs.listAll"
    assert set(stand.tokens.asked) == {ACME, GLOBEX}
    assert len(stand.tokens.asked) == 2


async def test_what_the_reading_lets_through_iam_refuses(stand: OwnAccounts) -> None:
    """A slip in a customer's `data` is none of BigQuery's: its own refusal comes back, and costs nothing."""
    await stand.change("acme", data=["hub.acme", "hub.globex"])
    for reply in (
        await stand.customers.query("acme", "SELECT owner FROM `hub.globex.t`"),
        await stand.customers.call("acme", "GET", "projects/hub/datasets/globex/tables/t/data"),
    ):
        assert (403, "accessDenied") == (reply.status, reply.reason), reply.text
        assert "row of" not in reply.text
    assert not any(balance.captured_nanos for balance in await stand.stack.fetch_settled("acme"))


async def test_an_account_that_an_admin_changes_holds_from_the_next_call_on(stand: OwnAccounts) -> None:
    """Also for what was estimated in the old one's name a moment ago: the other one's right to read is asked for."""
    assert (await stand.customers.query("acme", OWN)).status == 200
    stand.bigquery.calls.clear()
    await stand.change("acme", service_account=ACME_LATER)
    assert (await stand.customers.query("acme", OWN)).status == 200
    dry_runs = [who for who, verb, path in stand.bigquery.calls if (verb, path[-4:]) == ("POST", "jobs")]
    assert stand.bigquery.callers("queries") == {ACME_LATER}
    assert dry_runs == [ACME_LATER]


async def test_an_account_that_the_file_changes_holds_once_it_is_read(stand: OwnAccounts) -> None:
    """The settings file is read anew, and the other account goes up; nothing else of the customer's has changed."""
    file = stand.folder / "bqgate.yaml"
    document = yaml.safe_load(file.read_text())
    document["customers"]["acme"]["service_account"] = ACME_LATER
    file.write_text(yaml.safe_dump(document))
    gate = stand.stack.gate
    assert gate.reloader is not None
    gate.reloader.ask()
    async with asyncio.timeout(20):
        while gate.policies.customer_registry.customer("acme").account != ACME_LATER:
            await SystemClock().sleep(0.02)
    stand.bigquery.calls.clear()
    assert (await stand.customers.query("acme", OWN)).status == 200
    assert stand.bigquery.callers() == {ACME_LATER}


GARBAGE = (
    b"<html>proxy</html>",
    b"{}",
    b"[" * 100_000,
    b'{"accessToken": "", "expireTime": "2120-01-01T00:00:00Z"}',
    b'{"accessToken": "a\\r\\nx-other: y", "expireTime": "2120-01-01T00:00:00Z"}',
    b'{"accessToken": ["a"], "expireTime": "2120-01-01T00:00:00Z"}',
    b'{"accessToken": "ya29.acme", "expireTime": "2020-01-01T00:00:00Z"}',
)


@pytest.mark.parametrize("trouble", ["refused", "down", *GARBAGE])
async def test_without_a_token_nothing_is_sent_and_nothing_lost(stand: OwnAccounts, trouble: str | bytes) -> None:
    """IAM refuses one account, or answers nonsense: 503 that says so, no hold stays; the other customer goes on."""
    assert (await stand.customers.query("globex", "SELECT 1")).status == 200
    match trouble:
        case "refused":
            stand.tokens.refused = {ACME}
        case "down":
            stand.tokens.iam_status = 503
        case bytes():
            stand.tokens.iam_body = trouble
    stand.bigquery.calls.clear()
    for reply in (
        await stand.customers.query("acme", OWN),
        await stand.customers.insert("acme", OWN),
        await stand.customers.call("acme", "GET", "projects/hub/jobs"),
        await stand.customers.call("acme", "GET", "projects/hub/jobs/some_job"),
    ):
        assert (503, "backendError") == (reply.status, reply.reason), reply.text
        assert "no valid token for the customer's account" in reply.message
        assert "iam.gserviceaccount.com" not in reply.text
    assert stand.bigquery.calls == []
    assert not any(balance.captured_nanos for balance in await stand.stack.fetch_settled("acme"))
    assert (await stand.customers.query("globex", "SELECT 2")).status == 200
    assert stand.bigquery.callers() == {GLOBEX}
    assert stand.tokens.asked.count(ACME) <= 1 + 3, "IAM is left alone for a while"


async def test_a_slow_token_service_keeps_only_those_waiting_who_need_it(stand: OwnAccounts) -> None:
    """Who has a token is served meanwhile, and who waits is served once theirs has come."""
    assert (await stand.customers.query("globex", "SELECT 1")).status == 200
    stand.tokens.may_answer.clear()
    waiting = asyncio.ensure_future(stand.customers.query("acme", OWN))
    assert (await stand.customers.query("globex", "SELECT 2")).status == 200
    assert not waiting.done()
    stand.tokens.may_answer.set()
    assert (await waiting).status == 200


async def test_a_token_that_bigquery_refuses_is_no_fault_of_the_callers(stand: OwnAccounts) -> None:
    """A 401 would have clients log in anew at the gate: 503, nothing is held, and the other customer goes on."""
    stand.tokens.tokens[ACME] = "ya29.revoked"
    for reply in (await stand.customers.query("acme", OWN), await stand.customers.insert("acme", OWN)):
        assert (503, "backendError") == (reply.status, reply.reason), reply.text
    assert not any(balance.captured_nanos for balance in await stand.stack.fetch_settled("acme"))
    assert (await stand.customers.query("globex", "SELECT 1")).status == 200


async def test_a_lost_answer_is_asked_after_as_who_made_the_job(stand: OwnAccounts) -> None:
    """The connection breaks, and the customer's account is changed at that moment: its cost is booked all the same."""
    sandbox = stand.stack.sandbox
    sandbox.faults.add(Fault(kind="lost", method="jobs.query", dry_run=False, count=1))
    sandbox.faults.add(Fault(status=503, method="jobs.list", count=2))
    assert (await stand.customers.query("acme", OWN)).status == 503
    stand.bigquery.calls.clear()
    await stand.change("acme", service_account=ACME_LATER)
    await stand.stack.fetch_settled("acme")
    assert stand.bigquery.callers("projects/hub/jobs") == {ACME}
    page = await stand.stack.gate.ledger.fetch_entries(EntryFilter(customer="acme"))
    assert [entry.outcome.value for entry in page.entries] == ["done"]


@pytest.mark.parametrize("customers", [{}, {"acme": {"projects": ["acme-prod"], "data": ["hub.acme"]}}])
async def test_after_a_restart_the_account_that_made_a_job_asks_after_it(
    stand: OwnAccounts, customers: dict[str, Any]
) -> None:
    """The gate stops before it learns of a job, and starts without its customer, or without the customer's account."""
    sandbox = stand.stack.sandbox
    sandbox.faults.add(Fault(kind="lost", method="jobs.query", dry_run=False, count=1))
    sandbox.faults.add(Fault(status=503, method="jobs.list"))
    assert (await stand.customers.query("acme", OWN)).status == 503
    sandbox.faults.clear()
    sandbox.faults.add(Fault(status=503, method="jobs.list", count=1))
    stand.bigquery.calls.clear()
    await stand.restart(customers)
    await stand.stack.fetch_settled("acme")
    assert stand.bigquery.callers() == {ACME}
    page = await stand.stack.gate.ledger.fetch_entries(EntryFilter(customer="acme"))
    assert [entry.outcome.value for entry in page.entries] == ["done"]


async def test_a_taken_job_id_looks_like_a_free_one_to_an_account_that_may_not_see_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever gate made the other's job: each has its own, and what was held for the first try is given back."""
    job: dict[str, Any] = {"jobReference": {"jobId": "daily"}}
    async with own_accounts(tmp_path, monkeypatch, {"settlement": {"absent_for_s": 1, "lease_s": 3}}) as stand:
        call = stand.customers.call
        for who in ACCOUNTS:
            job["configuration"] = {"query": {"query": f"SELECT owner FROM `hub.{who}.t`", "useLegacySql": False}}
            made, again = [await call(who, "POST", "projects/hub/jobs", job) for _ in range(2)]
            assert made.status == 200, made.text
            assert (409, "Already Exists: Job hub:US.daily") == (again.status, again.message)
            assert f"row of hub:{who}" in (await call(who, "GET", "projects/hub/queries/daily?location=US")).text
            await stand.stack.fetch_settled(who)
            await stand.restart(stand.document["customers"])  # as another gate, which knows nobody's jobs
        page = await stand.stack.gate.ledger.fetch_entries(EntryFilter())
    charged = {
        (entry.customer, entry.job == JobRef("hub", "daily", "US")) for entry in page.entries if entry.cost_nanos
    }
    assert charged == {("acme", True), ("globex", False)}


async def test_a_deletion_that_the_account_may_not_prepare_is_not_prepared_in_the_gates_name(
    stand: OwnAccounts,
) -> None:
    """The account may not see the job: its deletion is refused, and the gate's own account asks nothing."""
    job = await stand.customers.start("globex", project="globex-prod")
    stand.bigquery.calls.clear()
    await stand.change("globex", service_account=ACME)
    reply = await stand.customers.call("root", "DELETE", f"projects/globex-prod/jobs/{job}/delete")
    assert reply.status == 403, reply.text
    assert GATE not in stand.bigquery.callers()


async def test_a_customer_that_is_listed_no_more_gets_nothing_as_the_gate(stand: OwnAccounts) -> None:
    """Its keys still log in; the gate's own account, in whose name it would go up now, has no role at BigQuery."""
    await stand.restart({"globex": stand.document["customers"]["globex"]})
    for reply in (await stand.customers.query("acme", "SELECT 1"), await stand.customers.insert("acme", "SELECT 1")):
        assert (403, "accessDenied") == (reply.status, reply.reason), reply.text
    assert not any(balance.captured_nanos for balance in await stand.stack.fetch_settled("acme"))


async def test_the_log_says_once_at_the_start_who_shares_an_account(stand: OwnAccounts) -> None:
    """Of the customers of the settings, and of those whom admins have made; nothing where each has its own."""
    assert "settings_warning" not in stand.stack.log.getvalue()
    body = {"name": "initech", "projects": ["initech-prod"]}
    made = await stand.customers.call("root", "POST", "/admin/v1/customers", body)
    assert made.status == 201, made.text
    await stand.restart(stand.document["customers"])
    warnings = [line for line in stand.stack.log.getvalue().splitlines() if "settings_warning" in line]
    assert [json.loads(line)["warning"].split(" to BigQuery")[0] for line in warnings] == ["customers: initech goes up"]
