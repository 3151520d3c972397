"""Declare the sums of entries by hour and by day, beside the ledger's tables and in the same METADATA.

Triggers of migration 0012 add each entry to its two rows in the transaction that books it, whoever writes; so only
entries that were really inserted count, and sums and entries are of one moment. On PostgreSQL a statement's entries are
added up first and go in the order of the keys, so that two gates that book for one customer wait for each other and
never in a circle. Only charges and adjustments are in them. Read by cost_queries, spend_queries and window_queries;
check_books compares them with entries.

A key has "" where an entry has NULL, because a primary key takes none.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect

from bqgate.ledger.schema import METADATA


class WholeSum(sa.TypeDecorator[int]):
    """A sum of BIGINTs, of which PostgreSQL has more digits than fit a BIGINT. An int in Python."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """SQLite's whole numbers have no other type."""
        return dialect.type_descriptor(sa.BigInteger() if dialect.name == "sqlite" else sa.Numeric(38, 0))

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy gives it
        """Drivers return PostgreSQL's as Decimal."""
        return None if value is None else int(value)


def _sums() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("cost_nanos", WholeSum, nullable=False),
        sa.Column("bytes_billed", WholeSum, nullable=False),
        sa.Column("slot_ms", WholeSum, nullable=False),
        sa.Column("job_count", sa.BigInteger, nullable=False),  # charges; an adjustment is no job
    )


# By the hour in which they were booked, for what the last hours cost.
spend_hours = sa.Table(
    "spend_hours",
    METADATA,
    sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),  # its first moment, in microseconds
    sa.Column("customer", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    *_sums(),
)

# By the day of UTC in which they were booked, and by all that spend is divided by and budgets are about, but labels.
spend_days = sa.Table(
    "spend_days",
    METADATA,
    sa.Column("booked_on", sa.Text, primary_key=True),  # "2026-11-24"
    sa.Column("customer", sa.Text, primary_key=True),
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("workload", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("day_key", sa.Text, primary_key=True),
    sa.Column("month_key", sa.Text, primary_key=True),
    sa.Column("deployment_day", sa.Text, primary_key=True),  # in which they count in the deployment's budget
    *_sums(),
    sa.Column("adjusted_nanos", WholeSum, nullable=False),  # of cost_nanos, what adjustments come to
)

# What a customer has spent in a window, and all customers together.
sa.Index("ix_spend_days_day", spend_days.c.customer, spend_days.c.day_key)
sa.Index("ix_spend_days_month", spend_days.c.customer, spend_days.c.month_key)
sa.Index("ix_spend_days_deployment", spend_days.c.deployment_day)
