"""Find the prices by which a hold was sized: its job is priced by them, whatever prices hold when it ends.

Used by Settlement, the sweep and what proves or reprices the ledger. Asks the ledger for price lists that this process
has not seen, as after a restart or for another gate's holds. Holds that name no price list are priced as of now.
"""

from bqgate.domain.booking_check import prices_id_of
from bqgate.domain.entry import BookedCharge
from bqgate.domain.hold import Hold, RecordedHold
from bqgate.domain.pricing import PriceList
from bqgate.ports import Ledger, PolicySource

# Price lists change by hand: this many are never reached, and bound the memory.
_REMEMBERED_MAX = 256


class HeldPrices:
    """Price lists by their ids."""

    def __init__(self, ledger: Ledger, policies: PolicySource) -> None:
        self._ledger = ledger
        self._policies = policies
        self._known: dict[str, PriceList] = {}

    async def prices_of(self, hold: Hold) -> PriceList:
        """The price list that a hold names.

        Raises:
            LedgerUnavailable: it is not known here, and the database did not answer.
        """
        present = self._policies.prices
        if hold.prices_id is None or hold.prices_id == present.id:
            return present
        return await self.by_id(hold.prices_id) or present  # recorded without its prices: none better are known

    async def for_booking(self, booked: BookedCharge | None, hold: RecordedHold | None) -> PriceList | None:
        """The prices by which a job was booked, or is to be booked; None: they are not known any more.

        Raises:
            LedgerUnavailable: they are not known here, and the database did not answer.
        """
        prices_id = prices_id_of(booked, hold)
        found = None if prices_id is None else await self.by_id(prices_id)
        return self._policies.prices if found is None and booked is None else found

    async def by_id(self, prices_id: str) -> PriceList | None:
        """The price list of an id; None: nobody knows it.

        Raises:
            LedgerUnavailable: it is not known here, and the database did not answer.
        """
        if prices_id == self._policies.prices.id:
            return self._policies.prices
        known = self._known.get(prices_id)
        if known is not None:
            return known
        found = await self._ledger.fetch_prices(prices_id)
        if found is None:
            return None
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        self._known[prices_id] = found
        return found
