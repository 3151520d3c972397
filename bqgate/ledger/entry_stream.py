"""Read entries of a span of time from one snapshot, oldest first, with flat memory: for `bqgate ledger export`.

Called by cli, in a thread of its own or none; gates go on.
"""

from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa

from bqgate.domain.entry import Entry
from bqgate.ledger.backup import PATIENCE_S
from bqgate.ledger.one_transaction import one_transaction
from bqgate.ledger.rows import entry_of, to_micros
from bqgate.ledger.schema import entries

_ROWS_AT_ONCE = 1_000


def stream_entries(
    url: str, *, since: datetime | None = None, until: datetime | None = None, customer: str | None = None
) -> Iterator[Entry]:
    """Entries by the moment at which they were booked, and those of one moment by their ids.

    Args:
        url: of a ledger whose tables are of this version.
        since: the first moment; None: the beginning.
        until: the moment behind the last; None: the end.
        customer: whose; None: everybody's.

    Raises:
        LedgerUnavailable: the database did not answer.
    """
    wanted = sa.select(entries).order_by(entries.c.booked_at, entries.c.id)
    if since is not None:
        wanted = wanted.where(entries.c.booked_at >= to_micros(since))
    if until is not None:
        wanted = wanted.where(entries.c.booked_at < to_micros(until))
    if customer is not None:
        wanted = wanted.where(entries.c.customer == customer)
    with one_transaction(url, timeout_s=PATIENCE_S, may_write=False) as connection:
        for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(wanted):
            yield entry_of(row)
