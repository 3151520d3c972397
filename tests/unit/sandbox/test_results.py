from __future__ import annotations

from typing import Any

import pytest

from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.results import PageWish, offset_of, token_of

ALL = "SELECT flight FROM nycflights13.flights LIMIT 10"


async def test_pages_follow_one_another(api: Any, flights: str) -> None:
    """Page tokens lead through all rows once; totalRows and the schema are on every page."""
    await api.insert(flights, "a")
    carriers: list[str] = []
    token = ""
    while True:
        page = (await api("GET", f"queries/a?maxResults=7&pageToken={token}")).body
        carriers += [row["f"][0]["v"] for row in page["rows"]]
        assert page["totalRows"] == "16"
        assert page["schema"]["fields"][0]["name"] == "carrier"
        token = page.get("pageToken", "")
        if not token:
            break
    assert len(carriers) == 16
    assert carriers == sorted(carriers)


async def test_start_index_and_zero_rows(api: Any, flights: str) -> None:
    """StartIndex jumps, maxResults=0 gives no rows, and past the end there are none."""
    await api.insert(flights, "a")
    assert len((await api("GET", "queries/a?startIndex=14")).body["rows"]) == 2
    none = (await api("GET", "queries/a?maxResults=0")).body
    assert "rows" not in none
    assert none["totalRows"] == "16"
    assert "rows" not in (await api("GET", "queries/a?startIndex=100")).body


async def test_answer_has_no_billed_bytes(api: Any, flights: str) -> None:
    """GetQueryResults says what was processed, not what was billed: jobs.get does."""
    await api.insert(flights, "a")
    body = (await api("GET", "queries/a")).body
    assert int(body["totalBytesProcessed"]) > 0
    assert "totalBytesBilled" not in body
    assert "totalSlotMs" not in body


async def test_dml_and_ddl_have_no_rows(api: Any) -> None:
    """DDL answers no rows and no total; DML the rows that it touched."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    ddl = (await api.query("CREATE TABLE d.t (x INT64)")).body
    assert not {"rows", "totalRows"} & set(ddl)
    dml = (await api.query("INSERT INTO d.t (x) VALUES (1), (2)")).body
    assert dml["numDmlAffectedRows"] == "2"
    assert dml["dmlStats"]["insertedRowCount"] == "2"
    job = (await api("GET", f"jobs/{ddl['jobReference']['jobId']}")).body["statistics"]["query"]
    assert job["ddlOperationPerformed"] == "CREATE"
    assert job["ddlTargetTable"] == {"projectId": "p", "datasetId": "d", "tableId": "t"}


async def test_load_jobs_have_no_rows(api: Any) -> None:
    """GetQueryResults of a copy job is a 400."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    copy = {
        "sourceTable": {"projectId": "p", "datasetId": "nycflights13", "tableId": "airlines"},
        "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "copied"},
    }
    job = await api("POST", "jobs", {"configuration": {"copy": copy}, "jobReference": {"jobId": "c"}})
    assert job.body["statistics"]["copy"]["copiedRows"] == "16"
    assert (await api("GET", "queries/c")).status == 400


@pytest.mark.parametrize("query", ["maxResults=many", "startIndex=-1", "timeoutMs=1e3", "pageToken=junk"])
async def test_bad_paging_is_refused(api: Any, query: str) -> None:
    """A parameter that is no whole number is a 400 that names it."""
    await api.insert(ALL, "a")
    answer = await api("GET", f"queries/a?{query}")
    assert answer.status == 400
    assert answer.body["error"]["errors"][0]["location"] == query.split("=", maxsplit=1)[0]


def test_tokens_come_back_as_offsets() -> None:
    """A token is its offset; anything else is refused."""
    assert offset_of(token_of(12)) == 12
    for token in ("", "é", "cm93czo=", "cm93czotMQ=="):
        with pytest.raises(ApiError):
            offset_of(token)


def test_iso_timestamps_are_refused() -> None:
    """What the sandbox can not write it does not write in another way."""
    assert PageWish(output_format="INT64").int64
    assert not PageWish(output_format="FLOAT64").int64
    with pytest.raises(ApiError, match="ISO8601"):
        _ = PageWish(output_format="ISO8601_STRING").int64
