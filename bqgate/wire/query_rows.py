"""Write a query of the gate's own as a jobs.insert, and read the rows that it brought from BigQuery's f/v form.

Called by the bigquery room; pure. A row comes as {"f": [{"v": …}, …]} in the order of the schema's fields
(https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults). What is none of that form is a
ValueError: a row that is read wrong would be booked wrong.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bqgate.domain.job import JobRef
from bqgate.wire.job_labels import HOLD_LABEL, OWN_LABEL

# Of the job ids of the gate's own queries; the id of the hold that stands for the query follows.
OWN_JOB_ID_PREFIX = "bqgate_own_"


def own_query_body(
    sql: str,
    job: JobRef,
    parameters: Mapping[str, int | str | datetime],
    *,
    maximum_bytes_billed: int,
    timeout_ms: int,
) -> dict[str, Any]:
    """The Job to insert. Its labels say that it is the gate's own, and for which hold it runs."""
    query: dict[str, Any] = {
        "query": sql,
        "useLegacySql": False,
        "useQueryCache": False,
        "maximumBytesBilled": str(maximum_bytes_billed),
    }
    if parameters:
        query["parameterMode"] = "NAMED"
        query["queryParameters"] = [_parameter(name, value) for name, value in parameters.items()]
    return {
        "jobReference": {"projectId": job.project_id, "jobId": job.job_id, "location": job.location},
        "configuration": {
            "query": query,
            "jobTimeoutMs": str(timeout_ms),
            "labels": {OWN_LABEL: "true", HOLD_LABEL: job.job_id.removeprefix(OWN_JOB_ID_PREFIX)},
        },
    }


def rows_in(page: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The rows of a page of getQueryResults, by the names of their columns.

    Raises:
        ValueError: they do not fit the schema that stands beside them.
    """
    rows = page.get("rows") or []
    fields = _fields_of(page.get("schema") or {}) if rows else []
    if not isinstance(rows, list):
        raise _misfit("rows are no list")
    return tuple(_record(row, fields) for row in rows)


def _parameter(name: str, value: int | str | datetime) -> dict[str, Any]:
    match value:
        case datetime():
            kind, text = "TIMESTAMP", value.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")
        case int():
            kind, text = "INT64", str(value)
        case str():
            kind, text = "STRING", value
    return {"name": name, "parameterType": {"type": kind}, "parameterValue": {"value": text}}


def _fields_of(holder: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    fields = holder.get("fields")
    if not isinstance(fields, list) or not all(isinstance(each, dict) and "name" in each for each in fields):
        raise _misfit("a schema has no list of fields")
    return fields


def _record(row: Any, fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    cells = row.get("f") if isinstance(row, dict) else None
    if not isinstance(cells, list) or len(cells) != len(fields):
        raise _misfit("a row has other fields than its schema")
    return {str(field["name"]): _value(cell, field) for cell, field in zip(cells, fields, strict=True)}


def _value(cell: Any, field: Mapping[str, Any]) -> Any:
    if not isinstance(cell, dict) or "v" not in cell:
        raise _misfit("a cell has no value")
    value = cell["v"]
    if field.get("mode") == "REPEATED":
        if value is None:
            return ()
        if not isinstance(value, list):
            raise _misfit("a repeated field is no list")
        return tuple(_value(each, {**field, "mode": "NULLABLE"}) for each in value)
    if value is None:
        return None
    if field.get("type") in {"RECORD", "STRUCT"}:
        return _record(value, _fields_of(field))
    if not isinstance(value, str):
        raise _misfit("a value is no text")
    return value


def _misfit(why: str) -> ValueError:
    return ValueError(why)
