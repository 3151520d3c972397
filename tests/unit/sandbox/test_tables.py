from __future__ import annotations

from typing import Any

import pytest

TABLE = {
    "tableReference": {"tableId": "t"},
    "schema": {"fields": [{"name": "x", "type": "INTEGER", "mode": "REQUIRED"}, {"name": "at", "type": "TIMESTAMP"}]},
}


@pytest.fixture
async def tables(api: Any) -> Any:
    """Calls to a sandbox with a dataset d and a table t."""
    await api("POST", "datasets", {"datasetReference": {"datasetId": "d"}})
    assert (await api("POST", "datasets/d/tables", TABLE)).status == 200
    return api


async def test_example_table_shows_its_size(api: Any) -> None:
    """The example data are tables with rows, bytes and a schema."""
    table = (await api("GET", "datasets/nycflights13/tables/flights")).body
    assert table["numRows"] == "336776"
    assert int(table["numBytes"]) > 10**7
    assert table["type"] == "TABLE"
    assert "carrier" in {field["name"] for field in table["schema"]["fields"]}


async def test_example_data_can_not_be_written(api: Any) -> None:
    """The shared data is read-only."""
    answer = await api("DELETE", "datasets/nycflights13/tables/flights")
    assert (answer.status, answer.reason) == (403, "accessDenied")


async def test_streamed_rows_are_listed(tables: Any) -> None:
    """insertAll, then tabledata.list in pages, with timestamps in both forms."""
    rows = [{"json": {"x": n, "at": "2026-01-02T03:04:05Z"}} for n in range(3)]
    assert (await tables("POST", "datasets/d/tables/t/insertAll", {"rows": rows})).status == 200
    first = (await tables("GET", "datasets/d/tables/t/data?maxResults=2")).body
    assert (first["totalRows"], len(first["rows"])) == ("3", 2)
    assert float(first["rows"][0]["f"][1]["v"]) == 1767323045.0
    rest = await tables(
        "GET", f"datasets/d/tables/t/data?pageToken={first['pageToken']}&formatOptions.useInt64Timestamp=true"
    )
    assert rest.body["rows"] == [{"f": [{"v": "2"}, {"v": "1767323045000000"}]}]
    assert "pageToken" not in rest.body
    jump = (await tables("GET", "datasets/d/tables/t/data?startIndex=2&selectedFields=x")).body
    assert jump["rows"] == [{"f": [{"v": "2"}]}]


async def test_bad_rows_are_named(tables: Any) -> None:
    """A row that does not fit comes back in insertErrors."""
    body = {"rows": [{"json": {"x": 1}}, {"json": {"x": "one"}}], "skipInvalidRows": True}
    errors = (await tables("POST", "datasets/d/tables/t/insertAll", body)).body["insertErrors"]
    assert [error["index"] for error in errors] == [1]
    assert errors[0]["errors"][0]["reason"] == "invalid"


async def test_patch_and_update_differ(tables: Any) -> None:
    """Patch merges, update replaces; null takes a label away."""
    path = "datasets/d/tables/t"
    await tables("PATCH", path, {"labels": {"a": "1", "b": "2"}, "description": "first"})
    patched = (await tables("PATCH", path, {"labels": {"a": None, "c": "3"}})).body
    assert (patched["labels"], patched["description"]) == ({"b": "2", "c": "3"}, "first")
    assert "description" not in (await tables("PATCH", path, {"description": None})).body
    updated = (await tables("PUT", path, {"description": "new"})).body
    assert (updated.get("labels"), updated["description"]) == (None, "new")


async def test_changed_etag_is_412(tables: Any) -> None:
    """If-Match with an old etag is refused, for changes and for deleting."""
    path = "datasets/d/tables/t"
    old = (await tables("GET", path)).body["etag"]
    await tables("PATCH", path, {"description": "x"}, headers={"If-Match": old})
    for verb, body in (("PATCH", {"description": "y"}), ("DELETE", None)):
        answer = await tables(verb, path, body, headers={"If-Match": old})
        assert (answer.status, answer.reason) == (412, "conditionNotMet")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({**TABLE, "schema": {"fields": "x"}}, 400),
        ({**TABLE, "externalDataConfiguration": {"sourceUris": ["gs://b/o"]}}, 501),
        ({**TABLE, "materializedView": {"query": "SELECT 1"}}, 501),
        ({**TABLE, "timePartitioning": {"type": "DAY"}}, 501),
        ({**TABLE, "view": {"query": "SELECT 1", "useLegacySql": True}}, 501),
        (TABLE, 409),
    ],
)
async def test_tables_that_can_not_be_made(tables: Any, body: Any, status: int) -> None:
    """Bad, unsupported and duplicate tables are refused."""
    assert (await tables("POST", "datasets/d/tables", body)).status == status


async def test_partitioning_and_clustering_are_shown(tables: Any) -> None:
    """What a table was made with is in its resource and in lists."""
    body = {
        **TABLE,
        "tableReference": {"tableId": "u"},
        "timePartitioning": {"type": "DAY", "field": "at"},
        "clustering": {"fields": ["x"]},
        "expirationTime": "4102444800000",
    }
    await tables("POST", "datasets/d/tables", body)
    shown = (await tables("GET", "datasets/d/tables/u")).body
    assert shown["timePartitioning"] == {"type": "DAY", "field": "at"}
    assert shown["clustering"] == {"fields": ["x"]}
    assert shown["expirationTime"] == "4102444800000"
    listed = (await tables("GET", "datasets/d/tables?maxResults=1")).body
    assert (listed["totalItems"], len(listed["tables"]), "nextPageToken" in listed) == (2, 1, True)


async def test_dataset_with_tables_needs_delete_contents(tables: Any) -> None:
    """A full dataset is in use until its contents may go as well."""
    assert (await tables("DELETE", "datasets/d")).reason == "resourceInUse"
    assert (await tables("DELETE", "datasets/d?deleteContents=true")).status == 204
    assert (await tables("GET", "datasets/d")).reason == "notFound"


async def test_datasets_refuse_what_would_have_no_effect(api: Any) -> None:
    """A default expiration would have to delete tables; the sandbox says no."""
    body = {"datasetReference": {"datasetId": "e"}, "defaultTableExpirationMs": "3600000"}
    assert (await api("POST", "datasets", body)).status == 501
    assert (await api("POST", "datasets", {})).status == 400
    made = await api("POST", "datasets", {"datasetReference": {"datasetId": "e"}, "location": "eu"})
    assert made.body["location"] == "EU"
    assert (await api("POST", "datasets", {"datasetReference": {"datasetId": "e"}})).reason == "duplicate"


async def test_projects_are_those_that_were_called(api: Any) -> None:
    """projects.list names the projects seen; each has a service account."""
    await api("GET", "jobs")
    body = (await api("GET", "/bigquery/v2/projects")).body
    assert [project["id"] for project in body["projects"]] == ["p"]
    assert "p" in (await api("GET", "serviceAccount")).body["email"]
