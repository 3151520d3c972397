"""Compare the table at BigQuery with the columns that are declared, and say what may be changed and what may not.

Used by mirror; pure. New columns that may be empty are added. Anything else is refused with a line for each difference:
to change it would lose rows, or what somebody relies on. Columns that are not declared are left alone where rows may
come without them: an operator's own, or those of a later version that runs beside this one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bqgate.exports.columns import CLUSTERED_BY, COLUMNS, PARTITIONED_BY
from bqgate.ports import TableShape

# Names that BigQuery has for one type.
_SAME = {"INT64": "INTEGER", "BOOL": "BOOLEAN", "STRUCT": "RECORD", "FLOAT64": "FLOAT", "DECIMAL": "NUMERIC"}


def added_fields(table: TableShape) -> tuple[Mapping[str, Any], ...]:
    """The table's columns with those that are declared and missing behind them; as they are where none is missing."""
    known = {_name_of(field) for field in table.fields}
    return (*table.fields, *(column.field for column in COLUMNS if column.name not in known))


def differences(table: TableShape) -> list[str]:
    """What is not as declared and cannot be added, a sentence for each."""
    there = {_name_of(field): field for field in table.fields}
    found = [line for column in COLUMNS for line in _of_column(column.field, there.get(column.name))]
    declared = {column.name for column in COLUMNS}
    found += [
        f"column {name}: REQUIRED in the table, and not declared"
        for name, field in there.items()
        if name not in declared and field.get("mode") == "REQUIRED"
    ]
    if table.partitioned_by != f"DAY {PARTITIONED_BY}":
        found.append(f"partitions: {table.partitioned_by or 'none'} in the table, DAY {PARTITIONED_BY} declared")
    if table.clustered_by[:1] != (CLUSTERED_BY,):
        found.append(f"clusters: {', '.join(table.clustered_by) or 'none'} in the table, {CLUSTERED_BY} declared")
    return found


def _of_column(declared: Mapping[str, Any], there: Mapping[str, Any] | None) -> list[str]:
    name, mode = declared["name"], declared["mode"]
    if there is None:
        return [f"column {name}: missing in the table, and REQUIRED"] if mode == "REQUIRED" else []
    found = []
    if _type_of(there) != _type_of(declared):
        found.append(f"column {name}: {_type_of(there)} in the table, {_type_of(declared)} declared")
    its_mode = there.get("mode") or "NULLABLE"
    is_relaxed = (its_mode, mode) == ("NULLABLE", "REQUIRED")
    if its_mode != mode and not is_relaxed:
        found.append(f"column {name}: {its_mode} in the table, {mode} declared")
    if "fields" in declared:
        found += _of_parts(name, declared["fields"], there.get("fields") or ())
    return found


def _of_parts(name: str, declared: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> list[str]:
    known = {_name_of(field): field for field in there}
    return [
        f"column {name}.{field['name']}: "
        f"{_type_of(known[field['name']]) if field['name'] in known else 'missing'} in the table, "
        f"{_type_of(field)} declared"
        for field in declared
        if field["name"] not in known or _type_of(known[field["name"]]) != _type_of(field)
    ]


def _name_of(field: Mapping[str, Any]) -> str:
    return str(field.get("name", "")).lower()


def _type_of(field: Mapping[str, Any]) -> str:
    kind = str(field.get("type", "")).upper()
    return _SAME.get(kind, kind)
