"""Answer INFORMATION_SCHEMA: SCHEMATA, TABLES, VIEWS, COLUMNS of datasets, JOBS and timelines of the project.

Sessions register the rows with their cursor under a name of their own, so a query over them runs like any other. JOBS,
JOBS_BY_PROJECT and JOBS_BY_USER take their rows from a provider that the HTTP half registers; a key of a row that is
not in JOBS_FIELDS is ignored, a missing one is NULL. Timelines of storage and streaming are usage_timelines.py's.

Columns: https://cloud.google.com/bigquery/docs/information-schema-intro. Every look is billed 10 MiB and is never
cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from bqgate.sandbox.warehouse.arrow_types import arrow_table
from bqgate.sandbox.warehouse.catalog import Catalog
from bqgate.sandbox.warehouse.datatypes import standard_type
from bqgate.sandbox.warehouse.errors import NotSupported
from bqgate.sandbox.warehouse.tables import Field, TableInfo, TableRef
from bqgate.sandbox.warehouse.usage_timelines import TIMELINE_FIELDS, UsageTimelines

JobRows = Callable[[], Iterable[Mapping[str, Any]]]


def _strings(names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "STRING") for name in names.split())


JOBS_FIELDS = (
    Field("creation_time", "TIMESTAMP"),
    *_strings("project_id user_email principal_subject job_id job_type statement_type priority"),
    Field("start_time", "TIMESTAMP"),
    Field("end_time", "TIMESTAMP"),
    *_strings("query state reservation_id edition parent_job_id location query_dialect"),
    Field("total_bytes_processed", "INTEGER"),
    Field("total_bytes_billed", "INTEGER"),
    Field("total_slot_ms", "INTEGER"),
    Field("total_services_sku_slot_ms", "INTEGER"),
    Field("cache_hit", "BOOLEAN"),
    Field("error_result", "RECORD", fields=_strings("reason location debug_info message")),
    Field("destination_table", "RECORD", fields=_strings("project_id dataset_id table_id")),
    Field("referenced_tables", "RECORD", "REPEATED", _strings("project_id dataset_id table_id")),
    Field("labels", "RECORD", "REPEATED", _strings("key value")),
    Field("job_creation_reason", "RECORD", fields=_strings("code")),
)
_FIELDS: dict[str, tuple[Field, ...]] = {
    "SCHEMATA": (
        *_strings("catalog_name schema_name schema_owner"),
        Field("creation_time", "TIMESTAMP"),
        Field("last_modified_time", "TIMESTAMP"),
        *_strings("location"),
    ),
    "TABLES": (
        *_strings("table_catalog table_schema table_name table_type is_insertable_into"),
        Field("creation_time", "TIMESTAMP"),
        *_strings("ddl"),
    ),
    "VIEWS": _strings("table_catalog table_schema table_name view_definition use_standard_sql"),
    "COLUMNS": (
        *_strings("table_catalog table_schema table_name column_name"),
        Field("ordinal_position", "INTEGER"),
        *_strings("is_nullable data_type is_partitioning_column"),
        Field("clustering_ordinal_position", "INTEGER"),
    ),
    "JOBS": JOBS_FIELDS,
    "JOBS_BY_PROJECT": JOBS_FIELDS,
    "JOBS_BY_USER": JOBS_FIELDS,
    **TIMELINE_FIELDS,
}


class InformationSchema:
    """The views of one catalog."""

    def __init__(self, catalog: Catalog, timelines: UsageTimelines) -> None:
        self._catalog = catalog
        self._timelines = timelines
        self._jobs: JobRows = tuple

    def register_jobs(self, provider: JobRows) -> None:
        self._jobs = provider

    def describe(self, ref: TableRef) -> tuple[Field, ...]:
        """Return the columns of a view, or refuse one that the sandbox has not."""
        name = _view(ref)
        if name not in _FIELDS:
            raise NotSupported(f"INFORMATION_SCHEMA.{name}.")
        return _FIELDS[name]

    def rows(self, ref: TableRef, user_email: str) -> pa.Table:
        """Return the rows of a view as they are now."""
        name = _view(ref)
        if name.startswith("JOBS"):
            rows = [job for job in self._jobs() if job.get("project_id") in {None, ref.project}]
            if name == "JOBS_BY_USER":
                rows = [job for job in rows if job.get("user_email") == user_email]
        elif name in TIMELINE_FIELDS:
            rows = self._timelines.rows(name, ref.project, _region(ref))
        elif name == "SCHEMATA":
            rows = [self._schema_row(d.dataset, ref.project) for d in self._catalog.datasets(ref.project)]
        else:
            rows = [row for table in self._tables(ref) for row in _ROWS[name](table)]
        return arrow_table(_FIELDS[name], rows)

    def _schema_row(self, dataset: str, project: str) -> Mapping[str, Any]:
        info = self._catalog.dataset(project, dataset)
        return {
            "catalog_name": project,
            "schema_name": dataset,
            "creation_time": info.created_at,
            "last_modified_time": info.created_at,
            "location": info.location,
        }

    def _tables(self, ref: TableRef) -> list[TableInfo]:
        if ref.dataset and not ref.dataset.lower().startswith("region-"):
            return self._catalog.tables(ref.project, ref.dataset)
        datasets = self._catalog.datasets(ref.project)
        return [table for d in datasets for table in self._catalog.tables(ref.project, d.dataset)]


def _view(ref: TableRef) -> str:
    return ref.table.removeprefix("INFORMATION_SCHEMA.").upper()


def _region(ref: TableRef) -> str:
    """The region that a view is qualified with, in small letters; "": none."""
    return ref.dataset.lower().removeprefix("region-") if ref.dataset.lower().startswith("region-") else ""


def _name(table: TableInfo) -> dict[str, Any]:
    return {"table_catalog": table.ref.project, "table_schema": table.ref.dataset, "table_name": table.ref.table}


def _table_rows(table: TableInfo) -> list[Mapping[str, Any]]:
    kind = "VIEW" if table.type == "VIEW" else "BASE TABLE"
    insertable = "NO" if table.type == "VIEW" or table.read_only else "YES"
    extra = {"table_type": kind, "is_insertable_into": insertable, "creation_time": table.created_at}
    return [_name(table) | extra]


def _view_rows(table: TableInfo) -> list[Mapping[str, Any]]:
    if table.view_query is None:
        return []
    return [_name(table) | {"view_definition": table.view_query, "use_standard_sql": "YES"}]


def _column_rows(table: TableInfo) -> list[Mapping[str, Any]]:
    partition = table.time_partitioning.field.lower() if table.time_partitioning else None
    clustering = [name.lower() for name in table.clustering]
    return [
        _name(table)
        | {
            "column_name": field.name,
            "ordinal_position": number,
            "is_nullable": "NO" if field.mode == "REQUIRED" else "YES",
            "data_type": standard_type(field),
            "is_partitioning_column": "YES" if field.name.lower() == partition else "NO",
            "clustering_ordinal_position": clustering.index(field.name.lower()) + 1
            if field.name.lower() in clustering
            else None,
        }
        for number, field in enumerate(table.schema, 1)
    ]


_ROWS: dict[str, Callable[[TableInfo], list[Mapping[str, Any]]]] = {
    "TABLES": _table_rows,
    "VIEWS": _view_rows,
    "COLUMNS": _column_rows,
}
