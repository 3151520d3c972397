"""Write entries as files of Parquet, a folder for each day: to a folder here, to Google Cloud Storage, or to S3.

Called by cli; calls pyarrow, which is an extra (`bqgate[parquet]`) and is imported with this module. The columns are
those of the mirror (columns.py); `day=2026-11-24/part-00000.parquet` is what DuckDB, pandas, Spark and BigQuery read as
partitions by day. Days are UTC's. Doing it again writes the same files: a file is put under another name first and
renamed when it is whole, and parts of an earlier run that there are no more are removed.

A folder holds one choice of entries. `_bqgate_export.json` says which (readers pass over names that begin so); another
choice is refused, because it would put part of a day where the whole day was.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date
from itertools import chain, groupby, islice
from typing import Any

import pyarrow as pa
from pyarrow import fs, parquet

from bqgate.domain.entry import Entry
from bqgate.exports.columns import COLUMNS, Column, value_in

PART_ENTRIES_MAX = 500_000
_BATCH_ENTRIES = 10_000
_MARKER = "_bqgate_export.json"
_LABELS = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())]))
_TYPES = {
    "STRING": pa.string(),
    "INTEGER": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "NUMERIC": pa.decimal128(38, 9),
    "RECORD": _LABELS,
}


class ExportFailed(Exception):
    """The files cannot be written there. The message says why."""


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What was written."""

    days: int
    files: int
    rows: int


def export_schema() -> pa.Schema:
    """The columns of the files."""
    return pa.schema([_field(column) for column in COLUMNS])


def write_days(
    entries: Iterable[Entry],
    to: str,
    *,
    customer: str | None = None,
    on_rows: Callable[[int], None] | None = None,
    part_entries_max: int = PART_ENTRIES_MAX,
) -> ExportOutcome:
    """Write entries, which come ordered by the moment at which they were booked.

    Args:
        entries: all of each day that is among them.
        to: a folder, gs://bucket/prefix, or s3://bucket/prefix.
        customer: whose they are; None: everybody's.
        on_rows: is told how many rows were written.
        part_entries_max: how many rows a file may have.

    Raises:
        ExportFailed: it cannot be written there, or the folder holds another choice of entries.
    """
    days = files = rows = 0
    try:
        folder = _Folder(to)
        folder.claim({"format": "bqgate ledger export", "customer": customer})
        for day, of_day in groupby(entries, key=lambda entry: entry.booked_at.astimezone(UTC).date()):
            rows_before = rows
            for number, part in enumerate(_parts(of_day, part_entries_max)):
                rows += folder.write_part(day, number, part)
                files += 1
                if on_rows is not None:
                    on_rows(rows)
            folder.remove_parts(day, from_number=-(-(rows - rows_before) // part_entries_max))
            days += 1
    except (OSError, pa.ArrowException) as error:
        shown = without_login(to)
        raise ExportFailed(f"{shown} cannot be written: {str(error).replace(to, shown)}") from error
    return ExportOutcome(days, files, rows)


def without_login(to: str) -> str:
    """A destination as it may be shown: s3://key:secret@bucket without what stands before the bucket."""
    return re.sub(r"://[^/]*@", "://", to)


class _Folder:
    """Where the days go, on whichever file system."""

    def __init__(self, to: str) -> None:
        if "://" in to:
            self._files, self._root = fs.FileSystem.from_uri(to)
        else:
            self._files = fs.LocalFileSystem()
            self._root = self._files.normalize_path(to)
        self._root = self._root.rstrip("/") or "/"
        self._schema = export_schema()
        self._run = secrets.token_hex(4)  # two runs at once write to files of their own, and the last one's stay

    def claim(self, choice: dict[str, Any]) -> None:
        """Note which entries are here, or refuse where others are."""
        path = f"{self._root}/{_MARKER}"
        if self._files.get_file_info(path).type is fs.FileType.File:
            with self._files.open_input_stream(path) as stream:
                there = json.loads(stream.read())
            if there != choice:
                raise ExportFailed(
                    f"{self._root} has entries of {there.get('customer') or 'all customers'}; name another folder for "
                    "these, or empty it."
                )
            return
        self._make(self._root)
        with self._files.open_output_stream(path) as stream:
            stream.write(json.dumps(choice).encode())

    def _make(self, folder: str) -> None:
        """Make a folder where there are such: object stores have names with slashes in them."""
        if isinstance(self._files, fs.LocalFileSystem):
            self._files.create_dir(folder)

    def write_part(self, day: date, number: int, entries: Iterator[Entry]) -> int:
        """Write a file; how many rows it has."""
        final = self._path(day, number)
        folder, _, name = final.rpartition("/")
        partial = f"{folder}/_{name}.{self._run}.partial"
        self._make(folder)
        count = 0
        try:
            with (
                self._files.open_output_stream(partial) as stream,
                parquet.ParquetWriter(stream, self._schema, compression="zstd") as writer,
            ):
                while some := list(islice(entries, _BATCH_ENTRIES)):
                    writer.write_batch(_batch_of(some, self._schema))
                    count += len(some)
            self._files.move(partial, final)
        except BaseException:
            with suppress(OSError):
                self._files.delete_file(partial)
            raise
        return count

    def remove_parts(self, day: date, *, from_number: int) -> None:
        """Remove what an earlier run wrote behind the last part."""
        while self._files.get_file_info(self._path(day, from_number)).type is fs.FileType.File:
            self._files.delete_file(self._path(day, from_number))
            from_number += 1

    def _path(self, day: date, number: int) -> str:
        return f"{self._root}/day={day.isoformat()}/part-{number:05}.parquet"


def _batch_of(entries: list[Entry], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.array([value_in(column, entry) for entry in entries], field.type)
        for column, field in zip(COLUMNS, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _field(column: Column) -> pa.Field:
    nullable = column.mode != "REQUIRED"
    return pa.field(column.name, _TYPES[column.type], nullable=nullable, metadata={"description": column.meaning})


def _parts(entries: Iterator[Entry], count_max: int) -> Iterator[Iterator[Entry]]:
    """Entries in parts of at most so many; read each before asking for the next."""
    while (first := next(entries, None)) is not None:
        yield chain((first,), islice(entries, count_max - 1))
