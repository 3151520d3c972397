"""Stand in for BigQuery's warehouse: GoogleSQL in, rows and a bill out.

This is all that the HTTP half of the sandbox may know of it. Nothing here speaks HTTP and nothing imports the rest of
the product.

    warehouse = Warehouse()                                  one DuckDB in memory, with the example data
    plan   = warehouse.plan(sql, ctx)                        a dry run; free, nothing runs
    result = warehouse.execute(sql, ctx, maximum_bytes_billed=cap, interrupt=handle)
    result.rows.page(0, 1000, use_int64_timestamp=True)      [{"f": [{"v": "1"}]}, …]
    result.rows.page_text(0, 100_000, bytes_max=10_000_000)  the same as JSON text, as much as fits

All methods block and may be called from any thread; `Interrupt.interrupt()` stops an `execute` from another one, which
then raises Stopped. Every refusal is a WarehouseError with `reason`, `http_status`, `message`, `location`, and, for a
script that broke half-way, `children`: the statements that had run, which stay billed.

Types: all of BigQuery's, but of GEOGRAPHY points only, BIGNUMERIC to ten digits after the point, and no parameters such
as NUMERIC(10, 2) in queries. What is not compared with BigQuery's reference is NotSupported.

Tables and datasets:

    create_dataset(project, dataset, *, location="US", description="", labels=None, exists_ok=False) -> DatasetInfo
    get_dataset(project, dataset) -> DatasetInfo             list_datasets(project) -> list[DatasetInfo]
    delete_dataset(project, dataset, *, delete_contents=False)
    create_table(ref, schema=(), *, view_query=None, time_partitioning=None, clustering=(), row_multiplier=1,
                 declared_bytes=None, expires_at=None, description="", labels=None) -> TableInfo
    get_table(ref) -> TableInfo                              list_tables(project, dataset) -> list[TableInfo]
    update_table(ref, *, description=None, labels=None, expires_at=UNCHANGED, schema=None, view_query=None) -> TableInfo
    delete_table(ref)
    insert_rows(ref, rows, *, skip_invalid_rows=False, ignore_unknown_values=False) -> tuple[RowError, ...]
    read_rows(ref) -> RowSource
    load(ref, source: bytes | Path, LoadOptions(…)) -> LoadOutcome(rows, input_bytes, output_bytes)
    load_directory(path, project=None)                       one dataset a sub-folder, optional tables.yaml in it
    fields_from_rest(items) -> tuple[Field, ...]             a REST schema, types in either dialect and any case
    register_jobs_view(provider)                             () -> list[dict], rows of INFORMATION_SCHEMA.JOBS

Where the example data is seen: in every project, as dataset `nycflights13`, read-only; a project that creates a
dataset of that name sees its own. Data loaded by `load_directory` without a project is seen in the same way.

`Plan.data_version` is part of the key of a result cache; results with `deterministic` False must not be cached. The
charge for a cached result is the HTTP half's business: zero.
"""

from __future__ import annotations

from bqgate.sandbox.warehouse.datatypes import fields_from_rest
from bqgate.sandbox.warehouse.errors import (
    AccessDenied,
    BytesBilledLimitExceeded,
    Duplicate,
    Invalid,
    NotFound,
    NotSupported,
    QueryInvalid,
    ResourceInUse,
    Stopped,
    WarehouseError,
)
from bqgate.sandbox.warehouse.files import LoadOptions
from bqgate.sandbox.warehouse.library import UNCHANGED
from bqgate.sandbox.warehouse.loading import LoadOutcome
from bqgate.sandbox.warehouse.plan import DmlStats, Plan, QueryContext, Result, RowSource
from bqgate.sandbox.warehouse.tables import DatasetInfo, Field, RowError, TableInfo, TableRef, TimePartitioning
from bqgate.sandbox.warehouse.warehouse import Interrupt, Warehouse

__all__ = [
    "UNCHANGED",
    "AccessDenied",
    "BytesBilledLimitExceeded",
    "DatasetInfo",
    "DmlStats",
    "Duplicate",
    "Field",
    "Interrupt",
    "Invalid",
    "LoadOptions",
    "LoadOutcome",
    "NotFound",
    "NotSupported",
    "Plan",
    "QueryContext",
    "QueryInvalid",
    "ResourceInUse",
    "Result",
    "RowError",
    "RowSource",
    "Stopped",
    "TableInfo",
    "TableRef",
    "TimePartitioning",
    "Warehouse",
    "WarehouseError",
    "fields_from_rest",
]
