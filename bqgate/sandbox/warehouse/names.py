"""Find out which table every name in a query means, and put views' queries in the place of their names.

The compiler calls `Resolver.resolve` on a parsed tree before columns are looked at. What leaves: the same tree with
every table named as it is stored, and the list of what it reads; or NotFound and QueryInvalid in BigQuery's words.

Naming rules: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#table_names. A table's name is
looked up among the CTEs in sight, then in the default dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlglot import exp

from bqgate.sandbox.warehouse.catalog import Catalog, Found
from bqgate.sandbox.warehouse.errors import NotSupported, QueryInvalid
from bqgate.sandbox.warehouse.parsing import parse
from bqgate.sandbox.warehouse.tables import Field, TableInfo, TableRef

VIEW_DEPTH = 16
_INFORMATION_SCHEMA = "INFORMATION_SCHEMA."


@dataclass(frozen=True)
class Source:
    """A stored table or an INFORMATION_SCHEMA view that a query reads, under the key it has in the tree."""

    key: tuple[str, str]
    ref: TableRef
    schema: tuple[Field, ...]
    found: Found | None = None


@dataclass
class Sources:
    """What one statement reads, by key; `virtual` are INFORMATION_SCHEMA views, `views` the logical ones on the way."""

    by_key: dict[tuple[str, str], Source] = field(default_factory=dict)
    views: set[TableRef] = field(default_factory=set)

    @property
    def virtual(self) -> list[Source]:
        return [source for source in self.by_key.values() if source.found is None]

    @property
    def stored(self) -> list[Source]:
        return [source for source in self.by_key.values() if source.found is not None]


@dataclass(frozen=True)
class Resolver:
    """Looks names up for one project and default dataset.

    Attributes:
        describe: Returns the schema of an INFORMATION_SCHEMA view, or raises.
        temporary: Temporary tables of the running script, by name.
    """

    catalog: Catalog
    project: str
    default_dataset: tuple[str, str] | None
    describe: Callable[[TableRef], tuple[Field, ...]]
    temporary: dict[str, TableRef] = field(default_factory=dict)

    def ref(self, table: exp.Table) -> TableRef:
        """Return the full name of a table as the text means it."""
        name = table.name
        catalog, dataset = table.catalog, table.db
        if name.startswith(_INFORMATION_SCHEMA):
            return self._information_schema(catalog, dataset, name)
        if "." in name and not dataset:
            parts = name.split(".")
            dataset, name = parts[-2], parts[-1]
            catalog = ".".join(parts[:-2])
        if not dataset and name in self.temporary:
            return self.temporary[name]
        if not dataset:
            if self.default_dataset is None:
                raise QueryInvalid(
                    f'Table "{name}" must be qualified with a dataset (e.g. dataset.table).', location=name
                )
            return TableRef(*self.default_dataset, name)
        return TableRef(catalog or self.project, dataset, name)

    def _information_schema(self, catalog: str, dataset: str, name: str) -> TableRef:
        if not dataset and not catalog and self.default_dataset is not None and "SCHEMATA" not in name:
            return TableRef(*self.default_dataset, name)
        return TableRef(catalog or self.project, dataset, name)

    def resolve(self, tree: exp.Expr, sources: Sources, depth: int = 0) -> exp.Expr:
        """Replace every table's name under a tree; the tree itself is changed and returned."""
        if depth > VIEW_DEPTH:
            raise QueryInvalid(f"Too many nested views; the maximum is {VIEW_DEPTH}")
        for table in list(tree.find_all(exp.Table)):
            if not _is_cte(table) and not _is_correlated(table) and isinstance(table.this, exp.Identifier):
                self._replace(table, sources, depth)
        return tree

    def _replace(self, table: exp.Table, sources: Sources, depth: int) -> None:
        ref = self.ref(table)
        if "*" in ref.table:
            raise NotSupported("wildcard tables.")
        if ref.table.upper() == "__TABLES__":
            raise NotSupported("__TABLES__; use INFORMATION_SCHEMA.TABLES.")
        alias = exp.TableAlias(this=exp.to_identifier((table.alias or ref.table.split(".")[-1]).lower(), quoted=True))
        if ref.table.startswith(_INFORMATION_SCHEMA):
            source = Source(("", f"virtual_{len(sources.by_key)}"), ref, self.describe(ref))
        else:
            found = self.catalog.find(ref)
            if found.info.view_query is not None:
                sources.views.add(ref)
                inner = self._view(found.info, sources, depth)
                table.replace(exp.Subquery(this=inner, alias=alias))
                return
            source = Source((f"{found.stored.project}:{ref.dataset}", ref.table), ref, found.info.schema, found)
        sources.by_key.setdefault(source.key, source)
        fresh = table.copy()
        fresh.set("this", exp.to_identifier(source.key[1], quoted=True))
        fresh.set("db", exp.to_identifier(source.key[0], quoted=True) if source.key[0] else None)
        fresh.set("catalog", None)
        fresh.set("alias", alias)
        table.replace(fresh)

    def _view(self, info: TableInfo, sources: Sources, depth: int) -> exp.Expr:
        assert info.view_query is not None
        inside = replace(self, project=info.ref.project, default_dataset=None)
        tree = parse(info.view_query)[0].tree
        return inside.resolve(tree, sources, depth + 1)


def _is_cte(table: exp.Table) -> bool:
    """Tell whether a bare name is that of a CTE in sight."""
    if table.db:
        return False
    name = table.name.lower()
    inside: exp.Expr | None = None
    node: exp.Expr | None = table
    while node is not None:
        if isinstance(node, exp.CTE):
            inside = node
        clause = node if isinstance(node, exp.With) else node.args.get("with_")
        if isinstance(clause, exp.With) and any(cte.alias.lower() == name for cte in _visible(clause, inside)):
            return True
        node = node.parent
    return False


def _visible(clause: exp.With, inside: exp.Expr | None) -> list[exp.Expr]:
    ctes = list(clause.expressions)
    if inside in ctes and not clause.args.get("recursive"):
        return ctes[: next(i for i, cte in enumerate(ctes) if cte is inside)]
    return ctes


def _is_correlated(table: exp.Table) -> bool:
    """Tell whether `t.items` in a FROM clause means an array of the table t beside it."""
    first = table.catalog or table.db
    select = table.find_ancestor(exp.Select)
    if not first or select is None or not isinstance(table.parent, exp.Join):
        return False
    return any(
        other is not table and other.alias_or_name.lower() == first.lower()
        for clause in [select.args.get("from_"), *(select.args.get("joins") or [])]
        if clause is not None and isinstance(other := clause.this, (exp.Table, exp.Subquery, exp.Unnest))
    )
