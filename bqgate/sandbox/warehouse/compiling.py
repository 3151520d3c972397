"""Turn one query text into what DuckDB runs and what the planner prices.

Called by the planner for SELECTs and for the queries inside DML and DDL. Order: parameters, table names, columns and
types, then lowering to DuckDB and binding there, which yields the schema. Nothing runs. What leaves: Compiled, or
QueryInvalid in BigQuery's words, or NotSupported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.errors import OptimizeError, SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify_columns import qualify_columns
from sqlglot.optimizer.qualify_tables import qualify_tables
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from bqgate.sandbox.warehouse.complaints import not_followed, translate_error
from bqgate.sandbox.warehouse.constructors import SPELLED, fold_value_tables, write_out
from bqgate.sandbox.warehouse.datatypes import duckdb_type, field_from_duckdb, is_null_type, quote, standard_type
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid, WarehouseError
from bqgate.sandbox.warehouse.lowering import lower
from bqgate.sandbox.warehouse.names import Sources
from bqgate.sandbox.warehouse.parsing import DIALECT, position
from bqgate.sandbox.warehouse.tables import Field


@dataclass(frozen=True)
class Compiled:
    """A query that DuckDB has bound.

    Attributes:
        sql: DuckDB's text; its columns have exactly the types that `schema` says.
        qualified: The GoogleSQL tree with every column resolved, for sizing.
        untyped: Columns of which nothing is known but NULL; an INSERT may put them anywhere.
    """

    sql: str
    schema: tuple[Field, ...]
    sources: Sources
    qualified: exp.Expr
    untyped: frozenset[str]


ROWID = "_file_name"  # one of GoogleSQL's pseudo-columns, so that `*` leaves it out; DuckDB's rowid stands for it


def qualify(tree: exp.Expr, sources: Sources, *, with_rowid: bool = False) -> tuple[exp.Expr, bool]:
    """Return the tree with aliases, columns and types resolved, and whether it is a SELECT AS VALUE.

    The argument is used up.
    """
    _fold_case(tree)
    mapping: dict[str, Any] = {}
    for source in sources.by_key.values():
        columns = {field.name.lower(): standard_type(field) for field in source.schema}
        if with_rowid:
            columns[ROWID] = "INT64"
        mapping.setdefault(source.key[0] or "main", {})[source.key[1]] = columns
    schema = MappingSchema(mapping, dialect=DIALECT, normalize=False)
    for table in tree.find_all(exp.Table):
        if not table.db and ("", table.name) in sources.by_key:
            table.set("db", exp.to_identifier("main", quoted=True))
    try:
        tree = qualify_tables(tree, dialect=DIALECT)
        _check_columns_of_tables(tree, sources)
        tree = qualify_columns(tree, schema, dialect=DIALECT)
        _check_columns(tree, sources)
        as_value = fold_value_tables(tree, _spellings(sources))
        tree = annotate_types(tree, schema, dialect=DIALECT)
    except OptimizeError as error:
        raise _refusal(str(error)) from error
    except SqlglotError as error:
        raise not_followed() from error
    _type_rows(tree, sources)
    return tree, as_value


def compile_query(
    cursor: duckdb.DuckDBPyConnection,
    tree: exp.Expr,
    sources: Sources,
    *,
    unique_names: bool = True,
    with_rowid: bool = False,
) -> Compiled:
    """Resolve, lower and bind a query whose tables are already named as stored."""
    if tree.find(exp.Pivot) is not None:
        raise NotSupported("PIVOT and UNPIVOT.")
    if any(not select.expressions for select in tree.find_all(exp.Select)):
        raise QueryInvalid("Syntax error: SELECT list must not be empty")
    names = _output_names(tree)
    qualified, as_value = qualify(write_out(tree, _scalar_arrays(sources)), sources, with_rowid=with_rowid)
    assert isinstance(qualified, exp.Query)
    original = _spellings(sources)
    shown = [names.get(i) or original.get(n.lower(), n) for i, n in enumerate(qualified.named_selects)]
    if unique_names:
        _refuse_duplicates(shown)
    sql = _duckdb_sql(qualified, with_rowid=with_rowid)
    internal = [f"c{i}" for i in range(len(shown))]
    wrapped = f"SELECT * FROM ({sql}) AS q({', '.join(internal)})" if internal else sql
    types = bind(cursor, wrapped).types
    if len(types) != len(shown):
        raise NotSupported("`*` in that place.")
    fields = tuple(field_from_duckdb(name, kind) for name, kind in zip(shown, types, strict=True))
    casts = [f"CAST({c} AS {duckdb_type(f)}) AS {quote(f.name)}" for c, f in zip(internal, fields, strict=True)]
    final = f"SELECT {', '.join(casts)} FROM ({sql}) AS q({', '.join(internal)})"
    untyped = frozenset(name for name, kind in zip(shown, types, strict=True) if is_null_type(kind))
    if as_value and fields[0].type == "RECORD" and fields[0].mode != "REPEATED":
        fields, whole = fields[0].fields, quote(fields[0].name)
        final = f"SELECT {', '.join(f'{whole}.{quote(f.name)}' for f in fields)} FROM ({final})"
    return Compiled(final, fields, sources, qualified, untyped)


def _duckdb_sql(qualified: exp.Expr, *, with_rowid: bool) -> str:
    lowered = qualified.copy()
    for table in lowered.find_all(exp.Table):
        if table.db == "main":
            table.set("db", None)  # INFORMATION_SCHEMA views are registered with the cursor, in no schema
    if with_rowid:
        for column in list(lowered.find_all(exp.Column)):
            if column.name == ROWID:
                column.replace(exp.column("rowid", table=column.table, quoted=True))
    try:
        return lower(lowered).sql(dialect="duckdb", identify=True)
    except SqlglotError as error:
        raise not_followed() from error


def _type_rows(tree: exp.Expr, sources: Sources) -> None:
    """Give a table's alias that stands for its rows the names of its columns as they are spelled."""
    for row in tree.find_all(exp.TableColumn):
        select = row.find_ancestor(exp.Select)
        for table in [] if select is None else select.find_all(exp.Table):
            known = sources.by_key.get((table.db if table.db != "main" else "", table.name))
            if known is not None and table.alias_or_name == row.name:
                columns = [
                    exp.ColumnDef(
                        this=exp.to_identifier(field.name),
                        kind=exp.DataType.build(standard_type(field), dialect=DIALECT),
                    )
                    for field in known.schema
                ]
                row.type = exp.DataType(this=exp.DType.STRUCT, expressions=columns, nested=True)


def _scalar_arrays(sources: Sources) -> set[str]:
    repeated = [f for source in sources.by_key.values() for f in source.schema if f.mode == "REPEATED"]
    return {f.name.lower() for f in repeated} - {f.name.lower() for f in repeated if f.type == "RECORD"}


def _spellings(sources: Sources) -> dict[str, str]:
    return {f.name.lower(): f.name for source in sources.by_key.values() for f in source.schema}


def bind(cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """Let DuckDB bind a query without running it; its complaints come out in BigQuery's words."""
    try:
        return cursor.sql(sql)
    except duckdb.Error as error:
        raise translate_error(error) from error


def _output_names(tree: exp.Expr) -> dict[int, str]:
    """Note the outermost columns' names as the text spells them, and name the nameless f0_, f1_, …."""
    while isinstance(tree, (exp.SetOperation, exp.Subquery)):
        tree = tree.this
    selects = list(tree.expressions) if isinstance(tree, exp.Select) else []
    starred = any(item.is_star for item in selects)
    nameless = 0
    names: dict[int, str] = {}
    for index, item in enumerate(selects):
        name = "" if item.is_star else _own_name(item)
        if not name and not item.is_star:
            name = f"f{nameless}_"
            nameless += 1
            item.replace(exp.alias_(item.copy(), name, quoted=True))
        if not starred:
            names[index] = name
    return names


def _own_name(item: exp.Expr) -> str:
    return str(item.alias_or_name) if isinstance(item, (exp.Alias, exp.Column, exp.Dot)) else ""


def _refuse_duplicates(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise QueryInvalid(
                "Duplicate column names in the result are not supported when a destination table is present. "
                f"Found duplicate(s): {name}"
            )
        seen.add(name.lower())


def _fold_case(tree: exp.Expr) -> None:
    """Columns and aliases are the same in any case; struct fields keep theirs."""
    for name in tree.find_all(exp.Identifier):
        if not isinstance(name.parent, (exp.Table, exp.PropertyEQ, exp.ColumnDef)) and not name.name.islower():
            name.meta[SPELLED] = name.name
            name.set("this", name.name.lower())
    for table in tree.find_all(exp.Table):
        if not table.db and isinstance(table.this, exp.Identifier):
            table.this.set("this", table.name.lower())


def _check_columns_of_tables(tree: exp.Expr, sources: Sources) -> None:
    """Refuse t.x where t is a table without x; sqlglot's own words for it have no position."""
    for scope in traverse_scope(tree):
        for column in scope.columns:
            source = scope.sources.get(column.table) if column.table else None
            if not isinstance(source, exp.Table) or isinstance(column.this, exp.Star):
                continue
            known = sources.by_key.get((source.db if source.db != "main" else "", source.name))
            if known and column.name.lower() not in {*(f.name.lower() for f in known.schema), ROWID}:
                raise QueryInvalid(f"Name {column.name} not found inside {column.table}{position(column.this)}")


def _check_columns(tree: exp.Expr, sources: Sources) -> None:
    for scope in traverse_scope(tree):
        if isinstance(scope.expression, exp.Select) and any(item.is_star for item in scope.expression.selects):
            raise NotSupported("SELECT * over that source; name the columns.")
        for column in scope.columns:
            if not column.table and not _is_output_name(column, scope.expression):
                known = [
                    1
                    for s in scope.sources.values()
                    if isinstance(s, exp.Table)
                    and (k := sources.by_key.get((s.db if s.db != "main" else "", s.name)))
                    and column.name.lower() in {f.name.lower() for f in k.schema}
                ]
                where = position(column)
                if len(known) > 1:
                    raise QueryInvalid(f"Column name {column.name} is ambiguous{where}")
                raise QueryInvalid(f"Unrecognized name: {column.name}{where}")
        if scope.is_root:
            for column in (c for c in scope.external_columns if not _is_output_name(c, scope.expression)):
                raise QueryInvalid(f"Unrecognized name: {column.table or column.name}{position(column)}")


def _is_output_name(column: exp.Column, query: exp.Expr) -> bool:
    """Tell whether a bare name means an output column, as it may in ORDER BY and after grouping."""
    if not isinstance(query, exp.Query) or column.table or column.name not in query.named_selects:
        return False
    node: exp.Expr = column
    while node.parent is not None and node.parent is not query:
        node = node.parent
    return node.arg_key in {"order", "group", "having", "qualify"}


def _refusal(message: str) -> WarehouseError:
    first = message.split("\n", maxsplit=1)[0].strip().rstrip(".")
    if (found := re.search(r"Unknown (?:column|table): (\S+)", first)) is not None:
        return QueryInvalid(f"Unrecognized name: {found.group(1)}")
    if (found := re.search(r"Ambiguous column '?(\w+)'?|Column '\"?(\w+)\"?' .*ambiguous", first)) is not None:
        return QueryInvalid(f"Column name {found.group(1) or found.group(2)} is ambiguous")
    return not_followed()
