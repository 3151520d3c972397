"""Say where it is summed up what enforcing would have done."""

from datetime import datetime
from typing import Protocol

from bqgate.domain.entry import Entry
from bqgate.domain.shadow_decision import ShadowDecisionRow


class ShadowDecisionSource(Protocol):
    """What the ledger knows of queries that were observed. Implemented by the ledger."""

    async def fetch_shadow_decisions(
        self, *, since: datetime, until: datetime, customer: str | None = None
    ) -> tuple[ShadowDecisionRow, ...]:
        """Charges booked from `since` to before `until`, by customer, principal and what enforcing would have done.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_most_expensive_rejections(
        self, *, since: datetime, until: datetime, customer: str | None = None, count: int = 10
    ) -> tuple[Entry, ...]:
        """The charges that enforcing would not have let happen, most expensive first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """
