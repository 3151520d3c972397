"""Prepare DDL: schemas, tables and views come, change and go.

The Warehouse dispatches here for CREATE, DROP and ALTER. DDL costs nothing, but CREATE TABLE AS costs what its query
reads (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language). Options that change
neither rows nor bytes are kept or ignored; `expiration_timestamp` and `description` are kept.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import cast

from sqlglot import exp

from bqgate.sandbox.warehouse.compiling import bind
from bqgate.sandbox.warehouse.datatypes import field_from_sql
from bqgate.sandbox.warehouse.errors import Duplicate, NotFound, NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.lowering import fix_time, lower
from bqgate.sandbox.warehouse.parsing import position
from bqgate.sandbox.warehouse.plan import Plan
from bqgate.sandbox.warehouse.prepared import Outcome, Prepared
from bqgate.sandbox.warehouse.scanning import Scan
from bqgate.sandbox.warehouse.selecting import check_names, fetch, write_table
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.tables import DatasetInfo, Field, Granularity, TableInfo, TableRef, TimePartitioning

_REFUSED = (exp.PartitionedOfProperty, exp.LikeProperty, exp.ExternalProperty, exp.MaterializedProperty)


def prepare_create(session: Session, tree: exp.Create) -> Prepared:
    kind = str(tree.args.get("kind")).upper()
    properties = list(tree.args["properties"].expressions) if tree.args.get("properties") else []
    if any(isinstance(p, _REFUSED) for p in properties) or tree.args.get("clone") is not None:
        raise NotSupported("external and materialized tables, LIKE, CLONE and COPY.")
    if kind == "SCHEMA":
        return _create_schema(session, tree)
    if kind == "TABLE":
        return _create_table(session, tree, properties)
    if kind == "VIEW":
        return _create_view(session, tree)
    raise NotSupported(f"CREATE {kind}.")


def _create_schema(session: Session, tree: exp.Create) -> Prepared:
    name = tree.this
    project, dataset = name.catalog or session.ctx.project, name.db

    def run() -> Outcome:
        info = DatasetInfo(project, dataset, session.ctx.location, session.ctx.now)
        try:
            session.catalog.add_dataset(info)
        except Duplicate:
            if not tree.args.get("exists"):
                raise
        return Outcome()

    plan = Plan("CREATE_SCHEMA", target_dataset=(project, dataset), ddl_operation="CREATE")
    return Prepared(plan, Scan(), run)


def _target(session: Session, tree: exp.Create, *, temporary: bool) -> tuple[TableRef, str]:
    """Return the table to create and what will have been done to it."""
    table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if temporary:
        if "" not in session.temporary:
            raise NotSupported("CREATE TEMP TABLE outside of a script.")
        ref = replace(session.temporary[""], table=table.name)
        session.temporary[table.name] = ref
        return ref, "CREATE"
    ref = session.resolver().ref(table)
    session.catalog.writable(ref)
    if not session.catalog.exists(ref):
        return ref, "CREATE"
    if tree.args.get("replace"):
        return ref, "REPLACE"
    if tree.args.get("exists"):
        return ref, "SKIP"
    raise Duplicate(f"Already Exists: Table {ref}")


def _create_table(session: Session, tree: exp.Create, properties: list[exp.Expr]) -> Prepared:
    temporary = any(isinstance(p, exp.TemporaryProperty) for p in properties)
    ref, operation = _target(session, tree, temporary=temporary)
    columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    declared = tuple(_column(column) for column in columns if isinstance(column, exp.ColumnDef))
    if len(declared) != len(columns):
        raise NotSupported("table constraints.")
    options = options_of(session, properties)
    if tree.expression is None:
        if not declared:
            raise QueryInvalid("CREATE TABLE requires a column list or a query")
        info = _described(TableInfo(ref, declared), properties, options)
        plan = Plan("CREATE_TABLE", declared, target=ref, ddl_operation=operation)
        return Prepared(plan, Scan(), lambda: _make(session, info, operation))
    compiled = session.compile(tree.expression)
    schema = declared or compiled.schema
    if [(f.type, f.mode == "REPEATED") for f in schema] != [(f.type, f.mode == "REPEATED") for f in compiled.schema]:
        raise QueryInvalid("The columns of CREATE TABLE AS do not match those of its query")
    info = _described(TableInfo(ref, schema), properties, options)
    scanned = Scan() if operation == "SKIP" else session.scan(compiled)
    plan = replace(
        session.plan("CREATE_TABLE_AS_SELECT", compiled, scanned), target=ref, ddl_operation=operation, schema=schema
    )

    def run() -> Outcome:
        if operation != "SKIP":
            write_table(session, info, session.catalog.writable(ref), fetch(session.cursor, compiled))
        return Outcome()

    return Prepared(plan, scanned, run)


def _make(session: Session, info: TableInfo, operation: str) -> Outcome:
    if operation != "SKIP":
        check_names(info.schema)
        stored = session.catalog.writable(info.ref)
        session.storage.create(session.cursor, stored, info.schema)
        session.catalog.put(stored, info)
    return Outcome()


def _column(column: exp.ColumnDef) -> Field:
    field = field_from_sql(column.name, column.args["kind"])
    for constraint in column.args.get("constraints") or []:
        if isinstance(constraint.kind, exp.NotNullColumnConstraint):
            field = replace(field, mode="REQUIRED")
        elif not isinstance(constraint.kind, exp.Properties):
            raise NotSupported("constraints and defaults of columns.")
    return field


def _described(info: TableInfo, properties: list[exp.Expr], options: dict[str, object]) -> TableInfo:
    names = {field.name.lower(): field for field in info.schema}
    for item in properties:
        if isinstance(item, exp.PartitionedByProperty):
            info = replace(info, time_partitioning=_partitioning(item.this, names))
        elif isinstance(item, exp.Cluster | exp.ClusterProperty):
            info = replace(info, clustering=tuple(_clustered(c, names) for c in item.expressions))
    expires_at = cast("dt.datetime | None", options.get("expiration_timestamp"))
    return replace(info, description=str(options.get("description") or ""), expires_at=expires_at)


def _clustered(column: exp.Expr, names: dict[str, Field]) -> str:
    if column.name.lower() not in names:
        raise QueryInvalid(f"Unrecognized name: {column.name}{position(column)}")
    return names[column.name.lower()].name


def _partitioning(by: exp.Expr, names: dict[str, Field]) -> TimePartitioning:
    unit = by.args.get("unit")
    column = by if isinstance(by, exp.Identifier) else by.find(exp.Column)
    if column is None or column.name.lower() not in names:
        raise NotSupported("partitions by ingestion time and by ranges.")
    kind = names[column.name.lower()].type
    if not isinstance(by, (exp.Identifier, exp.Column, exp.Date, exp.DateTrunc, exp.TimestampTrunc, exp.DatetimeTrunc)):
        raise NotSupported("partitions by ranges.")
    granularity = "DAY" if unit is None else unit.name.upper()
    if kind not in {"DATE", "TIMESTAMP", "DATETIME"} or granularity not in {"HOUR", "DAY", "MONTH", "YEAR"}:
        raise QueryInvalid(f"PARTITION BY expression must be DATE, TIMESTAMP or DATETIME; found {kind}")
    return TimePartitioning(names[column.name.lower()].name, cast("Granularity", granularity))


def options_of(session: Session, properties: list[exp.Expr]) -> dict[str, object]:
    """Return the options that are kept, by name; the others are passed over."""
    found: dict[str, object] = {}
    for item in properties:
        name = item.name.lower() if isinstance(item, exp.Property) else ""
        if name == "description":
            found[name] = item.args["value"].name
        elif name == "expiration_timestamp":
            constant, _ = fix_time(item.args["value"].copy(), session.ctx.now, session.ctx.user_email)
            sql = lower(constant).sql(dialect="duckdb")
            micros = bind(session.cursor, f"SELECT epoch_us(CAST({sql} AS TIMESTAMPTZ))").fetchall()[0][0]
            if micros is not None:
                found[name] = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)
    return found


def _create_view(session: Session, tree: exp.Create) -> Prepared:
    ref, operation = _target(session, tree, temporary=False)
    query = tree.expression
    compiled = session.compile(query)
    schema = compiled.schema
    if isinstance(tree.this, exp.Schema):
        raise NotSupported("column lists of views.")
    info = TableInfo(ref, schema, "VIEW", view_query=_qualified_text(session, query))

    def run() -> Outcome:
        if operation != "SKIP":
            session.catalog.put(session.catalog.writable(ref), info)
        return Outcome()

    plan = Plan(
        "CREATE_VIEW",
        schema,
        referenced_tables=tuple(sorted(source.ref for source in compiled.sources.by_key.values())),
        referenced_views=tuple(sorted(compiled.sources.views)),
        target=ref,
        ddl_operation=operation,
    )
    return Prepared(plan, Scan(), run)


def _qualified_text(session: Session, query: exp.Expr) -> str:
    """Return the view's query; names without a dataset mean the default dataset of who creates it."""
    inner = query.unnest() if isinstance(query, exp.Subquery) else query
    if session.ctx.default_dataset is None:
        return str(inner.sql(dialect="bigquery"))
    copied = inner.copy()
    ctes = {cte.alias.lower() for cte in copied.find_all(exp.CTE)}
    for table in copied.find_all(exp.Table):
        if not table.db and table.name.lower() not in ctes:
            project, dataset = session.ctx.default_dataset
            table.set("db", exp.to_identifier(dataset, quoted=True))
            table.set("catalog", exp.to_identifier(project, quoted=True))
    return str(copied.sql(dialect="bigquery"))


def prepare_drop(session: Session, tree: exp.Drop) -> Prepared:
    kind = str(tree.args.get("kind")).upper()
    names = tree.args.get("tables") or [tree.this]
    if len(names) != 1 or names[0] is None or kind not in {"TABLE", "VIEW", "SCHEMA"}:
        raise NotSupported(f"DROP {kind}.")
    lenient = bool(tree.args.get("exists"))
    if kind == "SCHEMA":
        return _drop_schema(session, tree, names[0], lenient=lenient)
    ref = session.resolver().ref(names[0])
    if not lenient:
        info = session.catalog.find(ref).info
        if info.type != kind:
            raise QueryInvalid(f"Cannot drop {ref} as a {kind}: it is a {info.type}")

    def run() -> Outcome:
        if session.catalog.exists(ref):
            session.storage.drop(session.cursor, session.catalog.remove(ref))
        return Outcome()

    return Prepared(Plan(f"DROP_{kind}", target=ref, ddl_operation="DROP"), Scan(), run)


def _drop_schema(session: Session, tree: exp.Drop, name: exp.Expr, *, lenient: bool) -> Prepared:
    project, dataset = name.args.get("catalog"), name.args.get("db") or name.this
    key = (project.name if project else session.ctx.project, dataset.name)

    def run() -> Outcome:
        try:
            gone = session.catalog.remove_dataset(*key, delete_contents=bool(tree.args.get("cascade")))
        except NotFound:
            if not lenient:
                raise
            return Outcome()
        for ref in gone:
            session.storage.drop(session.cursor, ref)
        return Outcome()

    return Prepared(Plan("DROP_SCHEMA", target_dataset=key, ddl_operation="DROP"), Scan(), run)
