import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bqgate.domain.entry import EntryFilter, EntryKind
from bqgate.domain.job import JobRef
from bqgate.gate.isolation.rules import RULES, Rule
from bqgate.gate.routes import METHODS
from bqgate.sandbox import Fault
from tests.support.gate_stack import open_stack
from tests.support.two_customers import SETTINGS, TwoCustomers, hand_out_keys, make_tables, two_customers

GLOBEX_TABLE = "hub.globex.t"
SECRET = f"SELECT owner FROM `{GLOBEX_TABLE}`"
OWN = "SELECT owner FROM `hub.acme.t`"


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[TwoCustomers]:
    async with two_customers(tmp_path) as stand:
        yield stand


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still_gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoCustomers]:
    """One gate for all that is refused before anything changes."""
    async with two_customers(tmp_path_factory.mktemp("still")) as stand:
        yield stand


def path_of(template: str, *, project: str, dataset: str, job: str) -> str:
    """A method's path with names put in."""
    names = {"projectId": project, "datasetId": dataset, "tableId": "t", "jobId": job}
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "x"), template)


def body_of(method_id: str, project: str, dataset: str) -> Any:
    """A body that names the dataset wherever one is named."""
    sql = f"SELECT owner FROM `{project}.{dataset}.t`"
    query = {"query": sql, "useLegacySql": False}
    reference = {"projectId": project, "datasetId": dataset, "tableId": "t"}
    return {
        "jobs.query": query,
        "jobs.insert": {"configuration": {"query": query}},
        "datasets.insert": {"datasetReference": {"datasetId": dataset}},
        "tables.insert": {"tableReference": reference},
        "tabledata.insertAll": {"rows": [{"json": {"owner": "acme was here"}}]},
    }.get(method_id, {})


@pytest.mark.parametrize(("project", "dataset"), [("hub", "globex"), ("globex-prod", "secrets")])
async def test_no_method_reaches_anothers_data_or_jobs(gate: TwoCustomers, project: str, dataset: str) -> None:
    """Each of BigQuery's methods, called by acme on globex's names: 403, 404, or a list without globex in it."""
    job = await gate.start("globex", f"SELECT owner FROM `{project}.{dataset}.t`", project=project)
    is_shared = project == "hub"
    for method_id, verb, template in METHODS:
        path = path_of(template, project=project, dataset=dataset, job=job)
        body = None if verb in {"GET", "DELETE"} else body_of(method_id, project, dataset)
        reply = await gate.call("acme", verb, path, body)
        rule = RULES[method_id]
        if rule is Rule.PROJECT_LIST or (is_shared and rule in {Rule.JOB_LIST, Rule.DATASET_LIST}):
            assert reply.status == 200, (method_id, reply.text)
        elif is_shared and rule is Rule.PROJECT:
            assert "bigquery-encryption" in reply.text
        elif rule is Rule.OWN_JOB:
            assert (404, "notFound") == (reply.status, reply.reason), method_id
        else:
            assert (403, "accessDenied") == (reply.status, reply.reason), (method_id, reply.text)
            assert reply.message.startswith("Access Denied: ")
        assert "row of" not in reply.text
        if reply.status == 200:
            assert "globex" not in reply.text, method_id
    rows = await gate.query("globex", f"SELECT owner FROM `{project}.{dataset}.t`", project=project)
    assert [f"row of {project}:{dataset}"] == [row["f"][0]["v"] for row in rows.json["rows"]]


async def test_ones_own_work_goes_on_as_ever(gate: TwoCustomers) -> None:
    """What the other may not, the owner may: jobs, results, lists, tables, definitions and rows."""
    job = await gate.start("acme", OWN)
    for path in (f"jobs/{job}", f"jobs/{job}?location=US", f"queries/{job}", f"queries/{job}?location=US"):
        reply = await gate.call("acme", "GET", f"projects/hub/{path}")
        assert (200, job) == (reply.status, reply.json["jobReference"]["jobId"])
    assert (await gate.call("acme", "POST", f"projects/hub/jobs/{job}/cancel")).status == 200
    for path in ("datasets/acme", "datasets/acme/tables", "datasets/acme/tables/t", "datasets/acme/tables/t/data"):
        assert (await gate.call("acme", "GET", f"projects/hub/{path}")).status == 200, path
    for sql in (
        "CREATE TABLE own.made AS SELECT 1 AS a",
        "INSERT INTO own.made (a) VALUES (2)",
        "CREATE VIEW own.seen AS SELECT a FROM `acme-prod.own.made`",
        "SELECT a FROM own.seen",
        "SELECT table_name FROM own.INFORMATION_SCHEMA.TABLES",
        "CREATE SCHEMA fresh",
        "DROP TABLE own.made",
    ):
        reply = await gate.query("acme", sql, project="acme-prod")
        assert reply.status == 200, (sql, reply.text)
    view = {"tableReference": {"tableId": "w"}, "view": {"query": OWN, "useLegacySql": False}}
    assert (await gate.call("acme", "POST", "projects/acme-prod/datasets/own/tables", view)).status == 200
    assert (await gate.call("acme", "DELETE", f"projects/hub/jobs/{job}/delete")).status in {200, 204}
    assert (await gate.call("acme", "GET", f"projects/hub/jobs/{job}")).status == 404


async def test_anothers_job_looks_like_one_that_is_not_there(gate: TwoCustomers) -> None:
    """The two answers are the same but for the id, with and without a location."""
    job = await gate.start("globex")
    for suffix in ("", "?location=US", "?location=EU"):
        theirs = await gate.call("acme", "GET", f"projects/hub/jobs/{job}{suffix}")
        absent = await gate.call("acme", "GET", f"projects/hub/jobs/none{suffix}")
        assert (404, theirs.text.replace(job, "none")) == (absent.status, absent.text)
    assert (await gate.call("globex", "GET", f"projects/hub/jobs/{job}")).status == 200


async def test_a_job_id_taken_by_another_gives_nothing_away(gate: TwoCustomers) -> None:
    """Submitting under another's job id makes a job of the caller's own, and not the other's the caller's."""
    job = await gate.start("globex", SECRET)
    document = {
        "jobReference": {"jobId": job},
        "configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}},
    }
    assert (await gate.call("acme", "GET", f"projects/hub/queries/{job}?location=US")).status == 404
    assert (await gate.call("acme", "POST", "projects/hub/jobs", document)).status == 200
    reply = await gate.call("acme", "GET", f"projects/hub/queries/{job}?location=US")
    assert [["1"]] == [[cell["v"] for cell in row["f"]] for row in reply.json["rows"]]


async def test_nobody_is_booked_for_anothers_job(gate: TwoCustomers) -> None:
    """Who tries a taken id pays for a job of its own, and the job's owner is still the one who is charged for it."""
    gate.stack.sandbox.faults.add(Fault(kind="delay", delay_s=0.3, method="jobs.get", count=2))
    job = await gate.start("globex", SECRET)
    document = {
        "jobReference": {"jobId": job},
        "configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}},
    }
    assert (await gate.call("acme", "POST", "projects/hub/jobs", document)).status == 200
    for customer in ("acme", "globex"):
        await gate.stack.fetch_settled(customer)
    page = await gate.stack.gate.ledger.fetch_entries(EntryFilter(kind=EntryKind.CHARGE))
    charged = {(entry.customer, entry.job.job_id if entry.job else None) for entry in page.entries}
    assert len(page.entries) == 2
    assert ("globex", job) in charged
    assert ("acme", job) not in charged


async def test_nobody_is_booked_for_the_job_of_a_customer_without_a_budget(tmp_path: Path) -> None:
    """Its jobs bear no hold's label; whoever chooses the id of one pays for its own job alone."""
    customers = {**SETTINGS["customers"], "globex": {**SETTINGS["customers"]["globex"], "mode": "off"}}
    async with two_customers(tmp_path, {"customers": customers}) as gate:
        for who in ("globex", "acme"):
            query = {"query": f"SELECT owner FROM `hub.{who}.t`", "useLegacySql": False}
            job = {"jobReference": {"jobId": "daily"}, "configuration": {"query": query}}
            assert (await gate.call(who, "POST", "projects/hub/jobs", job)).status == 200
        await gate.stack.fetch_settled("acme")
        page = await gate.stack.gate.ledger.fetch_entries(EntryFilter(kind=EntryKind.CHARGE))
    assert [("acme", True)] == [(entry.customer, entry.job != JobRef("hub", "daily", "US")) for entry in page.entries]


async def test_an_id_that_changed_hands_at_another_gate_is_its_new_owners_at_once(tmp_path: Path) -> None:
    """Who deletes its job at one gate, and has another gate remember it, does not read the next one's of that id."""
    async with open_stack(tmp_path, SETTINGS, gate_count=2) as stack, aiohttp.ClientSession() as session:
        make_tables(stack.sandbox.warehouse)
        one, other = TwoCustomers(stack, session), TwoCustomers(replace(stack, gates=stack.gates[::-1]), session)
        await hand_out_keys(one)
        other.tokens |= one.tokens
        for who, sql in (("acme", OWN), ("globex", SECRET)):
            query = {"query": sql, "useLegacySql": False}
            job = {"jobReference": {"jobId": "daily"}, "configuration": {"query": query}}
            assert (await one.call(who, "POST", "projects/hub/jobs", job)).status == 200
            if who == "acme":
                assert (await other.call("acme", "GET", "projects/hub/jobs/daily?location=US")).status == 200
                assert (await one.call("acme", "DELETE", "projects/hub/jobs/daily/delete")).status in {200, 204}
        for path in ("jobs/daily?location=US", "queries/daily?location=US"):
            assert (await other.call("acme", "GET", f"projects/hub/{path}")).status == 404
            assert (await other.call("globex", "GET", f"projects/hub/{path}")).status == 200


async def test_a_location_that_is_given_twice_is_refused(gate: TwoCustomers) -> None:
    """The gate and BigQuery could read different ones."""
    job = await gate.start("globex")
    reply = await gate.call("acme", "GET", f"projects/hub/jobs/{job}?location=EU&location=US")
    assert reply.status == 400


async def test_lists_show_ones_own(gate: TwoCustomers) -> None:
    """Jobs by their label, projects and datasets by the scope, whatever is asked for; admins see all."""
    mine, theirs = await gate.start("acme", OWN), await gate.start("globex", SECRET)
    for suffix in ("", "?projection=full", "?allUsers=true", "?fields=jobs(id)", "?projection=minimal&projection=full"):
        reply = await gate.call("acme", "GET", f"projects/hub/jobs{suffix}")
        assert [mine] == [job["jobReference"]["jobId"] for job in reply.json["jobs"]], suffix
        assert ("configuration" in reply.json["jobs"][0]) is ("full" in suffix)
    everything = await gate.call("root", "GET", "projects/hub/jobs?allUsers=true")
    assert {mine, theirs} <= {job["jobReference"]["jobId"] for job in everything.json["jobs"]}
    datasets = await gate.call("acme", "GET", "projects/hub/datasets?all=true")
    assert ["acme"] == [one["datasetReference"]["datasetId"] for one in datasets.json["datasets"]]
    await gate.call("acme", "GET", "projects/acme-prod/datasets")
    projects = (await gate.call("acme", "GET", "projects")).json
    assert {"hub", "acme-prod"} == {one["id"] for one in projects["projects"]}
    assert projects["totalItems"] == 2


async def test_pages_of_a_filtered_list_lead_to_its_end(gate: TwoCustomers) -> None:
    """Pages come out short, and following their tokens finds each own job once."""
    expected = set()
    for _ in range(3):
        expected.add(await gate.start("acme"))
        await gate.start("globex")
    found: list[str] = []
    token: str | None = ""
    while token is not None:
        reply = await gate.call("acme", "GET", f"projects/hub/jobs?maxResults=1&pageToken={token}")
        found += [job["jobReference"]["jobId"] for job in reply.json["jobs"]]
        token = reply.json.get("nextPageToken")
    assert sorted(expected) == sorted(found)


ESCAPES: list[tuple[str, Any]] = [
    ("another's table", SECRET),
    ("beside an own one", f"{OWN} UNION ALL {SECRET}"),
    ("below an own project's name", "SELECT owner FROM `globex-prod`.secrets.t"),
    ("escaped backticks", "SELECT owner FROM `hub.\\x67lobex.t`"),
    ("dynamic SQL", f"EXECUTE IMMEDIATE '{SECRET}'"),
    ("a script", f"DECLARE x INT64; {SECRET};"),
    ("everybody's jobs", "SELECT query FROM `region-us`.INFORMATION_SCHEMA.JOBS"),
    ("jobs of the project", "SELECT query FROM INFORMATION_SCHEMA.JOBS_BY_PROJECT"),
    ("names of datasets", "SELECT schema_name FROM INFORMATION_SCHEMA.SCHEMATA"),
    ("another's columns", "SELECT column_name FROM hub.globex.INFORMATION_SCHEMA.COLUMNS"),
    ("writing", "INSERT INTO hub.globex.t (owner) VALUES ('acme')"),
    ("deleting", "DELETE FROM hub.globex.t WHERE true"),
    ("merging", f"MERGE hub.acme.t USING ({SECRET}) s ON false WHEN NOT MATCHED THEN INSERT (owner) VALUES (s.owner)"),
    ("copying by CTAS", f"CREATE TABLE hub.acme.c AS {SECRET}"),
    ("into another's dataset", f"CREATE TABLE hub.globex.c AS {OWN}"),
    ("dropping", "DROP TABLE hub.globex.t"),
    ("dropping a dataset", "DROP SCHEMA hub.globex CASCADE"),
    ("making a dataset", "CREATE SCHEMA `globex-prod`.mine"),
    ("a view over it", f"CREATE VIEW hub.acme.v AS {SECRET}"),
    ("its columns by a typo", "SELECT ownr FROM `hub.globex.t`"),
    ("whether a table is there", "SELECT a FROM `hub.globex.nothing`"),
]


@pytest.mark.parametrize(("sql"), [pytest.param(sql, id=name) for name, sql in ESCAPES])
@pytest.mark.asyncio(loop_scope="module")
async def test_no_query_reads_writes_or_learns_of_others(still_gate: TwoCustomers, sql: str) -> None:
    """By both methods, for real and as a dry run: accessDenied, and nothing has changed."""
    replies = [
        await still_gate.query("acme", sql),
        await still_gate.query("acme", sql, dryRun=True),
        await still_gate.insert("acme", sql),
        await still_gate.call(
            "acme",
            "POST",
            "projects/hub/jobs",
            {"configuration": {"dryRun": True, "query": {"query": sql, "useLegacySql": False}}},
        ),
    ]
    for reply in replies:
        assert (403, "accessDenied") == (reply.status, reply.reason), reply.text
        assert "row of" not in reply.text
        assert "owner" not in reply.message
    rows = (await still_gate.query("globex", SECRET)).json["rows"]
    assert ["row of hub:globex"] == [row["f"][0]["v"] for row in rows]


def multipart(document: Any) -> tuple[bytes, dict[str, str]]:
    """A multipart upload with a job and a file of one row."""
    job = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(document)}\r\n"
    text = f'{job}--b\r\nContent-Type: text/plain\r\n\r\n{{"owner":"acme"}}\n\r\n--b--\r\n'
    return text.encode(), {"Content-Type": "multipart/related; boundary=b"}


async def test_no_packing_carries_a_job_past_the_check(gate: TwoCustomers) -> None:
    """Doubled keys, snake_case, gzip, uploads, batches and overridden verbs are judged as what they mean."""
    doubled = b'{"query": "SELECT 1", "query": "SELECT owner FROM `hub.globex.t`", "useLegacySql": false}'
    assert (await gate.call("acme", "POST", "projects/hub/queries", doubled)).status == 403
    packed = {"Content-Encoding": "gzip"}
    assert (
        await gate.call("acme", "POST", "projects/hub/queries", gzip.compress(doubled), headers=packed)
    ).status == 403
    load = {"source_format": "NEWLINE_DELIMITED_JSON", "destination_table": {"dataset_id": "globex", "table_id": "t"}}
    document = {"configuration": {"load": load}}
    body, headers = multipart(document)
    upload = "/upload/bigquery/v2/projects/hub/jobs?uploadType="
    assert (await gate.call("acme", "POST", f"{upload}multipart", body, headers=headers)).status == 403
    assert (await gate.call("acme", "POST", f"{upload}resumable", document)).status == 403
    job = await gate.start("globex", SECRET)
    override = {"X-HTTP-Method-Override": "GET", "Content-Type": "application/x-www-form-urlencoded"}
    reply = await gate.call("acme", "POST", f"projects/hub/queries/{job}", b"location=US", headers=override)
    assert reply.status == 404
    parts = "".join(
        f"--b\r\nContent-Type: application/http\r\n\r\n{line} HTTP/1.1\r\n"
        f"Content-Type: application/json\r\n\r\n{text}\r\n"
        for line, text in (
            (f"GET /bigquery/v2/projects/hub/queries/{job}", ""),
            ("POST /bigquery/v2/projects/hub/queries", json.dumps({"query": SECRET, "useLegacySql": False})),
            ("GET /bigquery/v2/projects/hub/datasets/globex/tables/t/data", ""),
        )
    )
    batch = {"Content-Type": "multipart/mixed; boundary=b"}
    reply = await gate.call("acme", "POST", "/batch/bigquery/v2", f"{parts}--b--\r\n".encode(), headers=batch)
    assert (1, 2) == (reply.text.count("HTTP/1.1 404"), reply.text.count("HTTP/1.1 403"))
    assert "row of" not in reply.text


async def test_no_chunk_goes_to_anothers_project(gate: TwoCustomers) -> None:
    """A resumable upload's later requests are held to the projects of their caller, too."""
    path = "/upload/bigquery/v2/projects/globex-prod/jobs?uploadType=resumable&upload_id=u"
    assert (await gate.call("acme", "PUT", path, b"x")).status == 403


async def test_own_files_are_loaded_and_the_job_is_ones_own(gate: TwoCustomers) -> None:
    """A load in a multipart upload works, bears the label, and is not the other's to see."""
    load = {"sourceFormat": "NEWLINE_DELIMITED_JSON", "destinationTable": {"datasetId": "acme", "tableId": "t"}}
    body, headers = multipart({"configuration": {"load": load}})
    path = "/upload/bigquery/v2/projects/hub/jobs?uploadType=multipart"
    reply = await gate.call("acme", "POST", path, body, headers=headers)
    assert reply.status == 200, reply.text
    job = reply.json["jobReference"]["jobId"]
    assert (await gate.call("acme", "GET", f"projects/hub/jobs/{job}")).status == 200
    assert (await gate.call("globex", "GET", f"projects/hub/jobs/{job}")).status == 404


async def test_a_label_cannot_be_forged(gate: TwoCustomers) -> None:
    """A job with the other's label in its request is still its caller's, and only its caller's."""
    theirs = await gate.start("globex")
    seen = await gate.call("root", "GET", f"projects/hub/jobs/{theirs}")
    label = seen.json["configuration"]["labels"]["bqgate_customer"]
    forged = {
        "configuration": {"labels": {"bqgate_customer": label}, "query": {"query": "SELECT 2", "useLegacySql": False}}
    }
    reply = await gate.call("acme", "POST", "projects/hub/jobs", forged)
    job = reply.json["jobReference"]["jobId"]
    assert (await gate.call("acme", "GET", f"projects/hub/jobs/{job}")).status == 200
    assert (await gate.call("globex", "GET", f"projects/hub/jobs/{job}")).status == 404


@pytest.mark.parametrize(
    ("path", "verb", "body"),
    [
        pytest.param("datasets/own", "PATCH", {"access": []}, id="sharing a dataset"),
        pytest.param("datasets/own", "PATCH", {"description": "x", "access": None}, id="sharing it with nobody"),
        pytest.param(
            "datasets",
            "POST",
            {
                "datasetReference": {"datasetId": "link"},
                "linkedDatasetSource": {"sourceDataset": {"projectId": "globex-prod", "datasetId": "secrets"}},
            },
            id="linking another's dataset",
        ),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"tableReference": {"tableId": "x"}, "externalDataConfiguration": {"sourceUris": ["gs://globex/x"]}},
            id="an external table",
        ),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"tableReference": {"tableId": "x"}, "external_data_configuration": {"sourceUris": []}},
            id="in snake_case",
        ),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"tableReference": {"tableId": "x"}, "view": {"query": SECRET, "useLegacySql": False}},
            id="a view over another's table",
        ),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"tableReference": {"tableId": "x"}, "materializedView": {"query": SECRET}},
            id="a materialized view over it",
        ),
        pytest.param(
            "datasets/own/routines",
            "POST",
            {"routineReference": {"routineId": "f"}, "definitionBody": f"({SECRET})", "language": "SQL"},
            id="a routine over it",
        ),
        pytest.param(
            "datasets/own/routines",
            "POST",
            {"routineReference": {"routineId": "f"}, "remoteFunctionOptions": {"endpoint": "https://x"}},
            id="a remote function",
        ),
        pytest.param("datasets/own/tables/t:setIamPolicy", "POST", {"policy": {}}, id="a policy"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_made_that_shares_or_reaches_others(
    still_gate: TwoCustomers, path: str, verb: str, body: Any
) -> None:
    """Bodies that share data, or reach past the scope, are refused in one's own project, too."""
    reply = await still_gate.call("acme", verb, f"projects/acme-prod/{path}", body)
    assert (403, "accessDenied") == (reply.status, reply.reason), reply.text


async def test_one_may_not_run_jobs_in_anothers_project(gate: TwoCustomers) -> None:
    """Not even a job that reads nothing."""
    reply = await gate.query("acme", "SELECT 1", project="globex-prod")
    assert (403, "accessDenied") == (reply.status, reply.reason)
    assert reply.message.startswith("Access Denied: Project globex-prod: ")


async def test_a_typo_is_explained(gate: TwoCustomers) -> None:
    """BigQuery's message about an own query is shown, by both methods."""
    for reply in (
        await gate.query("acme", "SELECT ownr FROM hub.acme.t"),
        await gate.insert("acme", "SELECT ownr FROM `hub.acme`.t"),
        await gate.insert("acme", "SELEC 1"),
    ):
        assert reply.status in {400, 404}
        assert "bqgate" not in reply.message


async def test_attempts_are_told_to_the_audit_log(gate: TwoCustomers) -> None:
    """Who tried, on what, by which method; a job of another's as well as a table."""
    job = await gate.start("globex")
    await gate.call("acme", "GET", f"projects/hub/jobs/{job}")
    (event,) = await gate.audited("access.refused")
    assert ("acme-tool", "acme", f"job hub:{job}", "jobs.get") == (
        event.actor,
        event.customer,
        event.target,
        event.detail,
    )


async def test_what_nobody_can_see_may_be_let_through(tmp_path: Path) -> None:
    """isolation.unknown_tables: allow lets scripts run; their children are their caller's alone."""
    document = {"isolation": {"shared_projects": ["hub"], "unknown_tables": "allow"}}
    async with two_customers(tmp_path, document) as gate:
        script = await gate.start("acme", "DECLARE x INT64 DEFAULT 1; SELECT x; SELECT x + 1;")
        children = await gate.call("acme", "GET", f"projects/hub/jobs?parentJobId={script}")
        ids = [job["jobReference"]["jobId"] for job in children.json["jobs"]]
        assert len(ids) >= 2
        assert (await gate.call("acme", "GET", f"projects/hub/queries/{ids[0]}")).status == 200
        assert (await gate.call("globex", "GET", f"projects/hub/queries/{ids[0]}")).status == 404
        assert [] == (await gate.call("globex", "GET", f"projects/hub/jobs?parentJobId={script}")).json["jobs"]


async def test_customers_that_are_off_are_kept_apart_too(tmp_path: Path) -> None:
    """A customer without a budget is judged all the same, and its jobs bear its label."""
    document: dict[str, Any] = {"defaults": {"mode": "off"}}
    async with two_customers(tmp_path, document) as gate:
        assert (await gate.query("acme", SECRET)).status == 403
        job = await gate.start("acme", OWN)
        assert (await gate.call("acme", "GET", f"projects/hub/jobs/{job}")).status == 200
        assert (await gate.call("globex", "GET", f"projects/hub/jobs/{job}")).status == 404
