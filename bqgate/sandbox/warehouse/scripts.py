"""Run scripts: statements one after the other, with variables and temporary tables.

The Warehouse dispatches here when a text has several statements, or a DECLARE. DECLARE, SET of one variable, BEGIN …
END, and everything that runs alone are known; IF, loops, CALL and transactions were refused by the parser.

Charging (https://cloud.google.com/bigquery/docs/multi-statement-queries): every executed statement is a child with its
own bill, the parent is their sum, and what ran before an error stays billed. `maximum_bytes_billed` is the sandbox's
reading of an undocumented point: it caps the running total, so a statement is refused when what ran plus its own
estimate is above it. A dry run adds up statements until the first one that defines something, and says LOWER_BOUND if
it stopped there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from sqlglot import exp

from bqgate.sandbox.warehouse.catalog import Catalog
from bqgate.sandbox.warehouse.datatypes import field_from_sql
from bqgate.sandbox.warehouse.errors import BytesBilledLimitExceeded, NotSupported, QueryInvalid, WarehouseError
from bqgate.sandbox.warehouse.parameters import literal_from_cell
from bqgate.sandbox.warehouse.parsing import Statement
from bqgate.sandbox.warehouse.plan import Accuracy, Plan, Result
from bqgate.sandbox.warehouse.prepared import Prepared
from bqgate.sandbox.warehouse.rows import no_rows
from bqgate.sandbox.warehouse.session import Session
from bqgate.sandbox.warehouse.storage import Storage
from bqgate.sandbox.warehouse.tables import DatasetInfo, TableRef

Prepare = Callable[[Session, exp.Expr], Prepared]
Run = Callable[[Prepared, str], Result]


def is_script(statements: Sequence[Statement]) -> bool:
    """Tell whether a text is a script rather than one statement."""
    return len(statements) > 1 or isinstance(statements[0].tree, (exp.Declare, exp.Set))


def plan_script(session: Session, statements: Sequence[Statement], prepare: Prepare) -> Plan:
    """Return what a dry run can know of a script."""
    plans: list[Plan] = []
    accuracy: Accuracy = "PRECISE"
    for statement in statements:
        if isinstance(statement.tree, (exp.Declare, exp.Set)):
            _assume_variables(session, statement.tree)
            accuracy = "UPPER_BOUND"
            continue
        if isinstance(statement.tree, (exp.Create, exp.Drop, exp.Alter)):
            accuracy = "LOWER_BOUND"
            break
        plans.append(prepare(session, statement.tree).plan)
    return Plan(
        "SCRIPT",
        bytes_processed=sum(plan.bytes_processed for plan in plans),
        bytes_billed_if_run=sum(plan.bytes_billed_if_run for plan in plans),
        accuracy=accuracy,
        referenced_tables=tuple(sorted({ref for plan in plans for ref in plan.referenced_tables})),
        statements=tuple(plans),
        undeclared_parameters=tuple(session.binding.undeclared.values()),
    )


def _assume_variables(session: Session, tree: exp.Expr) -> None:
    """A dry run does not know what variables will be: NULL, which prunes nothing."""
    for name in _declared(tree) if isinstance(tree, exp.Declare) else []:
        session.variables[name] = exp.null()


def run_script(
    session: Session, statements: Sequence[Statement], prepare: Prepare, run: Run, cap: int | None
) -> Result:
    """Run the statements in order and return the parent."""
    children: list[Result] = []
    with_temporary = _TemporaryDataset(session.catalog, session.storage, session)
    try:
        with_temporary.create()
        for statement in statements:
            child = _run_one(session, statement, prepare, run, None if cap is None else cap - _billed(children), cap)
            if child is not None:
                children.append(child)
    except WarehouseError as error:
        error.children = tuple(children)
        raise
    finally:
        with_temporary.drop()
    return _parent(children)


def _run_one(
    session: Session, statement: Statement, prepare: Prepare, run: Run, left: int | None, cap: int | None
) -> Result | None:
    tree = statement.tree
    if isinstance(tree, exp.Declare):
        return _declare(session, tree, prepare, run)
    if isinstance(tree, exp.Set):
        return _set(session, tree, prepare, run)
    prepared = prepare(session, tree)
    if left is not None and prepared.plan.bytes_billed_if_run > left:
        assert cap is not None
        raise BytesBilledLimitExceeded(cap, cap - left + prepared.plan.bytes_billed_if_run)
    return run(prepared, statement.text)


def _declared(tree: exp.Declare) -> list[str]:
    return [name.name.lower() for item in tree.expressions for name in _names(item)]


def _names(item: exp.Expr) -> list[exp.Expr]:
    return item.this if isinstance(item.this, list) else [item.this]


def _declare(session: Session, tree: exp.Declare, prepare: Prepare, run: Run) -> Result | None:
    result = None
    for item in tree.expressions:
        kind, default = item.args.get("kind") or None, item.args.get("default") or None
        value: exp.Expr = exp.null()
        if default is not None:
            value, result = _evaluate(session, default, kind, prepare, run)
        elif kind is not None:
            value = exp.cast(exp.null(), kind.copy())
        for name in _names(item):
            session.variables[name.name.lower()] = value
    return result


def _set(session: Session, tree: exp.Set, prepare: Prepare, run: Run) -> Result | None:
    if len(tree.expressions) != 1 or not isinstance(tree.expressions[0].this, exp.EQ):
        raise NotSupported("SET of several variables.")
    assignment = tree.expressions[0].this
    if isinstance(assignment.this, exp.Tuple):
        raise NotSupported("SET of several variables.")
    name = assignment.this.name.lower()
    if name not in session.variables:
        raise QueryInvalid(f"Undeclared variable: {assignment.this.name}")
    known = session.variables[name]
    kind = known.args.get("to") if isinstance(known, exp.Cast) else None
    session.variables[name], result = _evaluate(session, assignment.expression, kind, prepare, run)
    return result


def _evaluate(
    session: Session, value: exp.Expr, kind: exp.DataType | None, prepare: Prepare, run: Run
) -> tuple[exp.Expr, Result | None]:
    """Compute a variable's value; an expression that reads tables is a child with a bill."""
    expression = value.copy() if kind is None else exp.cast(value.copy(), kind.copy())
    query = exp.Select(expressions=[exp.alias_(expression, "value")])
    prepared = prepare(session, query)
    result = run(prepared, value.sql(dialect="bigquery"))
    field = result.schema[0] if kind is None else field_from_sql("value", kind)
    cell = result.rows.page(0, 1, use_int64_timestamp=True)[0]["f"][0]["v"]
    found = literal_from_cell(field, cell)
    if not isinstance(found, exp.Cast) and kind is not None:
        found = exp.Cast(this=found, to=kind.copy())
    return found, result if prepared.scan.before else None


def _billed(children: Sequence[Result]) -> int:
    return sum(child.bytes_billed for child in children)


def _parent(children: Sequence[Result]) -> Result:
    last = next((child for child in reversed(children) if child.schema), None)
    plan = Plan(
        "SCRIPT",
        bytes_processed=sum(child.bytes_processed for child in children),
        bytes_billed_if_run=_billed(children),
        referenced_tables=tuple(sorted({ref for child in children for ref in child.plan.referenced_tables})),
        statements=tuple(child.plan for child in children),
    )
    return Result(
        plan,
        bytes_processed=plan.bytes_processed,
        bytes_billed=_billed(children),
        slot_ms=sum(child.slot_ms for child in children),
        wall_ms=sum(child.wall_ms for child in children),
        schema=last.schema if last else (),
        rows=last.rows if last else no_rows(),
        children=tuple(children),
    )


class _TemporaryDataset:
    """A hidden dataset for CREATE TEMP TABLE, gone at the script's end; "" in `temporary` names it."""

    def __init__(self, catalog: Catalog, storage: Storage, session: Session) -> None:
        self._catalog = catalog
        self._storage = storage
        self._session = session
        self._ref = TableRef(session.ctx.project, f"_script{uuid.uuid4().hex}", "")

    def create(self) -> None:
        ctx = self._session.ctx
        self._catalog.add_dataset(DatasetInfo(self._ref.project, self._ref.dataset, ctx.location, ctx.now))
        self._session.temporary[""] = self._ref

    def drop(self) -> None:
        for ref in self._catalog.remove_dataset(self._ref.project, self._ref.dataset, delete_contents=True):
            self._storage.drop(self._session.cursor, ref)
