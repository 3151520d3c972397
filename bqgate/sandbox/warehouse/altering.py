"""Prepare ALTER TABLE and ALTER VIEW: options are set, columns are added.

The Warehouse dispatches here. ALTER costs nothing
(https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_table_set_options_statement
and …#alter_table_add_column_statement). Other changes are refused.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import cast

from sqlglot import exp

from bqgate.sandbox.warehouse.datatypes import field_from_sql
from bqgate.sandbox.warehouse.defining import options_of
from bqgate.sandbox.warehouse.errors import NotFound, NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.plan import Plan
from bqgate.sandbox.warehouse.prepared import Outcome, Prepared
from bqgate.sandbox.warehouse.scanning import Scan
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.tables import Field, TableInfo


def prepare_alter(session: Session, tree: exp.Alter) -> Prepared:
    kind = str(tree.args.get("kind")).upper()
    if kind not in {"TABLE", "VIEW"}:
        raise NotSupported(f"ALTER {kind}.")
    ref = session.resolver().ref(tree.this)
    plan = Plan(f"ALTER_{kind}", target=ref, ddl_operation="ALTER")
    try:
        info = session.catalog.find(ref).info
    except NotFound:
        if not tree.args.get("exists"):
            raise
        return Prepared(replace(plan, ddl_operation="SKIP"), Scan(), Outcome)
    if info.type != kind:
        raise QueryInvalid(f"ALTER {kind} cannot be used on {ref}: it is a {info.type}")
    stored = session.catalog.writable(ref)
    altered = info
    for action in tree.args["actions"]:
        if isinstance(action, exp.AlterSet):
            altered = _with_options(session, altered, action)
        elif isinstance(action, exp.ColumnDef) and kind == "TABLE":
            altered = replace(altered, schema=(*altered.schema, *_added(altered, action)))
        else:
            raise NotSupported(f"ALTER {kind} with {action.key.upper()}.")

    def run() -> Outcome:
        session.storage.add_columns(session.cursor, stored, altered.schema[len(info.schema) :])
        session.catalog.put(stored, altered)
        return Outcome()

    return Prepared(plan, Scan(), run)


def _with_options(session: Session, info: TableInfo, action: exp.AlterSet) -> TableInfo:
    """Set the options that are named and leave the others; OPTIONS() names none."""
    properties = [part for group in action.expressions if group is not None for part in group.expressions]
    options = options_of(session, properties)
    if "description" in options:
        info = replace(info, description=str(options["description"]))
    if "expiration_timestamp" in options:
        info = replace(info, expires_at=cast("dt.datetime", options["expiration_timestamp"]))
    return info


def _added(info: TableInfo, column: exp.ColumnDef) -> tuple[Field, ...]:
    field = field_from_sql(column.name, column.args["kind"])
    if any(field.name.lower() == known.name.lower() for known in info.schema):
        if column.args.get("exists"):
            return ()
        raise QueryInvalid(f"Column already exists: {field.name}")
    if column.args.get("constraints"):
        raise NotSupported("constraints, options and defaults of added columns.")
    return (field,)
