"""Keep datasets and tables for the API: create, describe, change, delete, list, read, insert rows.

The Warehouse lends these methods out as its own. What leaves: TableInfo, DatasetInfo, RowSource, RowErrors; or
NotFound, Duplicate, Invalid, AccessDenied, NotSupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import duckdb

from bqgate.sandbox.warehouse.arrow_types import arrow_table
from bqgate.sandbox.warehouse.catalog import SHARED, Catalog, Found
from bqgate.sandbox.warehouse.datatypes import range_element, rest_type
from bqgate.sandbox.warehouse.errors import Duplicate, Invalid, NotFound, NotSupported
from bqgate.sandbox.warehouse.examples import CLUSTERING, DATASET, LARGE, PARTITIONING, ROW_MULTIPLIER, example_tables
from bqgate.sandbox.warehouse.incoming import read_row
from bqgate.sandbox.warehouse.plan import RowSource
from bqgate.sandbox.warehouse.rows import StoredRows
from bqgate.sandbox.warehouse.selecting import check_names
from bqgate.sandbox.warehouse.storage import Storage, table_sql
from bqgate.sandbox.warehouse.tables import (
    DatasetInfo,
    Field,
    RowError,
    TableInfo,
    TableRef,
    TimePartitioning,
)

UNCHANGED: Literal["unchanged"] = "unchanged"
CheckView = Callable[[TableRef, str], tuple[Field, ...]]


class Library:
    """Datasets and tables.

    Attributes:
        check_view: Plans a view's query and returns its schema, or raises what a query would.
    """

    def __init__(self, catalog: Catalog, storage: Storage, now: Callable[[], datetime], check_view: CheckView) -> None:
        self._catalog = catalog
        self._storage = storage
        self._now = now
        self._check_view = check_view

    def seed_examples(self, row_multiplier: int | None, row_multipliers: Mapping[str, int]) -> None:
        """Put the example data into the shared dataset nycflights13."""
        self._catalog.add_dataset(DatasetInfo(SHARED, DATASET, "US", self._now(), "Flights out of New York in 2013"))
        with closing(self._storage.cursor()) as cursor:
            for name, (schema, shared) in example_tables().items():
                stored = TableRef(SHARED, DATASET, name)
                self._storage.show(cursor, stored, shared)
                usual = (ROW_MULTIPLIER if row_multiplier is None else row_multiplier) if name in LARGE else 1
                info = TableInfo(
                    stored,
                    schema,
                    time_partitioning=PARTITIONING.get(name),
                    clustering=CLUSTERING.get(name, ()),
                    row_multiplier=row_multipliers.get(name, usual),
                    num_rows=shared.rows.num_rows,
                )
                self._catalog.put(stored, info)

    def create_dataset(
        self,
        project: str,
        dataset: str,
        *,
        location: str = "US",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        exists_ok: bool = False,
    ) -> DatasetInfo:
        """Create a dataset; one of a shared dataset's name hides that in this project."""
        try:
            self._catalog.add_dataset(DatasetInfo(project, dataset, location, self._now(), description, labels or {}))
        except Duplicate:
            if not exists_ok:
                raise
        return self._catalog.dataset(project, dataset)

    def get_dataset(self, project: str, dataset: str) -> DatasetInfo:
        return self._catalog.dataset(project, dataset)

    def list_datasets(self, project: str) -> list[DatasetInfo]:
        return self._catalog.datasets(project)

    def delete_dataset(self, project: str, dataset: str, *, delete_contents: bool = False) -> None:
        with self._storage.writing, closing(self._storage.cursor()) as cursor:
            for ref in self._catalog.remove_dataset(project, dataset, delete_contents=delete_contents):
                self._storage.drop(cursor, ref)

    def create_table(
        self,
        ref: TableRef,
        schema: Sequence[Field] = (),
        *,
        view_query: str | None = None,
        time_partitioning: TimePartitioning | None = None,
        clustering: Sequence[str] = (),
        row_multiplier: int = 1,
        declared_bytes: int | None = None,
        expires_at: datetime | None = None,
        description: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> TableInfo:
        """Create an empty table or a view.

        `declared_bytes` is what a full scan of all columns processes, whatever the rows; None: what they measure.
        """
        fields = tuple(schema) if view_query is None else self._check_view(ref, view_query)
        info = TableInfo(
            ref,
            checked_fields(fields),
            "TABLE" if view_query is None else "VIEW",
            view_query,
            time_partitioning,
            tuple(clustering),
            row_multiplier,
            declared_bytes,
            expires_at=expires_at,
            description=description,
            labels=labels or {},
        )
        check_layout(info)
        with self._storage.writing:
            stored = self._catalog.writable(ref)
            if self._catalog.exists(ref):
                raise Duplicate(f"Already Exists: Table {ref}")
            if view_query is None:
                with closing(self._storage.cursor()) as cursor:
                    self._storage.create(cursor, stored, info.schema)
            self._catalog.put(stored, info)
        return self.get_table(ref)

    def get_table(self, ref: TableRef) -> TableInfo:
        return self._measured(self._catalog.find(ref))

    def _measured(self, found: Found) -> TableInfo:
        if found.info.view_query is not None:
            return found.info
        with closing(self._storage.cursor()) as cursor:
            return replace(found.info, num_bytes=self._storage.sizes(cursor, found).total)

    def list_tables(self, project: str, dataset: str) -> list[TableInfo]:
        """Return a dataset's tables by name; their `num_bytes` is not filled in."""
        return self._catalog.tables(project, dataset)

    def update_table(
        self,
        ref: TableRef,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        expires_at: datetime | Literal["unchanged"] | None = UNCHANGED,
        schema: Sequence[Field] | None = None,
        view_query: str | None = None,
    ) -> TableInfo:
        """Change what is given; a schema may only grow by NULLABLE or REPEATED columns at its end."""
        with self._storage.writing:
            stored = self._catalog.writable(ref)
            info = self._catalog.find(ref).info
            if schema is not None and info.view_query is None:
                info = self._grown(info, stored, checked_fields(tuple(schema)))
            if view_query is not None:
                info = replace(info, view_query=view_query, schema=self._check_view(ref, view_query))
            if expires_at != UNCHANGED:
                info = replace(info, expires_at=expires_at if isinstance(expires_at, datetime) else None)
            info = replace(
                info,
                description=info.description if description is None else description,
                labels=info.labels if labels is None else labels,
            )
            self._catalog.put(stored, info)
        return self.get_table(ref)

    def _grown(self, info: TableInfo, stored: TableRef, schema: tuple[Field, ...]) -> TableInfo:
        kept = [(f.name, f.type, f.fields) for f in schema[: len(info.schema)]]
        if kept != [(f.name, f.type, f.fields) for f in info.schema]:
            raise Invalid(f"Provided Schema does not match Table {info.ref}.")
        fresh = schema[len(info.schema) :]
        if any(field.mode == "REQUIRED" for field in fresh):
            raise Invalid(f"Provided Schema does not match Table {info.ref}. Cannot add required fields.")
        with closing(self._storage.cursor()) as cursor:
            self._storage.add_columns(cursor, stored, fresh)
        return replace(info, schema=schema)

    def delete_table(self, ref: TableRef) -> None:
        with self._storage.writing, closing(self._storage.cursor()) as cursor:
            self._storage.drop(cursor, self._catalog.remove(ref))

    def read_rows(self, ref: TableRef) -> RowSource:
        """Return the rows of a table, which are read page by page."""
        found = self._catalog.find(ref)
        if found.info.view_query is not None:
            raise Invalid(f"Cannot list a table of type VIEW: {ref}")
        return StoredRows(self._storage, found.stored, found.info.schema)

    def insert_rows(
        self,
        ref: TableRef,
        rows: Sequence[Mapping[str, Any]],
        *,
        skip_invalid_rows: bool = False,
        ignore_unknown_values: bool = False,
    ) -> tuple[RowError, ...]:
        """Insert rows of JSON values; with an invalid one among them none is, unless they are to be skipped."""
        found = self._catalog.find(ref)
        if found.info.view_query is not None:
            raise Invalid(f"Cannot add rows to a table of type VIEW: {ref}")
        stored = self._catalog.writable(ref)
        good: list[Mapping[str, Any]] = []
        errors: list[RowError] = []
        for index, row in enumerate(rows):
            try:
                good.append(read_row(found.info.schema, row, ignore_unknown_values=ignore_unknown_values))
            except Invalid as error:
                errors.append(RowError(index, "invalid", error.location, error.message))
        if errors and not skip_invalid_rows:
            bad = {error.index for error in errors}
            errors += [RowError(i, "stopped", "", "") for i in range(len(rows)) if i not in bad]
            return tuple(errors)
        with self._storage.writing, closing(self._storage.cursor()) as cursor:
            cursor.register("rows_to_insert", arrow_table(found.info.schema, good))
            try:
                cursor.execute(f"INSERT INTO {table_sql(stored)} SELECT * FROM rows_to_insert")
            except duckdb.CatalogException as error:
                raise NotFound(f"Not found: Table {ref} was not found in location US") from error
            self._catalog.touch(stored, num_rows=self._storage.count(cursor, stored))
        return tuple(errors)


def checked_fields(schema: tuple[Field, ...]) -> tuple[Field, ...]:
    """Return a schema with the REST API's type names, or refuse it."""
    check_names(schema)
    return tuple(_checked_field(field) for field in schema)


def _checked_field(field: Field) -> Field:
    kind = rest_type(field.type)
    element = range_element(field.element) if kind == "RANGE" else ""
    return replace(
        field, type=kind, mode=field.mode or "NULLABLE", fields=checked_fields(field.fields), element=element
    )


def check_layout(info: TableInfo) -> None:
    """Refuse partitioning and clustering by columns that are not there or not of a fitting type."""
    kinds = {field.name.lower(): field for field in info.schema}
    for name in info.clustering:
        if name.lower() not in kinds:
            raise Invalid(f"The field specified for clustering cannot be found in the schema: {name}")
    if info.time_partitioning is not None:
        field = kinds.get(info.time_partitioning.field.lower())
        if field is None:
            raise NotSupported("partitions by ingestion time.", location="")
        if field.type not in {"DATE", "TIMESTAMP", "DATETIME"} or field.mode == "REPEATED":
            raise Invalid("The field specified for time partitioning must be DATE, TIMESTAMP or DATETIME")
