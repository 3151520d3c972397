"""Remember which price lists holds may name, and which of them the ledger has. Used by sql_ledger; no I/O."""

from collections.abc import Iterable

from bqgate.domain.pricing import PriceList
from bqgate.ledger.writes import Write, keep_prices
from bqgate.ports import Clock


class PriceLists:
    """The price lists of one process, each written once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, PriceList] = {}
        self._written: set[str | None] = {None}

    def register(self, prices: PriceList) -> None:
        """Know a price list that holds and entries will name."""
        if prices.id not in self._known:
            self._known[prices.id] = prices

    def has_list_of(self, write: Write) -> bool:
        """Whether the list that a write names is written, or it names none."""
        return write.row.get("prices_id") in self._written

    def unwritten(self, writes: Iterable[Write]) -> list[Write]:
        """What has to be written before these: the lists that they name, where those are known and not written."""
        named = {write.row.get("prices_id") for write in writes} - self._written
        return [keep_prices(self._known[each], self._clock.now()) for each in named if each in self._known]

    def note_written(self, lists: Iterable[Write]) -> None:
        """Do not write these again."""
        self._written.update(each.row["id"] for each in lists)
