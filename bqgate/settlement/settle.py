"""End a hold with what is known of its job, now or as soon as the ledger answers.

The door of this room: called by the gate when BigQuery's answer told the cost, or that nothing ran. Calls the
bookkeeper. Nothing is raised to the gate, whose caller has its result already: with the ledger away the hold stays, and
the poller tries again with back-off, what is known being kept. A crash then leaves an open hold, which reconcile hands
to the poller, and the job is asked after.
"""

from bqgate.domain.entry import Entry
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.job import Outcome, Usage
from bqgate.ports import Journal
from bqgate.settlement.bookkeeper import Bookkeeper
from bqgate.settlement.poller import Poller

NEVER_RAN = Usage(job=None, outcome=Outcome.NEVER_RAN)


class Settler:
    """Ends holds. May be told twice of the same hold, by any number of replicas."""

    def __init__(self, bookkeeper: Bookkeeper, poller: Poller, journal: Journal) -> None:
        self._bookkeeper = bookkeeper
        self._poller = poller
        self._journal = journal

    async def settle(self, hold: Hold, usage: Usage) -> Entry | None:
        """Book what the job used. None: it cost nothing that is not booked elsewhere, or it is booked later."""
        try:
            entry = await self._bookkeeper.settle(hold, usage)
        except LedgerUnavailable as error:
            self._journal.count("failures_total", system="ledger", step="settle")
            self._journal.note("settle_deferred", hold_id=hold.id, error=str(error))
            self._poller.watch(hold, None, usage=usage)
            return None
        self._poller.forget(hold.id)
        return entry

    async def void(self, hold: Hold) -> None:
        """End a hold whose query never ran, now or as soon as the ledger answers."""
        await self.settle(hold, NEVER_RAN)
