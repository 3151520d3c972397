"""Answer tables.* and tabledata.*.

Called by the server; the warehouse knows tables and rows. The anonymous table behind a SELECT can be read here too, as
clients do with `configuration.query.destinationTable`. Options that would have to change what a table is, and that the
sandbox has not got, are refused with 501. What leaves is a Reply or an ApiError.

Sources: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables and …/v2/tabledata
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bqgate.sandbox import shapes
from bqgate.sandbox.datasets import check_etag, merged_labels, paged
from bqgate.sandbox.job_json import etag_of, ms, schema_json, table_json
from bqgate.sandbox.replies import ApiError, Reply
from bqgate.sandbox.results import page_of, wish_of
from bqgate.sandbox.warehouse import Field, RowSource, TableInfo, TableRef, TimePartitioning, fields_from_rest
from bqgate.sandbox.world import Call, World

REFUSED = (
    "friendlyName",
    "materializedView",
    "externalDataConfiguration",
    "rangePartitioning",
    "encryptionConfiguration",
    "requirePartitionFilter",
    "cloneDefinition",
    "snapshotDefinition",
)
INSERT_ALL_ROWS_MAX = 50_000


def ref_of(call: Call) -> TableRef:
    return TableRef(call.project, call.params["datasetId"], call.params["tableId"])


def resource(world: World, info: TableInfo, root_url: str) -> dict[str, Any]:
    ref = info.ref
    dataset = world.warehouse.get_dataset(ref.project, ref.dataset)
    body: dict[str, Any] = {
        "kind": "bigquery#table",
        "id": f"{ref.project}:{ref.dataset}.{ref.table}",
        "selfLink": f"{root_url}/bigquery/v2/projects/{ref.project}/datasets/{ref.dataset}/tables/{ref.table}",
        "tableReference": table_json(ref),
        "schema": schema_json(info.schema),
        "type": info.type,
        "location": dataset.location,
        "numBytes": str(info.num_bytes),
        "numLongTermBytes": "0",
        "numRows": str(info.num_rows),
    }
    if info.created_at:
        body["creationTime"] = ms(info.created_at)
    if info.modified_at:
        body["lastModifiedTime"] = ms(info.modified_at)
    return {"etag": etag_of([body, info.version, info.description, info.labels]), **body, **_options(info)}


def _options(info: TableInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if info.description:
        shown["description"] = info.description
    if info.labels:
        shown["labels"] = dict(info.labels)
    if info.expires_at:
        shown["expirationTime"] = ms(info.expires_at)
    if info.view_query is not None:
        shown["view"] = {"query": info.view_query, "useLegacySql": False}
    if info.time_partitioning:
        shown["timePartitioning"] = {"type": info.time_partitioning.type, "field": info.time_partitioning.field}
    if info.clustering:
        shown["clustering"] = {"fields": list(info.clustering)}
    return shown


def partitioning_of(part: Mapping[str, Any] | None) -> TimePartitioning | None:
    """Read a TimePartitioning.

    Raises:
        ApiError: 501 for partitions by load time and for those that expire.
    """
    if not part:
        return None
    if not part.get("field") or part.get("expirationMs") or part.get("requirePartitionFilter"):
        raise ApiError(501, "notImplemented", "The sandbox supports timePartitioning by a column only, without more")
    if part.get("type", "DAY") not in {"HOUR", "DAY", "MONTH", "YEAR"}:
        raise ApiError(400, "invalid", f"Invalid value for timePartitioning.type: {part['type']}")
    return TimePartitioning(part["field"], part.get("type", "DAY"))


def moment_of(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _checked(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = shapes.checked(call.body, shapes.TABLE)
    for name in REFUSED:
        if body.get(name):
            raise ApiError(501, "notImplemented", f"The sandbox does not support {name}", location=name)
    if body.get("view", {}).get("useLegacySql", False):
        raise ApiError(501, "notImplemented", "The sandbox does not support views in legacy SQL")
    return body


async def insert(world: World, call: Call) -> Reply:
    body = _checked(call)
    table_id = body.get("tableReference", {}).get("tableId", "")
    if not table_id:
        raise ApiError(400, "required", "Required parameter is missing: tableId", location="tableId")
    ref = TableRef(call.project, call.params["datasetId"], table_id)
    info = await world.runner.in_thread(
        lambda: world.warehouse.create_table(
            ref,
            fields_from_rest(body.get("schema", {}).get("fields", [])),
            view_query=body.get("view", {}).get("query"),
            time_partitioning=partitioning_of(body.get("timePartitioning")),
            clustering=tuple(body.get("clustering", {}).get("fields", ())),
            expires_at=moment_of(body.get("expirationTime")),
            description=body.get("description", ""),
            labels=merged_labels({}, body.get("labels", {})),
        )
    )
    return Reply(body=resource(world, info, call.root_url))


async def get(world: World, call: Call) -> Reply:
    ref = ref_of(call)
    job = world.jobs.behind(ref)
    if job and job.result and ref.dataset.startswith("_"):
        body = {
            "kind": "bigquery#table",
            "id": f"{ref.project}:{ref.dataset}.{ref.table}",
            "tableReference": table_json(ref),
            "schema": schema_json(job.result.schema),
            "type": "TABLE",
            "numRows": str(len(job.result.rows)),
            "numBytes": "0",
            "location": job.location,
            "creationTime": ms(job.created_at),
            "lastModifiedTime": ms(job.created_at),
        }
        return Reply(body={"etag": etag_of(body), **body})
    return Reply(body=resource(world, world.warehouse.get_table(ref), call.root_url))


async def change(world: World, call: Call) -> Reply:
    """Answer tables.patch (labels are merged) and tables.update (what is not given is gone)."""
    current = resource(world, world.warehouse.get_table(ref_of(call)), call.root_url)
    check_etag(call, current)
    body = _checked(call)
    patch = call.method.id == "tables.patch"
    for name in ("timePartitioning", "clustering"):
        if body.get(name) and body[name] != current.get(name):
            raise ApiError(501, "notImplemented", f"The sandbox can not change the {name} of a table", location=name)
    changes: dict[str, Any] = {}
    if "labels" in body or not patch:
        changes["labels"] = merged_labels(current.get("labels", {}) if patch else {}, body.get("labels", {}))
    if _given(call, "description") or not patch:
        changes["description"] = body.get("description", "")
    if _given(call, "expirationTime") or not patch:
        changes["expires_at"] = moment_of(body.get("expirationTime"))
    if "schema" in body:
        changes["schema"] = fields_from_rest(body["schema"].get("fields", []))
    if "view" in body:
        changes["view_query"] = body["view"].get("query")
    info = await world.runner.in_thread(lambda: world.warehouse.update_table(ref_of(call), **changes))
    return Reply(body=resource(world, info, call.root_url))


def _given(call: Call, name: str) -> bool:
    # A null in the body means "take it away", so its being there counts, not its value.
    return name in call.body


async def delete(world: World, call: Call) -> Reply:
    check_etag(call, resource(world, world.warehouse.get_table(ref_of(call)), call.root_url))
    await world.runner.in_thread(world.warehouse.delete_table, ref_of(call))
    return Reply(204)


async def list_tables(world: World, call: Call) -> Reply:
    infos = world.warehouse.list_tables(call.project, call.params["datasetId"])
    names = ("kind", "id", "tableReference", "labels", "type", "timePartitioning", "clustering", "creationTime")
    resources = [resource(world, info, call.root_url) for info in infos]
    listed = [{name: each[name] for name in names if name in each} for each in resources]
    body = paged(call, "bigquery#tableList", "tables", listed)
    return Reply(body={**body, "totalItems": len(listed)})


async def list_rows(world: World, call: Call) -> Reply:
    """Answer tabledata.list: free, like a preview."""
    job = world.jobs.behind(ref_of(call))
    if job and job.result and ref_of(call).dataset.startswith("_"):
        rows: RowSource = job.result.rows
    else:
        rows = await world.runner.in_thread(world.warehouse.read_rows, ref_of(call))
    columns = _columns(rows.schema, [name for name in call.text("selectedFields").split(",") if name])
    page = await asyncio.to_thread(page_of, rows, wish_of(call), world.settings, columns)
    return Reply(body={"kind": "bigquery#tableDataList", "etag": etag_of(page["totalRows"]), **page})


def _columns(schema: tuple[Field, ...], wanted: list[str]) -> list[int] | None:
    """Return the numbers of the selected columns, in the table's order whatever the order they were asked in."""
    names = [each.name.lower() for each in schema]
    for name in wanted:
        if "." in name:
            raise ApiError(501, "notImplemented", "The sandbox does not support nested selectedFields")
        if name.lower() not in names:
            raise ApiError(400, "invalid", f"Field {name} is not in the table", location="selectedFields")
    chosen = {each.lower() for each in wanted}
    return [index for index, name in enumerate(names) if name in chosen] if wanted else None


async def insert_all(world: World, call: Call) -> Reply:
    body = shapes.checked(call.body, shapes.INSERT_ALL)
    rows = body.get("rows", [])
    if not rows or len(rows) > INSERT_ALL_ROWS_MAX:
        raise ApiError(400, "invalid", f"insertAll takes 1 to {INSERT_ALL_ROWS_MAX} rows, not {len(rows)}")
    if body.get("templateSuffix"):
        raise ApiError(501, "notImplemented", "The sandbox does not support templateSuffix")
    errors = await world.runner.in_thread(
        lambda: world.warehouse.insert_rows(
            ref_of(call),
            [row.get("json") or {} for row in rows],
            skip_invalid_rows=body.get("skipInvalidRows", False),
            ignore_unknown_values=body.get("ignoreUnknownValues", False),
        )
    )
    refused = {error.index for error in errors}
    taken = [row for index, row in enumerate(rows) if index not in refused]
    if taken:
        size = sum(len(json.dumps(row.get("json") or {}, separators=(",", ":"))) for row in taken)
        world.warehouse.note_streamed(ref_of(call), rows=len(taken), input_bytes=size)
    shown: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
    if errors:
        shown["insertErrors"] = [
            {
                "index": error.index,
                "errors": [{"reason": error.reason, "location": error.location, "message": error.message}],
            }
            for error in errors
        ]
    return Reply(body=shown)
