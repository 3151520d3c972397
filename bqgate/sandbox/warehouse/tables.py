"""Hold the shapes of tables: their name, fields, partitioning and what is known about each.

The catalog keeps them, the planner reads them, and the HTTP half of the sandbox turns them into BigQuery's Table and
Dataset resources. Pure values; nothing here does I/O.

Names and types are those of the REST reference: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables.
Byte counts are logical sizes: https://cloud.google.com/bigquery/pricing#data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

TableType = Literal["TABLE", "VIEW"]
Granularity = Literal["HOUR", "DAY", "MONTH", "YEAR"]


@dataclass(frozen=True, order=True)
class TableRef:
    """Name of a table: project, dataset, table."""

    project: str
    dataset: str
    table: str

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"


@dataclass(frozen=True)
class Field:
    """A column or a field of a record; `type` in the REST API's legacy words (INTEGER, FLOAT, BOOLEAN, RECORD).

    Attributes:
        element: What a RANGE is of: DATE, DATETIME or TIMESTAMP.
    """

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: tuple[Field, ...] = ()
    description: str = ""
    element: str = ""

    @property
    def item(self) -> Field:
        """The field that one element of a REPEATED field would be."""
        return replace(self, mode="NULLABLE")


@dataclass(frozen=True)
class TimePartitioning:
    """Partitions by a DATE, TIMESTAMP or DATETIME column."""

    field: str
    type: Granularity = "DAY"


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset as the API shows it."""

    project: str
    dataset: str
    location: str
    created_at: datetime
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True)
class TableInfo:
    """A table or a logical view as the API shows it.

    Attributes:
        view_query: The view's GoogleSQL; None for a table.
        row_multiplier: Factor on logical bytes and slot time; the rows that queries see are not multiplied.
        declared_bytes: Logical size of the whole table, where it was declared instead of measured.
        num_bytes: Logical bytes of all columns, multiplied or declared; 0 for views.
        num_rows: Rows that queries see; 0 for views.
        version: Grows with every change of content or schema; a cached result is stale when it has moved.
        expires_at: From then on the table is gone; None: never.
        row_policies: Row access policies by name: to whom they grant what. They are kept, and hide nothing.
    """

    ref: TableRef
    schema: tuple[Field, ...]
    type: TableType = "TABLE"
    view_query: str | None = None
    time_partitioning: TimePartitioning | None = None
    clustering: tuple[str, ...] = ()
    row_multiplier: int = 1
    declared_bytes: int | None = None
    num_bytes: int = 0
    num_rows: int = 0
    version: int = 0
    created_at: datetime | None = None
    modified_at: datetime | None = None
    expires_at: datetime | None = None
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    row_policies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RowError:
    """Why one row of `insert_rows` was not taken; `index` counts from 0."""

    index: int
    reason: str
    location: str
    message: str
