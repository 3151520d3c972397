"""Read from a query's text what decides its cost: its tables, the columns that filter them, stars and joins.

Called by query_advisor in a thread, for refused queries alone; calls sqlglot. Pure. What leaves: a QueryShape, or None
for whatever cannot be read: no text is quoted in an error or a log. Reading is an approximation and errs on the side of
seeing a filter where there is none: wrong advice is worse than none.

A filter prunes partitions when it compares the bare column with a constant
(https://cloud.google.com/bigquery/docs/querying-partitioned-tables#query_an_ingestion-time_partitioned_table).
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.parsers.bigquery import BigQueryParser

# Longer texts are machines' work, and a machine does not read advice. 10,000 characters parse in about 0.2 s.
SQL_CHARS_MAX = 10_000
# sqlglot tries some readings one after the other, so that each STRUCT inside a STRUCT doubles the time: text of 200
# characters may take minutes, and a thread cannot be stopped. Queries that people write take below 4 moves a token.
_MOVES_PER_TOKEN = 20
_MOVES_MORE = 2_000

# What sqlglot raises for text that it cannot read, beside its own errors: its builders trip over missing arguments.
_UNREADABLE = (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError)
_COMPARISONS = (exp.EQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
# It logs the text of what it does not know.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_DIALECT = sqlglot.Dialect.get_or_raise("bigquery")

Column = tuple[str, str]  # (the table's alias in small letters, "" where none is written; the name in small letters)


@dataclass(frozen=True, slots=True)
class TableUse:
    """One mention of a table. `path` is what was written, up to (project, dataset, table), never quoted.

    `pruning` are the columns, in small letters, that are compared bare with constants where that may filter this table;
    `wrapped` are the others of its conditions.
    """

    path: tuple[str, ...]
    alias: str
    pruning: frozenset[str]
    wrapped: frozenset[str]

    @property
    def name(self) -> str:
        """As people write it."""
        return ".".join(self.path)

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all tables whose names begin so."""
        return self.path[-1].endswith("*")


@dataclass(frozen=True, slots=True)
class QueryShape:
    """What a query looks like. `starred` and `crossed` are tables' names as they were written."""

    uses: tuple[TableUse, ...]
    starred: tuple[str, ...]
    crossed: tuple[tuple[str, str], ...]
    has_limit: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter to add to one mention of a table: column >= 'value', which BigQuery casts to the column's type."""

    use: TableUse
    column: str
    value: str


def read_shape(sql: str) -> QueryShape | None:
    """What a text of one query says. None: it is too long, no query, several statements, or cannot be read."""
    try:
        query = _query_in(sql)
        return None if query is None else _shape(query)
    except _UNREADABLE:
        return None


def with_conditions(sql: str, conditions: tuple[Condition, ...]) -> str | None:
    """The query with more filters, to be estimated and never to be run. None where it cannot be written."""
    by_place = {(condition.use.path, condition.use.alias): condition for condition in conditions}
    try:
        query = _query_in(sql)
        if query is None:
            return None
        inner = _named_queries(query)
        for select in list(query.find_all(exp.Select)):
            for table in list(_tables_of(select, inner)):
                condition = by_place.get((_path(table), table.alias_or_name))
                if condition is not None:
                    column = exp.column(condition.column, table=table.alias_or_name, quoted=True)
                    select.where(exp.GTE(this=column, expression=exp.Literal.string(condition.value)), copy=False)
        return query.root().sql(dialect="bigquery")
    except _UNREADABLE:
        return None


class _BoundedParser(BigQueryParser):
    """sqlglot's parser, which gives up after so many moves: it goes forward and back by this one method."""

    moves_left = 0

    def _advance(self, times: int = 1) -> None:
        self.moves_left -= 1
        if self.moves_left < 0:
            raise SqlglotError("too many readings")
        super()._advance(times)


def _parsed(sql: str) -> list[exp.Expr | None]:
    tokens = _DIALECT.tokenize(sql)
    parser = _BoundedParser(dialect=_DIALECT)
    parser.moves_left = _MOVES_PER_TOKEN * len(tokens) + _MOVES_MORE
    return parser.parse(tokens, sql)


def _query_in(sql: str) -> exp.Query | None:
    if len(sql) > SQL_CHARS_MAX:
        return None
    statements = [statement for statement in _parsed(sql) if statement is not None]
    if len(statements) != 1:
        return None
    statement = statements[0]
    inner = statement if isinstance(statement, exp.Query) else statement.args.get("expression")
    return inner if isinstance(inner, exp.Query) else None


def _shape(query: exp.Query) -> QueryShape:
    inner = _named_queries(query)
    selects = list(query.find_all(exp.Select))
    terms = [_terms(select) for select in selects]
    pruning = [frozenset(column for term in own for column in _pruning(term)) for own in terms]
    # A filter around a subquery reaches the tables in it, whatever the subquery is called.
    spread = Counter(name for columns in pruning for name in {name for _, name in columns})
    uses: list[TableUse] = []
    crossed: list[tuple[str, str]] = []
    for select, own_terms, own_pruning in zip(selects, terms, pruning, strict=True):
        own_names = {name for _, name in own_pruning}
        elsewhere = {name for name, count in spread.items() if count > (name in own_names)}
        tables = list(_tables_of(select, inner))
        for table in tables:
            alias = table.alias_or_name.lower()
            pruned = elsewhere | {name for qualifier, name in own_pruning if qualifier in {"", alias}}
            wrapped = _mentioned(own_terms, alias) - pruned
            uses.append(TableUse(_path(table), table.alias_or_name, frozenset(pruned), frozenset(wrapped)))
        crossed.extend(_crossed(select, tables, own_terms))
    return QueryShape(
        uses=tuple(uses),
        starred=tuple(dict.fromkeys(_starred(query, inner, set()))),
        crossed=tuple(crossed),
        has_limit=query.args.get("limit") is not None,
    )


def _named_queries(query: exp.Query) -> Mapping[str, exp.Expr]:
    """The common table expressions, by name in small letters."""
    return {each.alias_or_name.lower(): each.this for each in query.root().find_all(exp.CTE)}


def _mentioned(terms: list[exp.Expr], alias: str) -> set[str]:
    columns = (column for term in terms for column in term.find_all(exp.Column))
    return {column.name.lower() for column in columns if column.table.lower() in {"", alias}}


def _tables_of(select: exp.Select, inner: Mapping[str, exp.Expr]) -> Iterator[exp.Table]:
    """The tables in FROM and JOIN that are read from storage: no common table expression, no array of a row."""
    rows: set[str] = set()
    around = select.parent_select
    while around is not None:
        rows |= {source.alias_or_name.lower() for source in _sources(around)}
        around = around.parent_select
    for source in _sources(select):
        path = _path(source) if isinstance(source, exp.Table) and source.name else ()
        is_array = len(path) > 1 and path[0].lower() in rows
        is_elsewhere = len(path) == 1 and path[0].lower() in inner
        is_listed = (
            bool(path) and "$" not in path[-1] and not any("INFORMATION_SCHEMA" in part.upper() for part in path)
        )
        if isinstance(source, exp.Table) and is_listed and not is_array and not is_elsewhere:
            yield source
        rows.add(source.alias_or_name.lower())


def _sources(select: exp.Select) -> Iterator[exp.Expr]:
    start = select.args.get("from_")
    if isinstance(start, exp.From):
        yield start.this
    for join in select.args.get("joins") or ():
        yield join.this


def _path(table: exp.Table) -> tuple[str, ...]:
    return tuple(part.name for part in table.parts)


def _terms(select: exp.Select) -> list[exp.Expr]:
    """The conditions that all hold at once: of WHERE, and of the joins."""
    where = select.args.get("where")
    conditions = [where.this] if isinstance(where, exp.Where) else []
    conditions += [join.args["on"] for join in select.args.get("joins") or () if join.args.get("on") is not None]
    return [term for condition in conditions for term in _conjuncts(condition)]


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    open_terms = [condition]
    while open_terms:
        term = open_terms.pop().unnest()
        if isinstance(term, exp.And):
            open_terms += [term.right, term.left]
        else:
            yield term


def _pruning(term: exp.Expr) -> frozenset[Column]:
    """The columns by which a condition can leave partitions out."""
    term = term.unnest()
    if isinstance(term, exp.And):
        return _pruning(term.left) | _pruning(term.right)
    if isinstance(term, exp.Or):
        return _pruning(term.left) & _pruning(term.right)
    if isinstance(term, _COMPARISONS):
        sides = ((term.left, term.right), (term.right, term.left))
        return frozenset(_key(one) for one, other in sides if isinstance(one, exp.Column) and _is_constant(other))
    if isinstance(term, exp.Between):
        parts = [term.args["low"], term.args["high"]]
    elif isinstance(term, exp.In) and term.expressions:
        parts = term.expressions
    elif isinstance(term, exp.Is):
        parts = [term.expression]
    else:
        return frozenset()
    is_bare = isinstance(term.this, exp.Column) and all(_is_constant(part) for part in parts)
    return frozenset({_key(term.this)}) if is_bare else frozenset()


def _key(column: exp.Column) -> Column:
    return column.table.lower(), column.name.lower()


def _is_constant(node: exp.Expr) -> bool:
    return node.find(exp.Column, exp.Query) is None


def _crossed(select: exp.Select, tables: list[exp.Table], terms: list[exp.Expr]) -> Iterator[tuple[str, str]]:
    """Tables joined to the one before them with nothing that compares the two."""
    linked: set[str] = set()
    for term in terms:
        columns = list(term.find_all(exp.Column))
        qualifiers = {column.table.lower() for column in columns}
        if "" in qualifiers and len(columns) > 1:
            return  # a column that may be anybody's
        if len(qualifiers) > 1:
            linked |= qualifiers
    joined = {id(join.this): join for join in select.args.get("joins") or ()}
    for before, table in pairwise(tables):
        join = joined.get(id(table))
        if join is None or join.args.get("using") or join.method or table.alias_or_name.lower() in linked:
            continue
        yield ".".join(_path(before)), ".".join(_path(table))


def _starred(query: exp.Expr, inner: Mapping[str, exp.Expr], seen: set[int]) -> Iterator[str]:
    """Tables of which the result has every column: a star inside counts only under a star outside."""
    query = query.unnest()
    if id(query) in seen:
        return
    seen.add(id(query))
    if isinstance(query, exp.SetOperation):
        yield from _starred(query.left, inner, seen)
        yield from _starred(query.right, inner, seen)
    if not isinstance(query, exp.Select):
        return
    stars = {each.table.lower() if isinstance(each, exp.Column) else "" for each in query.expressions if each.is_star}
    real = {id(table) for table in _tables_of(query, inner)}
    for source in _sources(query):
        if not stars & {"", source.alias_or_name.lower()}:
            continue
        if isinstance(source, exp.Table) and id(source) in real:
            yield ".".join(_path(source))
        elif isinstance(source, exp.Subquery):
            yield from _starred(source.this, inner, seen)
        elif source.name.lower() in inner:
            yield from _starred(inner[source.name.lower()], inner, seen)
