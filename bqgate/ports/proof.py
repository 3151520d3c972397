"""Say what a proof of the ledger reads of it that nobody else asks for."""

from datetime import datetime
from typing import Protocol

from bqgate.domain.entry import Entry


class ProofSource(Protocol):
    """Entries by when their jobs were made: when their holds were placed, else when they were booked.

    `customer` None: everybody's. `since` is included, `until` is not.
    """

    async def fetch_charges_made(
        self, project_id: str, *, since: datetime, until: datetime, customer: str | None, after_id: str
    ) -> tuple[Entry, ...]:
        """Charges of a project's jobs, in the order of their ids, a bounded number of those after one.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_jobless(self, *, since: datetime, until: datetime, customer: str | None) -> tuple[int, int]:
        """How many charges have no job, and what they cost together.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_stray_adjustments(
        self, *, since: datetime, until: datetime, customer: str | None
    ) -> tuple[Entry, ...]:
        """Adjustments whose charge is not there, a bounded number.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
