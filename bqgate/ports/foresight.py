"""Say where it is summed up what enforcing would have done."""

from datetime import datetime
from typing import Protocol

from bqgate.domain.entry import Entry
from bqgate.domain.would_have import ForeseenRow


class ForesightSource(Protocol):
    """What the ledger knows of queries that were observed. Implemented by the ledger."""

    async def fetch_foreseen(
        self, *, since: datetime, until: datetime, customer: str | None = None
    ) -> tuple[ForeseenRow, ...]:
        """Charges booked from `since` to before `until`, by customer, principal and what enforcing would have done.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_dearest_foreseen(
        self, *, since: datetime, until: datetime, customer: str | None = None, count: int = 10
    ) -> tuple[Entry, ...]:
        """The charges that enforcing would not have let happen, dearest first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
