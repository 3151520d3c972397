"""Hold the shapes of a query: who asks in what context, what it would cost, what came out.

The HTTP half of the sandbox builds a QueryContext, asks the Warehouse for a Plan (dry run) or a Result, and turns
both into Job and QueryResponse resources. Pure values; nothing here does I/O.

Words: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job (JobStatistics2). Bytes are logical bytes, times
are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from bqgate.sandbox.warehouse.tables import Field, TableRef

Accuracy = Literal["PRECISE", "UPPER_BOUND", "LOWER_BOUND"]


@dataclass(frozen=True)
class QueryContext:
    """All that decides what a query text means.

    Attributes:
        project: The project that runs the job; tables without a project are looked up in it.
        now: What CURRENT_TIMESTAMP() is; aware.
        default_dataset: (project, dataset) for tables that are named alone.
        parameters: `queryParameters` of the REST API as parsed JSON. Named when the first has a `name`.
        destination: Where a SELECT's rows go besides the answer; None: an anonymous table.
        write_disposition: WRITE_EMPTY, WRITE_TRUNCATE or WRITE_APPEND; of use with `destination` only.
        create_disposition: CREATE_IF_NEEDED or CREATE_NEVER; of use with `destination` only.
    """

    project: str
    now: datetime
    default_dataset: tuple[str, str] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()
    user_email: str = "sandbox@example.com"
    location: str = "US"
    use_legacy_sql: bool = False
    destination: TableRef | None = None
    write_disposition: str = "WRITE_EMPTY"
    create_disposition: str = "CREATE_IF_NEEDED"


@dataclass(frozen=True)
class Plan:
    """What a dry run knows.

    Attributes:
        bytes_processed: The pre-run estimate; for clustered tables the upper bound.
        bytes_billed_if_run: The same after rounding and minimums: what `maximumBytesBilled` is compared with.
        deterministic: The result may be served from the cache as long as `data_version` stays the same.
        data_version: Changes when a referenced table, or the schema of one, has changed.
        undeclared_parameters: Parameters that the text uses and the request does not give, in REST form.
        statements: The plans of a script's statements, as far as they are known before it runs.
        referenced_views: The logical views that the query went through, besides the tables below them.
        target: The table that DDL or DML is about.
        target_dataset: The dataset, as (project, dataset), that CREATE or DROP SCHEMA is about.
        ddl_operation: CREATE, SKIP, REPLACE, DROP, ALTER: `ddlOperationPerformed`; empty for others.
    """

    statement_type: str
    schema: tuple[Field, ...] = ()
    bytes_processed: int = 0
    bytes_billed_if_run: int = 0
    accuracy: Accuracy = "PRECISE"
    referenced_tables: tuple[TableRef, ...] = ()
    deterministic: bool = False
    data_version: str = ""
    undeclared_parameters: tuple[Mapping[str, Any], ...] = ()
    statements: tuple[Plan, ...] = ()
    referenced_views: tuple[TableRef, ...] = ()
    target: TableRef | None = None
    target_dataset: tuple[str, str] | None = None
    ddl_operation: str = ""


class PageText(NamedTuple):
    """The JSON array of a page's rows, and how many they are."""

    text: str
    rows: int


class RowSource(Protocol):
    """Rows that can be paged through in BigQuery's REST encoding, again and again, from any thread."""

    @property
    def schema(self) -> tuple[Field, ...]:
        """The fields, in the order of the cells."""
        ...

    def __len__(self) -> int: ...

    def page_text(
        self,
        start: int,
        count: int,
        *,
        bytes_max: int | None = None,
        columns: Sequence[int] | None = None,
        use_int64_timestamp: bool = False,
    ) -> PageText:
        """Return a page as the JSON array of its rows, and their number.

        Args:
            start: The first row, from 0.
            count: Rows at most.
            bytes_max: Where the page ends; one row is always in it.
            columns: Numbers of the columns to show; None: all.
            use_int64_timestamp: Show TIMESTAMP as whole microseconds instead of seconds in decimals.
        """
        ...

    def page(self, start: int, count: int, *, use_int64_timestamp: bool = False) -> list[dict[str, Any]]:
        """Return up to `count` rows from `start` (0-based) as `{"f": [{"v": …}]}`."""
        ...


@dataclass(frozen=True)
class DmlStats:
    """Rows that a DML statement touched."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def affected(self) -> int:
        """What `numDmlAffectedRows` says."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class Result:
    """What running a statement gave and what it is charged.

    Attributes:
        slot_ms: Work done, a fixed function of the bytes processed.
        wall_ms: How long the job should appear to run, besides the milliseconds that it really took.
        children: One Result per executed statement of a script; the parent's figures are their sums.
        rows: The last SELECT's rows for a script; empty for DDL and DML.
        query: Text of this statement; of use for children.
    """

    plan: Plan
    bytes_processed: int
    bytes_billed: int
    slot_ms: int
    wall_ms: int
    schema: tuple[Field, ...]
    rows: RowSource
    dml: DmlStats | None = None
    children: tuple[Result, ...] = field(default=())
    query: str = ""

    @property
    def num_dml_affected_rows(self) -> int | None:
        """Rows that DML touched; None for other statements."""
        return self.dml.affected if self.dml else None
