"""Check the JSON of requests against the shapes that the sandbox understands.

Handlers pass a body through `checked` before they look at it. Keys that are not in the shape are dropped, as Google's
server silently ignores them; a value of the wrong type is a 400 `invalid` that names the field. Names in snake_case
mean their camelCase twins, as in every JSON mapping of protocol buffers (not verified for BigQuery's front end; the
sandbox takes them so that a gate which overlooks them is found out).

A shape is a type word or a dict of shapes; a list with one shape in it means an array, `{"*": shape}` a map, a tuple
an enum's names by their numbers. Words: str, text (str, or a number as it was written), bool, int64, int32 and uint32
(number or string in, int out), json (anything).
Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from bqgate.sandbox.replies import ApiError

Shape = Any

BOUNDS = {"int64": (-(2**63), 2**63 - 1), "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1)}
DIGITS_MAX = 20
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


def wrong(path: str, wanted: str, value: Any) -> ApiError:
    return ApiError(400, "invalid", f"Invalid value at '{path}' ({wanted}), {value!r:.200}", location=path)


def checked(value: Any, shape: Shape, path: str = "") -> Any:
    """Return the value with known keys of right types only.

    Raises:
        ApiError: 400 `invalid`, naming the field.
    """
    if isinstance(shape, dict):
        return _checked_object(value, shape, path)
    if isinstance(shape, tuple):
        return _checked_enum(value, shape, path)
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
        case "text":
            return _text(value, path)
        case "bool":
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value in {"true", "false"}:
                return value == "true"
            raise wrong(path, "TYPE_BOOL", value)
        case _:
            least, most = BOUNDS[word]
            number = _whole(value)
            if number is None or not least <= number <= most:
                raise wrong(path, f"TYPE_{word.upper()}", value)
            return number


def _checked_enum(value: Any, names: tuple[str, ...], path: str) -> str:
    number = _whole(value)
    if number is None and isinstance(value, str):
        return value
    if number is None or not 0 <= number < len(names):
        raise wrong(path, "TYPE_ENUM", value)
    return names[number]


def _text(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise wrong(path, "TYPE_STRING", value)
    return str(value)


def _whole(value: Any) -> int | None:
    """Read a whole number; None: it is none, or one with more digits than an int64 has."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, int):
        return value
    text = str(value)
    if not NUMBER.fullmatch(text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number:
        return 0
    if not 0 <= number.adjusted() < DIGITS_MAX:
        return None
    return int(number) if number == int(number) else None


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


TABLE_REFERENCE: Shape = {"projectId": "str", "datasetId": "str", "tableId": "str"}
DATASET_REFERENCE: Shape = {"projectId": "str", "datasetId": "str"}
PARTITIONING: Shape = {"type": "str", "field": "str", "expirationMs": "int64", "requirePartitionFilter": "bool"}
CLUSTERING: Shape = {"fields": ["str"]}
FIELD: Shape = {"name": "str", "type": "str", "mode": "str", "description": "str"}
FIELD["rangeElementType"] = {"type": "str"}
FIELD["fields"] = [FIELD]
SCHEMA: Shape = {"fields": [FIELD]}

PARAMETER_VALUE: Shape = {"value": "text"}
PARAMETER_VALUE |= {
    "arrayValues": [PARAMETER_VALUE],
    "structValues": {"*": PARAMETER_VALUE},
    "rangeValue": {"start": PARAMETER_VALUE, "end": PARAMETER_VALUE},
}

# What jobs.query and the query part of jobs.insert have in common.
QUERY_CHOICES: Shape = {
    "query": "str",
    "useLegacySql": "bool",
    "useQueryCache": "bool",
    "maximumBytesBilled": "int64",
    "defaultDataset": DATASET_REFERENCE,
    "parameterMode": "str",
    "queryParameters": [{"name": "str", "parameterType": "json", "parameterValue": PARAMETER_VALUE}],
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
    "maxSlots": "int32",
}
QUERY_REQUEST: Shape = {
    **QUERY_CHOICES,
    **JOB_CHOICES,
    "dryRun": "bool",
    "location": "str",
    "maxResults": "uint32",
    "timeoutMs": "uint32",
    "requestId": "str",
    "jobCreationMode": ("JOB_CREATION_MODE_UNSPECIFIED", "JOB_CREATION_REQUIRED", "JOB_CREATION_OPTIONAL"),
    "preserveNulls": "bool",
    "formatOptions": {
        "useInt64Timestamp": "bool",
        "timestampOutputFormat": ("TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED", "FLOAT64", "INT64", "ISO8601_STRING"),
    },
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
            "maximumBillingTier": "int32",
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
