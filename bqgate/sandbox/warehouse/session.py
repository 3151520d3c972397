"""Carry one statement's surroundings: who asks, the parameters, the cursor, the names in sight.

Made by the Warehouse for a plan or an execution; the statement rooms (selecting, changing, defining, scripts) compile
and scan through it. One session is used by one thread and closes its cursor at the end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import duckdb
from sqlglot import exp
from sqlglot.errors import SqlglotError

from bqgate.sandbox.warehouse.catalog import Catalog, Found
from bqgate.sandbox.warehouse.compiling import Compiled, compile_query
from bqgate.sandbox.warehouse.complaints import not_followed
from bqgate.sandbox.warehouse.datatypes import standard_type
from bqgate.sandbox.warehouse.information_schema import InformationSchema
from bqgate.sandbox.warehouse.lowering import fix_time
from bqgate.sandbox.warehouse.names import Resolver, Source, Sources
from bqgate.sandbox.warehouse.parameters import Binding, bind, read_parameters
from bqgate.sandbox.warehouse.plan import Plan, QueryContext
from bqgate.sandbox.warehouse.scanning import Scan, scan
from bqgate.sandbox.warehouse.sizes import TableSizes
from bqgate.sandbox.warehouse.storage import Storage
from bqgate.sandbox.warehouse.tables import TableRef


@dataclass
class Session:
    """The surroundings of one statement.

    Attributes:
        dry_run: Parameters that are missing are reported instead of refused.
        variables: Values of a script's variables, by lower-case name.
        temporary: Temporary tables of a script, by name.
    """

    catalog: Catalog
    storage: Storage
    information_schema: InformationSchema
    cursor: duckdb.DuckDBPyConnection
    ctx: QueryContext
    dry_run: bool
    binding: Binding
    variables: dict[str, exp.Expr] = field(default_factory=dict)
    temporary: dict[str, TableRef] = field(default_factory=dict)
    deterministic: bool = True

    def resolver(self) -> Resolver:
        ctx = self.ctx
        return Resolver(
            self.catalog, ctx.project, ctx.default_dataset, self.information_schema.describe, self.temporary
        )

    def compile(self, tree: exp.Expr, *, unique_names: bool = True, with_rowid: bool = False) -> Compiled:
        """Return a query compiled in these surroundings; the tree is not changed.

        `with_rowid` gives tables the pseudo-column ROWID, by which DML finds its rows again.
        """
        sources = Sources()
        resolved = self.resolver().resolve(tree.copy(), sources)
        for source in sources.virtual:
            self.cursor.register(source.key[1], self.information_schema.rows(source.ref, self.ctx.user_email))
        types = {f.name.lower(): standard_type(f) for s in sources.by_key.values() for f in s.schema}
        resolved = self._put_variables(resolved, types)
        resolved = bind(resolved, self.binding, types)
        resolved, deterministic = fix_time(resolved, self.ctx.now, self.ctx.user_email)
        self.deterministic = self.deterministic and deterministic and not sources.virtual
        return compile_query(self.cursor, resolved, sources, unique_names=unique_names, with_rowid=with_rowid)

    def _put_variables(self, tree: exp.Expr, types: dict[str, str]) -> exp.Expr:
        for column in list(tree.find_all(exp.Column)):
            value = self.variables.get(column.name.lower())
            if value is not None and not column.table and column.name.lower() not in types:
                fresh: exp.Expr = exp.Paren(this=value.copy())
                if column is tree:
                    return fresh
                if isinstance(column.parent, exp.Select):
                    fresh = exp.alias_(fresh, column.name, quoted=True)
                column.replace(fresh)
        return tree

    def scan(self, compiled: Compiled) -> Scan:
        """Return what a compiled query reads."""
        try:
            return scan(self.cursor, compiled, self.sizes_of)
        except SqlglotError as error:
            raise not_followed() from error

    def sizes_of(self, source: Source) -> TableSizes:
        assert source.found is not None
        return self.sizes(source.found)

    def sizes(self, found: Found) -> TableSizes:
        return self.storage.sizes(self.cursor, found)

    def plan(self, statement_type: str, compiled: Compiled, scanned: Scan) -> Plan:
        """Return the plan of a statement around a compiled query."""
        return Plan(
            statement_type=statement_type,
            schema=compiled.schema,
            bytes_processed=scanned.bytes_before,
            bytes_billed_if_run=scanned.billed_before,
            accuracy=scanned.accuracy,
            referenced_tables=tuple(sorted(scanned.before)),
            referenced_views=tuple(sorted(compiled.sources.views)),
            deterministic=statement_type == "SELECT" and self.deterministic,
            data_version=data_version(compiled.sources),
            undeclared_parameters=tuple(self.binding.undeclared.values()),
        )


def data_version(sources: Sources) -> str:
    """Return a text that changes when a table that a query reads has changed."""
    versions = sorted(f"{s.found.stored}@{s.found.info.version}" for s in sources.stored if s.found)
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:32]


def open_session(
    catalog: Catalog,
    storage: Storage,
    information_schema: InformationSchema,
    ctx: QueryContext,
    *,
    dry_run: bool,
) -> Session:
    """Return a session with a fresh cursor; the caller closes the cursor."""
    binding = read_parameters(ctx.parameters, lenient=dry_run)
    return Session(catalog, storage, information_schema, storage.cursor(), ctx, dry_run, binding)
