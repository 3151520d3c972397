"""Write struct constructors out, so that every struct has its fields' names and types where it is made.

The compiler calls `write_out` before names are looked up. `STRUCT<a INT64>(1)` and `ARRAY<STRUCT<a INT64>>[STRUCT(1)]`
say names and types apart from the values; `[STRUCT(1 AS a), STRUCT(2)]` names the fields of its first element only;
`(1, 'x')` is a struct without names, which a record of the REST API shows as `_field_1`, `_field_2`. DuckDB casts
structs by name and would leave NULLs behind. `fold_value_tables` does the same for SELECT AS STRUCT, once columns are
known.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#struct_type
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlglot import exp

from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid

_ELEMENT = "_element"
_STRUCTS = (exp.Struct, exp.Tuple)
# Where a list in parentheses is a value; elsewhere it is a list of operands, as in IN and GROUP BY.
_VALUE_PLACES = (exp.Select, exp.Alias, exp.Array, exp.Struct, exp.PropertyEQ, exp.Coalesce, exp.If, exp.Case)


def write_out(tree: exp.Expr, scalar_arrays: Collection[str] = ()) -> exp.Expr:
    """Return the tree with its constructors written out; the argument is used up.

    Args:
        tree: A query or an expression.
        scalar_arrays: Lower-case names of columns that are arrays of other things than structs.
    """
    for cast in list(tree.find_all(exp.Cast, exp.TryCast)):
        if cast.to.this in {exp.DType.STRUCT, exp.DType.ARRAY}:
            fresh = typed(cast.this, _named(cast.to))
            if cast is tree:
                return fresh
            cast.replace(fresh)
    for array in list(tree.find_all(exp.Array)):
        _name_alike(array)
    for node in list(tree.find_all(exp.Tuple)):
        if isinstance(node.parent, _VALUE_PLACES):
            node.replace(_struct(_values(node), [""] * len(node.expressions)))
    for unnest in list(tree.find_all(exp.Unnest)):
        if isinstance(unnest.parent, (exp.From, exp.Join)):
            _name_columns(unnest, scalar_arrays)
    return tree


def typed(value: exp.Expr, kind: exp.DataType) -> exp.Expr:
    """Return a value as one of that type: constructors get its names and types, all else a cast."""
    if kind.this == exp.DType.STRUCT and isinstance(value, _STRUCTS):
        values = _values(value)
        if len(values) != len(kind.expressions):
            raise QueryInvalid(
                f"STRUCT type has {len(kind.expressions)} fields but constructor call has {len(values)} fields"
            )
        parts = [typed(each, field.args["kind"]) for each, field in zip(values, kind.expressions, strict=True)]
        return _struct(parts, [field.name for field in kind.expressions])
    if kind.this == exp.DType.STRUCT and isinstance(value.unnest(), exp.Literal):
        given = "STRING" if value.unnest().is_string else "INT64"
        raise QueryInvalid(f"Array element type {given} does not coerce to {kind.sql(dialect='bigquery')}")
    if kind.this == exp.DType.ARRAY and isinstance(value, exp.Array) and not value.find(exp.Query):
        items = [typed(each, kind.expressions[0]) for each in value.expressions]
        return exp.Cast(this=exp.Array(expressions=items), to=kind.copy())
    return exp.Cast(this=value.copy(), to=kind.copy())


def _named(kind: exp.DataType) -> exp.DataType:
    """Return a type with names for the fields that have none."""
    fresh = kind.copy()
    for struct in [part for part in fresh.find_all(exp.DataType) if part.this == exp.DType.STRUCT]:
        fields = [
            part
            if isinstance(part, exp.ColumnDef)
            else exp.ColumnDef(this=exp.to_identifier(f"_field_{number}"), kind=part.copy())
            for number, part in enumerate(struct.expressions, 1)
        ]
        struct.set("expressions", fields)
    return fresh


def _values(constructor: exp.Expr) -> list[exp.Expr]:
    found = []
    for part in constructor.expressions:
        inner = part.expression if isinstance(part, exp.PropertyEQ) else part.unalias()
        found.append(inner.copy())
    return found


def own_name(part: exp.Expr) -> str:
    """Return the name that a part of a struct constructor has by itself."""
    if isinstance(part, exp.PropertyEQ):
        return str(part.this.name)
    return str(part.alias_or_name) if isinstance(part, (exp.Alias, exp.Column, exp.Dot)) else ""


def _struct(values: Sequence[exp.Expr], names: Sequence[str]) -> exp.Struct:
    pairs = zip(values, names, strict=True)
    return exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name or f"_field_{number}", quoted=True), expression=value)
            for number, (value, name) in enumerate(pairs, 1)
        ]
    )


def _name_alike(array: exp.Array) -> None:
    """Give all structs of an array the names of the first one's fields."""
    items = array.expressions
    if len(items) < 2 or not all(isinstance(item, _STRUCTS) for item in items):
        return
    names = [own_name(part) for part in items[0].expressions]
    for item in items:
        if len(item.expressions) != len(names):
            raise QueryInvalid("Array elements of types STRUCT do not have a common supertype")
        item.replace(_struct(_values(item), names))


def _name_columns(unnest: exp.Unnest, scalar_arrays: Collection[str]) -> None:
    """Say which columns an UNNEST of literals has: the fields of its structs, or f0_ when nobody named it."""
    source = unnest.expressions[0] if unnest.expressions else None
    while isinstance(source, exp.Paren):
        source = source.this
    fields = _fields_of(source)
    if fields and source is not None and source.find(exp.Column) is None:
        unnest.replace(_as_table(unnest, fields))
    elif unnest.args.get("alias") is None and _is_plain(source, scalar_arrays):
        unnest.set("alias", exp.TableAlias(columns=[exp.to_identifier("f0_", quoted=True)]))


def _fields_of(source: exp.Expr | None) -> list[str]:
    """Return the names of the fields of an array's elements, where the text tells them."""
    if isinstance(source, exp.Cast) and source.to.this == exp.DType.ARRAY:
        item = source.to.expressions[0]
        return [field.name for field in item.expressions] if item.this == exp.DType.STRUCT else []
    items = source.expressions if isinstance(source, exp.Array) else []
    if not items or not isinstance(items[0], exp.Struct):
        return []
    return [own_name(part) for part in items[0].expressions] if all(map(own_name, items[0].expressions)) else []


def _is_plain(source: exp.Expr | None, scalar_arrays: Collection[str]) -> bool:
    """Tell whether the elements of an array are no structs."""
    if isinstance(source, exp.Column):
        return source.name.lower() in scalar_arrays
    if isinstance(source, exp.Cast):
        return source.to.this == exp.DType.ARRAY and not _fields_of(source)
    if isinstance(source, exp.Array):
        return source.find(exp.Query) is None and not any(
            isinstance(item, (*_STRUCTS, exp.Column)) for item in source.expressions
        )
    return isinstance(source, (exp.GenerateSeries, exp.GenerateDateArray, exp.Split))


def _as_table(unnest: exp.Unnest, fields: Sequence[str]) -> exp.Subquery:
    """Return a derived table of the structs' fields."""
    offset, alias = unnest.args.get("offset"), unnest.args.get("alias")
    columns: list[exp.Expr] = [
        exp.alias_(exp.column(name, table=_ELEMENT), name, quoted=True) for name in dict.fromkeys(fields)
    ]
    if offset:
        columns.append(exp.column(offset.name if isinstance(offset, exp.Identifier) else "offset"))
    inner = unnest.copy()
    inner.set("explode_array", None)
    inner.set("alias", exp.TableAlias(columns=[exp.to_identifier(_ELEMENT, quoted=True)]))
    names = alias.args.get("columns") or [alias.this] if isinstance(alias, exp.TableAlias) else []
    select = exp.Select(expressions=columns, from_=exp.From(this=inner))
    return exp.Subquery(this=select, alias=exp.TableAlias(this=names[0].copy()) if names else None)


def fold_value_tables(tree: exp.Expr, spellings: Mapping[str, str]) -> bool:
    """Make one struct of the columns of every SELECT AS STRUCT whose rows are values.

    A SELECT AS STRUCT that stands as a table already has the columns that its rows' fields amount to.

    Args:
        tree: A query whose columns are resolved; changed in place.
        spellings: Column names as they are written, by their lower-case form.

    Returns:
        Whether the outermost SELECT is AS VALUE.
    """
    outermost = False
    for select in list(tree.find_all(exp.Select)):
        kind = select.args.get("kind")
        select.set("kind", None)
        if kind == "STRUCT" and not _is_table(select):
            _fold(select, spellings)
        if kind == "VALUE" and _is_table(select):
            if select is not tree:
                raise NotSupported("SELECT AS VALUE as a table in a query.")
            outermost = True
    return outermost


def _is_table(select: exp.Select) -> bool:
    node = select.parent
    while isinstance(node, (exp.Subquery, exp.SetOperation)):
        node = node.parent
    return node is None or isinstance(node, (exp.CTE, exp.From, exp.Join))


def _fold(select: exp.Select, spellings: Mapping[str, str]) -> None:
    columns = {item.alias_or_name: item.unalias() for item in select.expressions}
    order = select.args.get("order")
    for column in list(order.find_all(exp.Column)) if order is not None else []:
        if not column.table and column.name in columns:
            column.replace(columns[column.name].copy())
    names = [spelled(item, spellings) for item in select.expressions]
    struct = _struct([item.unalias().copy() for item in select.expressions], names)
    select.set("expressions", [exp.alias_(struct, "value", quoted=True)])


def spelled(item: exp.Expr, spellings: Mapping[str, str]) -> str:
    """Return a column's name as the text or its table spells it."""
    name = item.alias_or_name
    inner = item.unalias()
    marks = [item.args.get("alias"), inner.this if isinstance(inner, exp.Column) else None]
    for mark in marks:
        if isinstance(mark, exp.Identifier) and SPELLED in mark.meta:
            return str(mark.meta[SPELLED])
    return spellings.get(name, name)


# Under this key an identifier that was folded to lower case keeps what was written.
SPELLED = "spelled"
