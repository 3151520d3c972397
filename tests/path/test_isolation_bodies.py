import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.two_customers import Reply, TwoCustomers, two_customers

LOAD = {"sourceFormat": "NEWLINE_DELIMITED_JSON", "destinationTable": {"datasetId": "acme", "tableId": "t"}}
UPLOAD = "/upload/bigquery/v2/projects/{}/jobs?uploadType="
KEY = {"kmsKeyName": "projects/globex-prod/locations/us/keyRings/r/cryptoKeys/k"}
GLOBEX = {"projectId": "globex-prod", "datasetId": "secrets", "tableId": "t"}


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[TwoCustomers]:
    async with two_customers(tmp_path) as stand:
        yield stand


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still_gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoCustomers]:
    """One gate for all that is refused before anything changes."""
    async with two_customers(tmp_path_factory.mktemp("still")) as stand:
        yield stand


def sent(gate: TwoCustomers) -> int:
    """How many calls BigQuery has got."""
    return len(gate.stack.sandbox.journal.entries())


def query_job(job_id: str, sql: str = "SELECT 1") -> dict[str, Any]:
    """A query under an id of the caller's choice."""
    return {"jobReference": {"jobId": job_id}, "configuration": {"query": {"query": sql, "useLegacySql": False}}}


async def rows(gate: TwoCustomers, who: str, job_id: str) -> list[str]:
    """The first column of a job's result, as its customer reads it by the id that it chose."""
    reply = await gate.call(who, "GET", f"projects/hub/queries/{job_id}?location=US")
    assert (200, job_id) == (reply.status, reply.json["jobReference"]["jobId"]), reply.text
    return [row["f"][0]["v"] for row in reply.json["rows"]]


async def upload(gate: TwoCustomers, who: str, job_id: str, *, dataset: str) -> Reply:
    """A load job in one multipart upload, under an id of the caller's choice."""
    load = {**LOAD, "destinationTable": {"datasetId": dataset, "tableId": "t"}}
    job = json.dumps({"jobReference": {"jobId": job_id}, "configuration": {"load": load}})
    text = f"--b\r\nContent-Type: application/json\r\n\r\n{job}\r\n--b\r\n\r\n{{}}\n\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/related; boundary=b"}
    return await gate.call(who, "POST", f"{UPLOAD.format('hub')}multipart", text.encode(), headers=headers)


@pytest.mark.parametrize(
    ("path", "verb", "body"),
    [
        pytest.param("queries", "POST", {"defaultDataset": {"datasetId": "globex-prod:secrets"}}, id="default dataset"),
        pytest.param("jobs", "POST", {"configuration": {"query": {"external_table_definitions": {}}}}, id="field"),
        pytest.param("datasets/globex-prod:secrets/tables", "GET", None, id="a project in a dataset's id"),
        pytest.param("datasets/globex-prod%3Asecrets/tables/t/data", "GET", None, id="percent-encoded"),
        pytest.param("datasets/globex-prod.secrets", "GET", None, id="with a dot"),
        pytest.param("datasets/own/tables/globex-prod.secrets.t/data", "GET", None, id="a path in a table's id"),
        pytest.param("datasets/own/tables/%60t%60", "GET", None, id="quotes"),
        pytest.param("datasets/own/routines/globex-prod.secrets.f", "GET", None, id="a path in a routine's id"),
        pytest.param("datasets/own/models/globex-prod:secrets.m", "GET", None, id="a path in a model's id"),
        pytest.param("datasets/INFORMATION_SCHEMA/tables/JOBS/data", "GET", None, id="metadata as a dataset"),
        pytest.param("datasets/region-us/tables", "GET", None, id="a region as a dataset"),
        pytest.param("jobs/globex-prod:US.j", "GET", None, id="a project in a job's id"),
        pytest.param("datasets/own/tables/t/data?datasetId=secrets", "GET", None, id="another dataset behind the path"),
        pytest.param("datasets/own/tables/t?project_id=globex-prod", "GET", None, id="another project behind it"),
        pytest.param("datasets/own/tables/t/data?DatasetID=secrets", "GET", None, id="in other letters"),
        pytest.param("datasets/own/tables/t/data?+datasetId[]=secrets", "GET", None, id="with more around it"),
        pytest.param("queries?projectId=globex-prod", "POST", {"query": "SELECT 1"}, id="behind a job's path"),
        pytest.param("datasets", "POST", {"datasetReference": {"datasetId": "globex-prod:x"}}, id="a new dataset"),
        pytest.param("datasets/own/tables", "POST", {"tableReference": {"tableId": "a.b.c"}}, id="a new table"),
        pytest.param("datasets/own/tables/t", "PATCH", {"encryptionConfiguration": KEY}, id="another's key"),
        pytest.param("datasets/own/tables/t", "PUT", {"encryption_configuration": KEY}, id="by PUT, in snake_case"),
        pytest.param("datasets/own", "PATCH", {"defaultEncryptionConfiguration": KEY}, id="a dataset's key"),
        pytest.param("datasets/own/models/m", "PATCH", {"encryptionConfiguration": KEY}, id="a model's key"),
        pytest.param("datasets/own/tables", "POST", {"cloneDefinition": {"baseTableReference": GLOBEX}}, id="a clone"),
        pytest.param(
            "datasets/own/tables", "POST", {"snapshot_definition": {"baseTableReference": GLOBEX}}, id="a snapshot"
        ),
        pytest.param("datasets/own/tables", "POST", {"biglakeConfiguration": {"connectionId": "c"}}, id="BigLake"),
        pytest.param("datasets/own/tables", "POST", {"replicas": [GLOBEX]}, id="replicas"),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"tableReplicationInfo": {"sourceTable": GLOBEX}},
            id="a replica of another's",
        ),
        pytest.param("datasets/own/tables/t", "PATCH", {"external_data_configuration": None}, id="external data"),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"tableConstraints": {"foreignKeys": [{"referencedTable": GLOBEX}]}},
            id="a foreign key to another's table",
        ),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"table_constraints": {"foreign_keys": {"referenced_table": GLOBEX}}},
            id="in snake_case, and no list",
        ),
        pytest.param(
            "datasets/own/tables",
            "POST",
            {"schema": {"fields": [{"name": "a", "generatedColumn": {"generatedExpressionInfo": {}}}]}},
            id="a generated column",
        ),
        pytest.param(
            "datasets/own/tables", "POST", {"view": {"query": "SELECT 1", "privacyPolicy": {}}}, id="unlisted in a view"
        ),
        pytest.param("datasets/own/routines", "POST", {"importedLibraries": ["gs://globex/f.js"]}, id="a library"),
        pytest.param(
            "datasets/own/routines",
            "POST",
            {
                "routineReference": {"routineId": "f"},
                "routineType": "TABLE_VALUED_FUNCTION",
                "language": "JAVASCRIPT",
                "definitionBody": "SELECT * FROM `globex-prod.secrets.t`",
            },
            id="SQL that says it is JavaScript",
        ),
        pytest.param(
            "datasets/own/tables/t/insertAll", "POST", {"rows": [], "templateSuffix": ".secrets.t"}, id="template table"
        ),
        pytest.param(
            "datasets/own/tables/globex-prod/insertAll", "POST", {"template_suffix": ":secrets.t"}, id="in snake_case"
        ),
        pytest.param("datasets/own/tables/t/insertAll", "POST", {"tableId": "globex-prod.secrets.t"}, id="unlisted"),
        pytest.param(
            "datasets/own/tables/t:getIamPolicy",
            "POST",
            {"resource": "projects/globex-prod/datasets/secrets"},
            id="iam",
        ),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_names_others_in_a_body_or_a_path_is_not_forwarded(
    still_gate: TwoCustomers, path: str, verb: str, body: Any
) -> None:
    """Refused in one's own project, and BigQuery hears nothing of it."""
    before = sent(still_gate)
    reply = await still_gate.call("acme", verb, f"projects/acme-prod/{path}", body)
    assert reply.status in {400, 403}, reply.text
    assert before == sent(still_gate)


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_a_body_that_no_method_has_goes_nowhere(gate: TwoCustomers, verb: str) -> None:
    """Nobody judges it, and nobody knows who would read it."""
    job = await gate.start("acme", project="acme-prod")
    paths = ("datasets/own/tables/t", "datasets", f"jobs/{job}/cancel", f"jobs/{job}")
    for path in paths if verb == "GET" else paths[:1]:
        called = "POST" if path.endswith("/cancel") else verb
        reply = await gate.call("acme", called, f"projects/acme-prod/{path}", GLOBEX)
        assert reply.status in {200, 204}, reply.text
        assert not gate.stack.sandbox.journal.entries()[-1].body


async def test_ones_own_resources_keep_their_fields(gate: TwoCustomers) -> None:
    """What is allowed at every depth goes on as it came: rows, schemas, own keys, and questions without a body."""
    path = "projects/acme-prod/datasets/own"
    table = {
        "tableReference": {"datasetId": "own", "tableId": "made"},
        "schema": {"fields": [{"name": "owner", "type": "STRING", "policyTags": {"names": []}}]},
        "labels": {"any": "label"},
    }
    assert (await gate.call("acme", "POST", f"{path}/tables", table)).status == 200
    assert table == gate.stack.sandbox.journal.entries()[-1].body
    key = {"encryptionConfiguration": {"kmsKeyName": "projects/acme-prod/locations/us/keyRings/r/cryptoKeys/k"}}
    await gate.call("acme", "PATCH", f"{path}/tables/made", key)
    assert key == gate.stack.sandbox.journal.entries()[-1].body
    rows = {"rows": [{"insertId": "1", "json": {"owner": "a_b", "other_name": 1.50}}], "ignoreUnknownValues": True}
    text = b'{"rows":[{"insertId":"1","json":{"owner":"a_b","other_name":1.50}}],"ignoreUnknownValues":true}'
    assert (await gate.call("acme", "POST", f"{path}/tables/made/insertAll", text)).status == 200
    assert rows == gate.stack.sandbox.journal.entries()[-1].body
    assert "own" in (await gate.call("acme", "GET", "projects/acme-prod/datasets?projectId=acme-prod")).text
    await gate.call("acme", "POST", f"{path}/tables/made:getIamPolicy")
    assert f"/{path}/tables/made:getIamPolicy" in gate.stack.sandbox.journal.entries()[-1].path


async def test_an_upload_goes_on_with_whom_it_was_begun(gate: TwoCustomers) -> None:
    """Whoever else has its upload_id, or its whole address, neither fills it nor asks for it nor ends it."""
    begun = await begin(gate, "acme")
    for who, address in (
        ("globex", begun),
        ("acme", begun.partition("&bqgate_upload")[0]),
        ("acme", begun[:-1] + ("0" if begun[-1] != "0" else "1")),
        ("acme", begun.replace("upload_id=", "upload_id=x")),
        ("acme", f"{begun}&{begun.rpartition('&')[2]}"),
        ("acme", begun.replace("/projects/hub/", "/projects/acme-prod/")),
        ("globex", begun.replace("/projects/hub/", "/projects/globex-prod/")),
    ):
        before = sent(gate)
        for verb, headers in (("PUT", {}), ("PUT", {"Content-Range": "bytes */*"}), ("DELETE", {})):
            reply = await gate.call(who, verb, address, b"{}" if not headers else b"", headers=headers)
            assert (403, "accessDenied") == (reply.status, reply.reason), (who, address)
        assert before == sent(gate)
    waiting = await gate.call("acme", "PUT", begun, b"", headers={"Content-Range": "bytes */*"})
    assert waiting.status == 308
    ended = await gate.call("acme", "PUT", begun, b"{}\n")
    assert (200, "hub") == (ended.status, ended.json["jobReference"]["projectId"])
    assert not [entry for entry in gate.stack.sandbox.journal.entries() if "bqgate_upload" in str(entry.query)]


async def begin(gate: TwoCustomers, who: str, **reference: str) -> str:
    """The path of a resumable upload that has begun."""
    document = {"jobReference": reference, "configuration": {"load": LOAD}}
    url = f"{gate.stack.url}{UPLOAD.format('hub')}resumable"
    headers = {"Authorization": f"Bearer {gate.tokens[who]}", "Content-Type": "application/json"}
    async with gate.session.post(url, json=document, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["Location"].removeprefix(gate.stack.url)


@pytest.mark.parametrize("chunk", ["upload_id=", "upload_id=%20", "Upload_Id=x", "upload_id=x&UPLOAD_ID=y"])
async def test_a_chunk_says_which_upload_it_is_for(gate: TwoCustomers, chunk: str) -> None:
    """In one way only, and not by the headers of another protocol; admins are no exception."""
    path = f"{UPLOAD.format('hub')}resumable&{chunk}"
    for who in ("acme", "root"):
        assert (await gate.call(who, "PUT", path, b"x")).status == 400
    headers = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
    begun = await begin(gate, "acme")
    assert (await gate.call("acme", "PUT", begun, b"{}", headers=headers)).status in {400, 501}


async def test_a_taken_job_id_looks_like_a_free_one(gate: TwoCustomers) -> None:
    """Whoever guesses the id of another's job gets a job of that id, as it would for any other; each has its own."""
    theirs = query_job("daily_load", "SELECT 'theirs'")
    assert (await gate.call("globex", "POST", "projects/hub/jobs", theirs)).status == 200
    tried = await gate.call("acme", "POST", "projects/hub/jobs", query_job("daily_load", "SELECT 'mine'"))
    free = await gate.call("acme", "POST", "projects/hub/jobs", query_job("monthly_load", "SELECT 'mine'"))
    assert (200, 200) == (tried.status, free.status)
    assert ("daily_load", "hub:US.daily_load") == (tried.json["jobReference"]["jobId"], tried.json["id"])
    assert "-bqgate-" not in tried.text
    assert tried.json.keys() == free.json.keys()
    assert ["mine"] == await rows(gate, "acme", "daily_load")
    assert ["theirs"] == await rows(gate, "globex", "daily_load")
    for suffix in ("", "?location=US"):
        mine = await gate.call("acme", "GET", f"projects/hub/jobs/daily_load{suffix}")
        assert "SELECT 'mine'" == mine.json["configuration"]["query"]["query"]
    listed = (await gate.call("acme", "GET", "projects/hub/jobs")).json["jobs"]
    assert {"daily_load", "monthly_load"} == {job["jobReference"]["jobId"] for job in listed}
    assert "-bqgate-" not in json.dumps(listed)
    assert (await gate.call("acme", "POST", "projects/hub/jobs/daily_load/cancel")).status == 200
    assert (await gate.call("acme", "DELETE", "projects/hub/jobs/daily_load/delete")).status in {200, 204}
    assert (await gate.call("acme", "GET", "projects/hub/jobs/daily_load")).status == 404
    assert ["theirs"] == await rows(gate, "globex", "daily_load")
    (event, *_) = await gate.audited("access.refused")
    assert ("acme", "job hub:daily_load") == (event.customer, event.target)


@pytest.mark.parametrize("is_taken", [False, True])
async def test_a_repeat_of_ones_own_job_is_told_so(gate: TwoCustomers, is_taken: bool) -> None:
    """Clients send a job anew when its answer was lost, and go on from "Already Exists" to the job; it ran once."""
    if is_taken:
        assert (await gate.call("globex", "POST", "projects/hub/jobs", query_job("mine"))).status == 200
    first = await gate.call("acme", "POST", "projects/hub/jobs", query_job("mine", "SELECT 'one'"))
    again = await gate.call("acme", "POST", "projects/hub/jobs", query_job("mine", "SELECT 'two'"))
    assert (200, 409, "duplicate") == (first.status, again.status, again.reason)
    assert again.message == "Already Exists: Job hub:US.mine"
    assert ["one"] == await rows(gate, "acme", "mine")
    listed = (await gate.call("acme", "GET", "projects/hub/jobs")).json["jobs"]
    assert ["mine"] == [job["jobReference"]["jobId"] for job in listed]


async def test_uploads_choose_their_ids_as_freely(gate: TwoCustomers) -> None:
    """In one piece and in several; a repeat is told of, and the job is found by the id that was chosen."""
    for who in ("globex", "acme"):
        reply = await upload(gate, who, "nightly", dataset=who)
        assert (200, "nightly") == (reply.status, reply.json["jobReference"]["jobId"]), reply.text
        assert "-bqgate-" not in reply.text
        again = await upload(gate, who, "nightly", dataset=who)
        assert (409, "Already Exists: Job hub:US.nightly") == (again.status, again.message)
        job = await gate.call(who, "GET", "projects/hub/jobs/nightly?location=US")
        assert who == job.json["configuration"]["load"]["destinationTable"]["datasetId"]
    begun = await begin(gate, "acme", jobId="hourly")
    ended = await gate.call("acme", "PUT", begun, b"{}\n")
    assert (200, "hourly") == (ended.status, ended.json["jobReference"]["jobId"])
    assert "-bqgate-" not in ended.text
    assert (await gate.call("acme", "GET", "projects/hub/jobs/hourly?location=US")).status == 200
    assert (await gate.call("globex", "GET", "projects/hub/jobs/hourly?location=US")).status == 404


async def test_an_id_too_long_for_an_own_one_is_refused_taken_or_free(gate: TwoCustomers) -> None:
    """In a project of several customers; where one is alone, ids are as long as BigQuery takes them."""
    taken, free = "t" * 1024, "f" * 1024
    assert (await gate.call("root", "POST", "projects/hub/jobs", query_job(taken))).status == 200
    told = [await gate.call("acme", "POST", "projects/hub/jobs", query_job(job)) for job in (taken, free)]
    assert [400, 400] == [reply.status for reply in told]
    assert told[0].text.replace("t" * 64, "f" * 64) == told[1].text
    assert (await gate.call("acme", "POST", "projects/hub/jobs", query_job("f" * 996))).status == 200
    assert (await gate.call("acme", "POST", "projects/acme-prod/jobs", query_job(taken))).status == 200


async def test_where_one_is_alone_ids_are_what_they_are(gate: TwoCustomers) -> None:
    """In a customer's own project BigQuery's answer stands, whoever's job it is."""
    assert (await gate.call("root", "POST", "projects/acme-prod/jobs", query_job("j"))).status == 200
    assert (await gate.call("acme", "POST", "projects/acme-prod/jobs", query_job("j"))).status == 409


async def test_no_name_in_a_shared_project_is_found_by_making_it_anew(gate: TwoCustomers) -> None:
    """Datasets and tables of others are refused alike, whether they are there or not."""
    answers = {
        (reply.status, reply.text.replace(name, "x"))
        for name in ("globex", "nobody")
        for reply in [
            await gate.call("acme", "POST", "projects/hub/datasets", {"datasetReference": {"datasetId": name}}),
        ]
    }
    assert 1 == len(answers)
    tables = {
        (reply.status, reply.text)
        for name in ("t", "nothing")
        for reply in [
            await gate.call(
                "acme", "POST", "projects/hub/datasets/globex/tables", {"tableReference": {"tableId": name}}
            )
        ]
    }
    assert [403] == [status for status, _ in tables]
