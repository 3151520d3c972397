"""Read BigQuery's Table resource as far as it says what a query of the table costs.

Called by the bigquery room. Reference: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table. All int64
are strings. What is missing or of another type is left out: nothing of money is decided by it.
"""

from collections.abc import Mapping
from typing import Any

from bqgate.domain.table import LOAD_TIME_COLUMN, TableFacts
from bqgate.wire.fields import count_at


def table_facts_from(table: Mapping[str, Any], *, project_id: str, dataset_id: str, table_id: str) -> TableFacts:
    """What a table is, under the name by which it was asked for."""
    return TableFacts(
        project_id=project_id,
        dataset_id=dataset_id,
        table_id=table_id,
        size_bytes=count_at(table, "numBytes") or 0,
        partition_column=_partition_column(table),
        clustering=tuple(name.lower() for name in _list(_part(table, "clustering"), "fields") if isinstance(name, str)),
        column_types=_column_types(_part(table, "schema")),
    )


def _partition_column(table: Mapping[str, Any]) -> str | None:
    """The column by which it is partitioned: of time (without a field, of the load time), or of a range of integers."""
    for kind in ("timePartitioning", "rangePartitioning"):
        if isinstance(table.get(kind), dict):
            column = table[kind].get("field")
            if isinstance(column, str) and column:
                return column.lower()
            return LOAD_TIME_COLUMN if kind == "timePartitioning" else None
    return None


def _column_types(schema: Mapping[str, Any]) -> dict[str, str]:
    return {
        column["name"].lower(): column["type"].upper()
        for column in _list(schema, "fields")
        if isinstance(column, dict) and isinstance(column.get("name"), str) and isinstance(column.get("type"), str)
    }


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    return found if isinstance(found, list) else []
