"""Hold a statement that is planned and ready to run.

The statement rooms return one; the Warehouse shows its plan, or checks the cap and runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bqgate.sandbox.warehouse.plan import DmlStats, Plan, RowSource
from bqgate.sandbox.warehouse.rows import no_rows
from bqgate.sandbox.warehouse.scanning import Scan


@dataclass(frozen=True)
class Outcome:
    """What running gave."""

    rows: RowSource = field(default_factory=no_rows)
    dml: DmlStats | None = None


@dataclass(frozen=True)
class Prepared:
    """A plan, its price, and the deed."""

    plan: Plan
    scan: Scan
    run: Callable[[], Outcome]
