"""Load files into tables: CSV, newline-delimited JSON and Parquet; single ones and whole directories.

The Warehouse lends `load` and `load_directory` out as its own; `files` reads the rows. A file that does not fit the
schema is refused whole, with Invalid; `max_bad_records` other than 0 is NotSupported.

Options: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#jobconfigurationload. Loads cost nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import yaml

from bqgate.sandbox.warehouse.catalog import SHARED, Catalog
from bqgate.sandbox.warehouse.datatypes import duckdb_type, field_from_duckdb, quote
from bqgate.sandbox.warehouse.errors import Duplicate, Invalid, NotFound, NotSupported, WarehouseError
from bqgate.sandbox.warehouse.files import LoadOptions, open_file, refusal
from bqgate.sandbox.warehouse.library import check_layout, checked_fields
from bqgate.sandbox.warehouse.sizes import measure_arrow
from bqgate.sandbox.warehouse.storage import Storage, table_sql
from bqgate.sandbox.warehouse.tables import DatasetInfo, Field, TableInfo, TableRef, TimePartitioning

_SUFFIXES = {
    ".csv": "CSV",
    ".json": "NEWLINE_DELIMITED_JSON",
    ".jsonl": "NEWLINE_DELIMITED_JSON",
    ".parquet": "PARQUET",
}


@dataclass(frozen=True)
class LoadOutcome:
    """What `statistics.load` says."""

    rows: int
    input_bytes: int
    output_bytes: int


class Loader:
    """Reads files into the tables of one warehouse."""

    def __init__(self, catalog: Catalog, storage: Storage, now: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._storage = storage
        self._now = now

    def load(self, ref: TableRef, source: bytes | Path, options: LoadOptions | None = None) -> LoadOutcome:
        """Load a file, or the bytes of one, into a table.

        Raises:
            WarehouseError: The file does not fit, the table is there or is not, against the dispositions.
        """
        options = options or LoadOptions()
        if isinstance(source, Path):
            return self._load(self._catalog.writable(ref), ref, source, options)
        with tempfile.NamedTemporaryFile(prefix="bqgate-load-") as file:
            file.write(source)
            file.flush()
            return self._load(self._catalog.writable(ref), ref, Path(file.name), options)

    def _load(self, stored: TableRef, ref: TableRef, path: Path, options: LoadOptions) -> LoadOutcome:
        if options.max_bad_records or options.encoding.upper().replace("_", "-") not in {"UTF-8", "UTF8"}:
            raise NotSupported("maxBadRecords and encodings other than UTF-8.", location="")
        exists = self._catalog.exists(ref)
        known = self._catalog.find(ref).info if exists else None
        if known is not None and known.view_query is not None:
            raise Invalid(f"Cannot load into a table of type VIEW: {ref}")
        if known is None and options.create_disposition == "CREATE_NEVER":
            raise NotFound(f"Not found: Table {ref} was not found in location US")
        if known is not None and options.write_disposition == "WRITE_EMPTY" and known.num_rows:
            raise Duplicate(f"Already Exists: Table {ref}")
        fresh = known is None or options.write_disposition == "WRITE_TRUNCATE"
        schema = None if options.schema is None else checked_fields(options.schema)
        if known is not None and not fresh:
            _check_same(schema or (), known)
        if schema is None and known is not None and (not fresh or not options.autodetect):
            schema = known.schema
        with self._storage.writing, closing(self._storage.cursor()) as cursor:
            return self._read_into(cursor, stored, path, replace(options, schema=schema), known, fresh=fresh)

    def _read_into(
        self,
        cursor: duckdb.DuckDBPyConnection,
        stored: TableRef,
        path: Path,
        options: LoadOptions,
        known: TableInfo | None,
        *,
        fresh: bool,
    ) -> LoadOutcome:
        rows = open_file(cursor, path, options)
        fields = checked_fields(options.schema or _detected(rows))
        there = dict(zip((name.lower() for name in rows.columns), rows.types, strict=True))
        try:
            table = _as_fields(rows, fields, there).to_arrow_table()
            if fresh:
                base = known or TableInfo(stored, fields)
                info = replace(
                    base,
                    schema=fields,
                    num_rows=table.num_rows,
                    declared_bytes=None,
                    time_partitioning=options.time_partitioning or base.time_partitioning,
                    clustering=options.clustering or base.clustering,
                )
                check_layout(info)
                self._storage.create(cursor, stored, fields)
            cursor.register("rows_to_load", table)
            cursor.execute(f"INSERT INTO {table_sql(stored)} BY NAME SELECT * FROM rows_to_load")
            size = measure_arrow(cursor, "rows_to_load", fields)
        except duckdb.Error as error:
            raise refusal(error) from error
        if fresh:
            self._catalog.put(stored, info)
        else:
            self._catalog.touch(stored, num_rows=self._storage.count(cursor, stored))
        return LoadOutcome(table.num_rows, path.stat().st_size, size)

    def load_directory(self, path: Path, project: str | None = None) -> None:
        """Load a directory: a sub-folder is a dataset, a file in it a table named after it.

        A `tables.yaml` in the sub-folder may say for each table: row_multiplier, partition_by, cluster_by. Without a
        project every project sees the datasets, and only reads them.
        """
        owner = SHARED if project is None else project
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not folders:
            raise Invalid(f"{path}: no sub-folders; each one is to be a dataset")
        for folder in folders:
            self._catalog.add_dataset(DatasetInfo(owner, folder.name, "US", self._now()))
            declared = _declarations(folder)
            for file in sorted(folder.iterdir()):
                if file.suffix.lower() in _SUFFIXES:
                    said = declared.pop(file.stem, {})
                    self._load_file(TableRef(owner, folder.name, file.stem), file, said)
            if declared:
                raise Invalid(f"{folder / 'tables.yaml'}: there is no file for {', '.join(sorted(declared))}")

    def _load_file(self, stored: TableRef, file: Path, said: dict[str, Any]) -> None:
        by = said.get("partition_by")
        options = LoadOptions(
            source_format=_SUFFIXES[file.suffix.lower()],
            autodetect=True,
            write_disposition="WRITE_EMPTY",
            time_partitioning=TimePartitioning(by) if by else None,
            clustering=tuple(said.get("cluster_by") or ()),
        )
        try:
            with closing(self._storage.cursor()) as cursor:
                self._read_into(cursor, stored, file, options, None, fresh=True)
        except WarehouseError as error:
            raise Invalid(f"{file}: {error}") from error
        multiplier = said.get("row_multiplier", 1)
        if not isinstance(multiplier, int) or multiplier < 1:
            raise Invalid(f"{file.parent / 'tables.yaml'}: {file.stem}.row_multiplier must be a whole number from 1")
        self._catalog.multiply(stored, multiplier)


def _declarations(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "tables.yaml"
    if not file.exists():
        return {}
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise Invalid(f"{file}: is not YAML in UTF-8") from error
    known = {"row_multiplier", "partition_by", "cluster_by"}
    if not isinstance(said, dict) or not all(isinstance(v, dict) and set(v) <= known for v in said.values()):
        raise Invalid(f"{file}: expected a mapping from table to {', '.join(sorted(known))}")
    return {str(name): value for name, value in said.items()}


def _detected(rows: duckdb.DuckDBPyRelation) -> tuple[Field, ...]:
    """Return the fields that a file without a schema seems to have; a column of a kind BigQuery has not is STRING."""
    texts = {"uuid", '"null"'}
    return tuple(
        Field(name, "STRING") if str(kind).lower() in texts else field_from_duckdb(name, kind)
        for name, kind in zip(rows.columns, rows.types, strict=True)
    )


def _check_same(schema: Sequence[Field], info: TableInfo) -> None:
    """Refuse a schema that is given for rows to append and is not the table's."""
    known = {field.name.lower(): field for field in info.schema}
    for field in schema:
        there = known.get(field.name.lower())
        if there is None:
            raise Invalid(f"Provided Schema does not match Table {info.ref}. Cannot add fields (field: {field.name})")
        if there.type != field.type:
            raise Invalid(
                f"Provided Schema does not match Table {info.ref}. "
                f"Field {field.name} has changed type from {there.type} to {field.type}"
            )


def _as_fields(
    rows: duckdb.DuckDBPyRelation, fields: Sequence[Field], there: dict[str, Any]
) -> duckdb.DuckDBPyRelation:
    """Cast the file's columns to the schema's; a field that the file has not is NULL."""
    casts = [f"CAST({_value_sql(f, there.get(f.name.lower()))} AS {duckdb_type(f)}) AS {quote(f.name)}" for f in fields]
    return rows.project(", ".join(casts))


def _value_sql(field: Field, kind: Any) -> str:
    """Return what reads a field's column; bytes are base64 in a text."""
    if kind is None:
        return "NULL"
    column = quote(field.name)
    return f"from_base64({column})" if field.type == "BYTES" and str(kind) == "VARCHAR" else column
