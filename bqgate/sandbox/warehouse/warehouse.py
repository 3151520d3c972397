"""Open the warehouse and answer: plans, results, tables, files.

The facade that the HTTP half talks to. Statements are dispatched to the rooms `selecting`, `changing`, `merging`,
`defining` and `scripts`; tables and datasets to the catalog and the storage; files to `loading`. All methods block and
are safe to call from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from typing import Any

import duckdb
from sqlglot import exp

from bqgate.sandbox.warehouse import altering, billing, changing, defining, merging, row_policies, scripts, selecting
from bqgate.sandbox.warehouse.catalog import Catalog
from bqgate.sandbox.warehouse.complaints import complaints_translated
from bqgate.sandbox.warehouse.errors import BytesBilledLimitExceeded, NotSupported, QueryInvalid, Stopped
from bqgate.sandbox.warehouse.information_schema import InformationSchema, JobRows
from bqgate.sandbox.warehouse.library import Library
from bqgate.sandbox.warehouse.loading import Loader
from bqgate.sandbox.warehouse.parsing import Statement, is_dynamic, parse
from bqgate.sandbox.warehouse.plan import Plan, QueryContext, Result
from bqgate.sandbox.warehouse.prepared import Prepared
from bqgate.sandbox.warehouse.session import Session, open_session
from bqgate.sandbox.warehouse.storage import Storage
from bqgate.sandbox.warehouse.tables import Field, TableRef
from bqgate.sandbox.warehouse.usage_timelines import UsageTimelines

_PREPARERS: dict[type[exp.Expr], Callable[[Session, Any], Prepared]] = {
    exp.Select: selecting.prepare_select,
    exp.Union: selecting.prepare_select,
    exp.Except: selecting.prepare_select,
    exp.Intersect: selecting.prepare_select,
    exp.Subquery: selecting.prepare_select,
    exp.Insert: changing.prepare_insert,
    exp.Update: changing.prepare_update,
    exp.Delete: changing.prepare_delete,
    exp.TruncateTable: changing.prepare_truncate,
    exp.Merge: merging.prepare_merge,
    exp.Create: defining.prepare_create,
    exp.Drop: defining.prepare_drop,
    exp.Alter: altering.prepare_alter,
    exp.Command: row_policies.prepare_row_policy,
}


class Interrupt:
    """A handle by which another thread stops an `execute`; it may be pulled before, while or after it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._pulled = False

    def interrupt(self) -> None:
        """Stop what runs, or what would start."""
        with self._lock:
            self._pulled = True
            if self._cursor is not None:
                self._cursor.interrupt()

    def watch(self, cursor: duckdb.DuckDBPyConnection | None) -> None:
        """Note the cursor to stop; None when it is done.

        Raises:
            Stopped: The handle was pulled before.
        """
        with self._lock:
            if self._pulled and cursor is not None:
                raise Stopped("Job execution was cancelled: User requested cancellation")
            self._cursor = cursor


class Warehouse:
    """BigQuery's warehouse in one process.

    Args:
        seed_examples: Bring the dataset nycflights13.
        row_multiplier: For the example's large tables, flights and weather; None: the example's own.
        row_multipliers: By table name, for any of the example's tables.
        wall_time_ratio: Scale of `Result.wall_ms`.
        now: The clock for `created_at` and for expiring tables; queries bring their own time.
    """

    def __init__(
        self,
        *,
        seed_examples: bool = True,
        row_multiplier: int | None = None,
        row_multipliers: Mapping[str, int] | None = None,
        wall_time_ratio: float = 1.0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        clock = now or (lambda: datetime.now(UTC))  # noqa: TID251 - the sandbox has its own clock
        self._catalog = Catalog(clock)
        self._storage = Storage()
        self._now = clock
        self._wall_time_ratio = wall_time_ratio
        library = Library(self._catalog, self._storage, clock, self._view_schema)
        loader = Loader(self._catalog, self._storage, clock)
        timelines = UsageTimelines(self._catalog, library.get_table, clock)
        self._information_schema = InformationSchema(self._catalog, timelines)
        self.note_streamed = timelines.note_streamed
        self.create_dataset = library.create_dataset
        self.get_dataset = library.get_dataset
        self.list_datasets = library.list_datasets
        self.delete_dataset = library.delete_dataset
        self.create_table = library.create_table
        self.get_table = library.get_table
        self.list_tables = library.list_tables
        self.update_table = library.update_table
        self.delete_table = library.delete_table
        self.insert_rows = library.insert_rows
        self.read_rows = library.read_rows
        self.load = loader.load
        self.load_directory = loader.load_directory
        if seed_examples:
            library.seed_examples(row_multiplier, row_multipliers or {})

    def close(self) -> None:
        self._storage.close()

    def _view_schema(self, ref: TableRef, view_query: str) -> tuple[Field, ...]:
        """Return the columns of a view that is to be; its names are looked up in its project."""
        plan = self.plan(view_query, QueryContext(ref.project, self._now()))
        if plan.statement_type != "SELECT":
            raise QueryInvalid("A view's query must be a SELECT")
        return plan.schema

    def register_jobs_view(self, provider: JobRows) -> None:
        """Let INFORMATION_SCHEMA.JOBS show the provider's rows; keys are its columns, times are datetimes."""
        self._information_schema.register_jobs(provider)

    def plan(self, sql: str, ctx: QueryContext) -> Plan:
        """Answer a dry run.

        Raises:
            WarehouseError: The query is invalid, names what is not there, or is beyond the sandbox.
        """
        if is_dynamic(sql):
            return Plan("SCRIPT", accuracy="LOWER_BOUND")
        statements = self._parse(sql, ctx)
        session = self._open(ctx, dry_run=True)
        with closing(session.cursor), complaints_translated():
            if scripts.is_script(statements):
                return scripts.plan_script(session, statements, _prepare)
            return _prepare(session, statements[0].tree).plan

    def execute(
        self,
        sql: str,
        ctx: QueryContext,
        *,
        maximum_bytes_billed: int | None = None,
        interrupt: Interrupt | None = None,
    ) -> Result:
        """Run a query, a statement or a script.

        Raises:
            WarehouseError: As `plan`, or the cap is below the pre-run estimate, or it was interrupted.
        """
        statements = self._parse(sql, ctx)
        session = self._open(ctx, dry_run=False)
        handle = interrupt or Interrupt()
        with closing(session.cursor), self._lock_for(statements, ctx):
            handle.watch(session.cursor)
            try:
                with complaints_translated():
                    return self._run(session, statements, maximum_bytes_billed)
            finally:
                handle.watch(None)

    def _run(self, session: Session, statements: Sequence[Statement], cap: int | None) -> Result:
        if scripts.is_script(statements):
            return scripts.run_script(session, statements, _prepare, self._finish, cap)
        prepared = _prepare(session, statements[0].tree)
        if cap is not None and prepared.plan.bytes_billed_if_run > cap:
            raise BytesBilledLimitExceeded(cap, prepared.plan.bytes_billed_if_run)
        return self._finish(prepared, statements[0].text)

    def _finish(self, prepared: Prepared, text: str) -> Result:
        outcome = prepared.run()
        scanned = prepared.scan
        work = billing.slot_ms(scanned.bytes_after)
        return Result(
            prepared.plan,
            bytes_processed=scanned.bytes_after,
            bytes_billed=scanned.billed_after,
            slot_ms=work,
            wall_ms=billing.wall_ms(work, self._wall_time_ratio),
            schema=outcome.rows.schema,
            rows=outcome.rows,
            dml=outcome.dml,
            query=text,
        )

    def _parse(self, sql: str, ctx: QueryContext) -> list[Statement]:
        if ctx.use_legacy_sql:
            raise NotSupported("legacy SQL; set useLegacySql to false.")
        return parse(sql)

    def _lock_for(self, statements: Sequence[Statement], ctx: QueryContext) -> Any:
        reads = all(isinstance(s.tree, (exp.Query, exp.Subquery)) for s in statements) and ctx.destination is None
        return nullcontext() if reads else self._storage.writing

    def _open(self, ctx: QueryContext, *, dry_run: bool) -> Session:
        return open_session(self._catalog, self._storage, self._information_schema, ctx, dry_run=dry_run)


def _prepare(session: Session, tree: exp.Expr) -> Prepared:
    prepare = _PREPARERS.get(type(tree))
    if prepare is None:
        raise NotSupported(f"{tree.key.upper()} statements.")
    return prepare(session, tree)
