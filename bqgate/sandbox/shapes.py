"""Check the JSON of requests against the shapes that the sandbox understands.

Handlers pass a body through `checked` before they look at it. Keys that are not in the shape are dropped, as Google's
server silently ignores them; a value of the wrong type is a 400 `invalid` that names the field. Names in snake_case
mean their camelCase twins, as in every JSON mapping of protocol buffers (not verified for BigQuery's front end; the
sandbox takes them so that a gate which overlooks them is found out).

A shape is a type word or a dict of shapes; a list with one shape in it means an array, `{"*": shape}` a map.
Words: str, bool, int64 (number or string in, int out), uint, json (anything).
Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import re
from typing import Any

from bqgate.sandbox.replies import ApiError

Shape = Any

INT64_BOUND = 2**63


def wrong(path: str, wanted: str, value: Any) -> ApiError:
    return ApiError(400, "invalid", f"Invalid value at '{path}' ({wanted}), {value!r:.200}", location=path)


def checked(value: Any, shape: Shape, path: str = "") -> Any:
    """Return the value with known keys of right types only.

    Raises:
        ApiError: 400 `invalid`, naming the field.
    """
    if isinstance(shape, dict):
        return _checked_object(value, shape, path)
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise wrong(path, "array", value)
        return [checked(each, shape[0], f"{path}[{index}]") for index, each in enumerate(value)]
    return _checked_scalar(value, shape, path)


def _checked_object(value: Any, shape: dict[str, Shape], path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path or "body", "object", value)
    kept = {}
    for key, each in value.items():
        name = key if key in shape or "*" in shape else camel(key)
        below = shape.get(name, shape.get("*"))
        if below is not None and (each is not None or below == "json"):
            kept[name] = checked(each, below, f"{path}.{name}".removeprefix("."))
    return kept


def _checked_scalar(value: Any, word: str, path: str) -> Any:
    match word:
        case "json":
            return value
        case "str":
            if not isinstance(value, str):
                raise wrong(path, "TYPE_STRING", value)
            return value
        case "bool":
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value in {"true", "false"}:
                return value == "true"
            raise wrong(path, "TYPE_BOOL", value)
        case "uint":
            number = _int64(value, path)
            if number < 0:
                raise wrong(path, "TYPE_UINT32", value)
            return number
        case _:
            return _int64(value, path)


def _int64(value: Any, path: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64_BOUND <= value < INT64_BOUND:
        raise wrong(path, "TYPE_INT64", value)
    return value


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


TABLE_REFERENCE: Shape = {"projectId": "str", "datasetId": "str", "tableId": "str"}
DATASET_REFERENCE: Shape = {"projectId": "str", "datasetId": "str"}
PARTITIONING: Shape = {"type": "str", "field": "str", "expirationMs": "int64", "requirePartitionFilter": "bool"}
CLUSTERING: Shape = {"fields": ["str"]}
FIELD: Shape = {"name": "str", "type": "str", "mode": "str", "description": "str"}
FIELD["fields"] = [FIELD]
SCHEMA: Shape = {"fields": [FIELD]}

# What jobs.query and the query part of jobs.insert have in common.
QUERY_CHOICES: Shape = {
    "query": "str",
    "useLegacySql": "bool",
    "useQueryCache": "bool",
    "maximumBytesBilled": "int64",
    "defaultDataset": DATASET_REFERENCE,
    "parameterMode": "str",
    "queryParameters": ["json"],
    "createSession": "bool",
    "connectionProperties": [{"key": "str", "value": "str"}],
    "continuous": "bool",
    "destinationEncryptionConfiguration": "json",
    "writeIncrementalResults": "bool",
}
JOB_CHOICES: Shape = {
    "labels": {"*": "str"},
    "jobTimeoutMs": "int64",
    "reservation": "str",
    "maxSlots": "int64",
}
QUERY_REQUEST: Shape = {
    **QUERY_CHOICES,
    **JOB_CHOICES,
    "dryRun": "bool",
    "location": "str",
    "maxResults": "uint",
    "timeoutMs": "uint",
    "requestId": "str",
    "jobCreationMode": "str",
    "preserveNulls": "bool",
    "formatOptions": {"useInt64Timestamp": "bool", "timestampOutputFormat": "str"},
    "queryResultsFormat": "str",
}
JOB: Shape = {
    "jobReference": {"projectId": "str", "jobId": "str", "location": "str"},
    "configuration": {
        **JOB_CHOICES,
        "dryRun": "bool",
        "jobType": "str",
        "query": {
            **QUERY_CHOICES,
            "priority": "str",
            "destinationTable": TABLE_REFERENCE,
            "createDisposition": "str",
            "writeDisposition": "str",
            "allowLargeResults": "bool",
            "flattenResults": "bool",
            "maximumBillingTier": "int64",
            "tableDefinitions": "json",
            "userDefinedFunctionResources": ["json"],
            "schemaUpdateOptions": ["str"],
            "timePartitioning": PARTITIONING,
            "rangePartitioning": "json",
            "clustering": CLUSTERING,
            "scriptOptions": {
                "statementTimeoutMs": "int64",
                "statementByteBudget": "int64",
                "keyResultStatement": "str",
            },
        },
        "load": {
            "sourceUris": ["str"],
            "destinationTable": TABLE_REFERENCE,
            "schema": SCHEMA,
            "sourceFormat": "str",
            "createDisposition": "str",
            "writeDisposition": "str",
            "autodetect": "bool",
            "fieldDelimiter": "str",
            "quote": "str",
            "nullMarker": "str",
            "encoding": "str",
            "skipLeadingRows": "int64",
            "maxBadRecords": "int64",
            "allowJaggedRows": "bool",
            "allowQuotedNewlines": "bool",
            "ignoreUnknownValues": "bool",
            "timePartitioning": PARTITIONING,
            "clustering": CLUSTERING,
            "schemaUpdateOptions": ["str"],
            "rangePartitioning": "json",
            "hivePartitioningOptions": "json",
            "parquetOptions": "json",
        },
        "copy": {
            "sourceTable": TABLE_REFERENCE,
            "sourceTables": [TABLE_REFERENCE],
            "destinationTable": TABLE_REFERENCE,
            "createDisposition": "str",
            "writeDisposition": "str",
            "operationType": "str",
        },
        "extract": "json",
    },
}
DATASET: Shape = {
    "datasetReference": DATASET_REFERENCE,
    "friendlyName": "str",
    "description": "str",
    "labels": {"*": "json"},
    "location": "str",
    "access": ["json"],
    "defaultTableExpirationMs": "int64",
    "defaultPartitionExpirationMs": "int64",
    "defaultCollation": "str",
    "isCaseInsensitive": "bool",
}
TABLE: Shape = {
    "tableReference": TABLE_REFERENCE,
    "friendlyName": "str",
    "description": "str",
    "labels": {"*": "json"},
    "schema": SCHEMA,
    "expirationTime": "int64",
    "timePartitioning": PARTITIONING,
    "clustering": CLUSTERING,
    "view": {"query": "str", "useLegacySql": "bool"},
    "materializedView": "json",
    "externalDataConfiguration": "json",
    "rangePartitioning": "json",
    "encryptionConfiguration": "json",
    "requirePartitionFilter": "bool",
    "cloneDefinition": "json",
    "snapshotDefinition": "json",
}
INSERT_ALL: Shape = {
    "rows": [{"insertId": "str", "json": "json"}],
    "skipInvalidRows": "bool",
    "ignoreUnknownValues": "bool",
    "templateSuffix": "str",
}
