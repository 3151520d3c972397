"""Describe spend over time: what is asked of the ledger, and the rows that it answers with.

Asked by the control plane, answered by a Ledger. Spend is charges and adjustments; refusals are none. A query counts in
the day in which its hold was placed, in its customer's time zone, as it counts in budgets; weeks are those of ISO 8601
and months those of these days. Amounts are nano-dollars.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class SpendPeriod(StrEnum):
    """Over which time a row adds up."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def key_of(self, starts_on: date) -> str:
        """How the period that starts on a day is called: 2026-11-24, 2026-W48, 2026-11."""
        match self:
            case SpendPeriod.DAY:
                return starts_on.isoformat()
            case SpendPeriod.WEEK:
                year, week, _ = starts_on.isocalendar()
                return f"{year:04d}-W{week:02d}"
            case SpendPeriod.MONTH:
                return starts_on.isoformat()[:7]


class SpendGroup(StrEnum):
    """Whose a row is, beside its customer's."""

    CUSTOMER = "customer"
    PRINCIPAL = "principal"
    PROJECT = "project"
    WORKLOAD = "workload"
    ORIGIN = "origin"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class SpendQuery:
    """Which spend, and how it is added up. Both days are included; `label_key` is of the group LABEL alone.

    `rows_max` bounds the answer: of more rows the latest and most expensive are kept.
    """

    period: SpendPeriod
    group: SpendGroup
    since: date
    until: date | None = None
    label_key: str | None = None
    customer: str | None = None
    principal: str | None = None
    rows_max: int = 1_000


@dataclass(frozen=True, slots=True)
class SpendRow:
    """What a period cost one customer, or one part of its queries. `value` None: those without workload or label."""

    starts_on: date
    customer: str
    value: str | None
    cost_nanos: int
    bytes_billed: int
    slot_ms: int
    job_count: int


@dataclass(frozen=True, slots=True)
class SpendTable:
    """Rows, latest period first and most expensive first in it.

    The totals are of all `row_count` rows, those left out too.
    """

    rows: tuple[SpendRow, ...] = ()
    row_count: int = 0
    cost_nanos: int = 0
    bytes_billed: int = 0
    slot_ms: int = 0
    job_count: int = 0
