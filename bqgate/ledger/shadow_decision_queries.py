"""Build the ledger's questions about what enforcing would have done as SQL.

Called by sql_ledger, which runs them; pure. Both read the charges of a span of time along the index of pages; only
charges count, because what was refused was enforced already.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bqgate.domain.entry import EntryKind
from bqgate.ledger.rows import to_micros
from bqgate.ledger.schema import entries


def shadow_decisions_between(since: datetime, until: datetime, customer: str | None) -> sa.Select[Any]:
    """Charges by customer, principal, reason and budget, with their cost and the wait that they were spared."""
    wait_ms = sa.func.coalesce(entries.c.would_wait_ms, 0)
    # Not the bare column: SQLite would walk all of another index, in the order of customers, to save a sort.
    customer_name = sa.func.coalesce(entries.c.customer, sa.literal_column("''"))
    found = sa.select(
        customer_name.label("customer"),
        entries.c.principal,
        entries.c.would_have,
        entries.c.would_budget,
        sa.func.count().label("query_count"),
        sa.func.sum(entries.c.cost_nanos).label("cost_nanos"),
        sa.func.sum(sa.case((wait_ms > 0, 1), else_=0)).label("delayed_count"),
        sa.func.sum(wait_ms).label("wait_ms"),
        sa.func.max(wait_ms).label("longest_wait_ms"),
    ).group_by(customer_name, entries.c.principal, entries.c.would_have, entries.c.would_budget)
    return _charges(found, since, until, customer)


def most_expensive_rejections(since: datetime, until: datetime, customer: str | None, count: int) -> sa.Select[Any]:
    """The most expensive charges that enforcing would have refused."""
    found = sa.select(entries).where(entries.c.would_have.is_not(None))
    most_expensive = found.order_by(entries.c.cost_nanos.desc(), entries.c.booked_at.desc(), entries.c.id.desc()).limit(
        count
    )
    return _charges(most_expensive, since, until, customer)


def _charges(found: sa.Select[Any], since: datetime, until: datetime, customer: str | None) -> sa.Select[Any]:
    charges = found.where(
        entries.c.kind == EntryKind.CHARGE.value,
        entries.c.booked_at >= to_micros(since),
        entries.c.booked_at < to_micros(until),
    )
    return charges if customer is None else charges.where(entries.c.customer == customer)
