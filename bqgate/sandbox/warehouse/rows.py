"""Page through rows: those of a result, and those of a stored table.

The HTTP half asks for pages from any thread. A page is JSON text, as `encoding` writes it, and ends where the caller's
rows or bytes are used up, so that no page costs more memory than its own. A large result lies in a file that is mapped
into memory and gone with the result; a stored table is read page by page.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from bqgate.sandbox.warehouse.encoding import row_texts
from bqgate.sandbox.warehouse.errors import QueryInvalid
from bqgate.sandbox.warehouse.plan import PageText
from bqgate.sandbox.warehouse.storage import Storage, table_sql
from bqgate.sandbox.warehouse.tables import Field, TableRef

ROWS_AT_ONCE = 10_000
MEMORY_BYTES_MAX = 8 * 2**20


class Rows(ABC):
    """Rows that can be paged through, again and again; what they are read from is the subclass's business."""

    def __init__(self, schema: tuple[Field, ...], count: int) -> None:
        self._schema = schema
        self._count = count

    @property
    def schema(self) -> tuple[Field, ...]:
        return self._schema

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def _part(self, start: int, count: int) -> pa.Table:
        """Read some rows, all of their columns."""

    def page_text(
        self,
        start: int,
        count: int,
        *,
        bytes_max: int | None = None,
        columns: Sequence[int] | None = None,
        use_int64_timestamp: bool = False,
    ) -> PageText:
        """Return up to `count` rows from `start`, of these columns; the first of them whatever its bytes."""
        texts: list[str] = []
        left = bytes_max
        wanted = range(len(self._schema)) if columns is None else columns
        fields = [self._schema[i] for i in wanted]
        start = max(start, 0)
        end = min(start + max(count, 0), self._count)
        for at in range(start, end, ROWS_AT_ONCE):
            part = self._part(at, min(ROWS_AT_ONCE, end - at)).select(list(wanted))
            fresh: list[str] = row_texts(part, fields, use_int64_timestamp=use_int64_timestamp).to_pylist()
            kept = len(fresh)
            if left is not None:
                kept, left = _fitting(fresh, left)
            texts += fresh[: max(kept, 0 if texts else 1)]
            if kept < len(fresh) or not fresh:
                break
        return PageText(f"[{','.join(texts)}]", len(texts))

    def page(self, start: int, count: int, *, use_int64_timestamp: bool = False) -> list[dict[str, Any]]:
        """Return a page as objects, for callers that look into its cells."""
        found: list[dict[str, Any]] = json.loads(
            self.page_text(start, count, use_int64_timestamp=use_int64_timestamp).text
        )
        return found


def _fitting(texts: Sequence[str], left: int) -> tuple[int, int]:
    """Return how many of the texts fit into the bytes that are left, and what is left then."""
    for number, text in enumerate(texts):
        size = len(text) + 1 if text.isascii() else len(text.encode()) + 1
        if size > left:
            return number, 0
        left -= size
    return len(texts), left


class ArrowRows(Rows):
    """Rows of an Arrow table whose columns are already of the types that the schema says."""

    def __init__(self, table: pa.Table, schema: tuple[Field, ...]) -> None:
        super().__init__(schema, int(table.num_rows))
        self._table = table

    def _part(self, start: int, count: int) -> pa.Table:
        return self._table.slice(start, count)


class StoredRows(Rows):
    """Rows of a stored table, read when they are asked for."""

    def __init__(self, storage: Storage, stored: TableRef, schema: tuple[Field, ...]) -> None:
        with closing(storage.cursor()) as cursor:
            super().__init__(schema, storage.count(cursor, stored))
        self._storage = storage
        self._sql = f"SELECT * FROM {table_sql(stored)}"

    def _part(self, start: int, count: int) -> pa.Table:
        with closing(self._storage.cursor()) as cursor:
            return cursor.sql(f"{self._sql} LIMIT {count} OFFSET {start}").to_arrow_table()


def no_rows(schema: tuple[Field, ...] = ()) -> ArrowRows:
    """Return the empty source that DDL and DML answer with."""
    return ArrowRows(pa.table({str(i): pa.array([], pa.string()) for i in range(len(schema))}), schema)


def kept(batches: pa.RecordBatchReader) -> pa.Table:
    """Read all batches into a table; past 8 MiB it lies in a file that is gone when the table is."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > MEMORY_BYTES_MAX:
            return _in_file(batches.schema, held, batches)
    return pa.Table.from_batches(held, batches.schema)


def _in_file(schema: pa.Schema, held: Sequence[pa.RecordBatch], more: Iterator[pa.RecordBatch]) -> pa.Table:
    with tempfile.TemporaryDirectory(prefix="bqgate-result-") as folder:
        path = Path(folder) / "rows.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch in held:
                writer.write_batch(batch)
            for batch in more:
                writer.write_batch(batch)
        # The mapping outlives the name of the file.
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def refuse_null_elements(table: pa.Table, schema: tuple[Field, ...]) -> None:
    """Refuse arrays with NULL in them, which BigQuery can compute but not return."""
    for field, column in zip(schema, table.columns, strict=True):
        if field.mode == "REPEATED" and any(chunk.flatten().null_count for chunk in column.chunks):
            raise QueryInvalid(f"Array cannot have a null element; error in writing field {field.name}")
