"""Remember the slot time of each customer's jobs, to estimate that of the next.

Asked by admit.py, told by settlement. A customer seen for the first time is read from the ledger; while the ledger is
away, only the prior counts. Bounded: the customers longest unseen are forgotten and read again. Old jobs fade: when the
remembered bytes pass a bound, both sums are halved, so that the ratio follows the recent past.
"""

from collections import OrderedDict

from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.job import Usage
from bqgate.domain.pricing import SlotHistory
from bqgate.domain.units import TIB
from bqgate.ports import Ledger

MAX_CUSTOMERS = 10_000
FADE_BYTES = 1_000 * TIB


class SlotBook:
    """Slot time and bytes by customer."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: OrderedDict[str, SlotHistory] = OrderedDict()

    async def history_of(self, customer: str) -> SlotHistory:
        """What is known of a customer; empty where nothing is, or while the ledger is away."""
        known = self._known.get(customer)
        if known is not None:
            self._known.move_to_end(customer)
            return known
        try:
            history = await self._ledger.fetch_slot_history(customer)
        except LedgerUnavailable:
            return SlotHistory()
        self._keep(customer, history)
        return history

    def learn(self, customer: str, usage: Usage) -> None:
        """Add a settled job. One that tells no slots or processed nothing teaches nothing about slots a byte."""
        known = self._known.get(customer)
        if known is None or not usage.slot_ms or usage.bytes_processed == 0:
            return
        slot_ms, size_bytes = known.slot_ms + usage.slot_ms, known.bytes_processed + usage.bytes_processed
        while size_bytes > FADE_BYTES:
            slot_ms, size_bytes = slot_ms // 2, size_bytes // 2
        self._keep(customer, SlotHistory(slot_ms, size_bytes))

    def _keep(self, customer: str, history: SlotHistory) -> None:
        self._known[customer] = history
        self._known.move_to_end(customer)
        while len(self._known) > MAX_CUSTOMERS:
            self._known.popitem(last=False)
