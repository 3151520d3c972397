from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.sandbox.warehouse import Plan, QueryContext, Result, Warehouse

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)

Run = Callable[..., Result]
Values = Callable[..., list[list[Any]]]


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    """An empty warehouse with the dataset acme:d."""
    made = Warehouse(seed_examples=False, now=lambda: NOW)
    made.create_dataset("acme", "d")
    yield made
    made.close()


@pytest.fixture(scope="session")
def examples() -> Iterator[Warehouse]:
    """A warehouse with the example data; tests only read it."""
    made = Warehouse(now=lambda: NOW)
    yield made
    made.close()


def _context(**fields: Any) -> QueryContext:
    usual: dict[str, Any] = {"project": "acme", "now": NOW, "default_dataset": ("acme", "d")}
    return QueryContext(**(usual | fields))


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    """Execute a text in project acme with default dataset d."""

    def execute(sql: str, *, cap: int | None = None, **fields: Any) -> Result:
        return warehouse.execute(sql, _context(**fields), maximum_bytes_billed=cap)

    return execute


@pytest.fixture
def plan(warehouse: Warehouse) -> Callable[..., Plan]:
    """Dry-run a text in project acme with default dataset d."""
    return lambda sql, **fields: warehouse.plan(sql, _context(**fields))


@pytest.fixture
def values(run: Run) -> Values:
    """Execute a text and return its cells."""

    def cells(sql: str, **fields: Any) -> list[list[Any]]:
        return [[cell["v"] for cell in row["f"]] for row in run(sql, **fields).rows.page(0, 1000)]

    return cells


@pytest.fixture
def explain(examples: Warehouse) -> Callable[..., Plan]:
    """Dry-run a text over the example data."""
    return lambda sql, **fields: examples.plan(sql, _context(default_dataset=("acme", "nycflights13"), **fields))


@pytest.fixture
def query(examples: Warehouse) -> Run:
    """Execute a text over the example data."""

    def execute(sql: str, *, cap: int | None = None, **fields: Any) -> Result:
        ctx = _context(default_dataset=("acme", "nycflights13"), **fields)
        return examples.execute(sql, ctx, maximum_bytes_billed=cap)

    return execute
