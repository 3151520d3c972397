"""Say what takes the ledger's writes: the journal of a process, or a DatabaseWriter."""

from typing import Protocol

from bqgate.domain.entry import Booking
from bqgate.ledger.price_lists import PriceLists
from bqgate.ledger.writes import Write


class LedgerWriter(Protocol):
    """Takes the ledger's writes. A DatabaseWriter does them before it returns; a Journal promises to.

    `taken` and `written_count` are how many of them it has taken and, in order, written since.
    """

    @property
    def price_lists(self) -> PriceLists:
        """The price lists that writes may name, which are written before them."""

    @property
    def taken(self) -> int: ...

    @property
    def written_count(self) -> int: ...

    async def post(self, write: Write) -> Booking | None:
        """Take a write, which now outlives this process; what became of it, where that is known.

        Raises:
            LedgerUnavailable: not taken, or unknown.
        """

    async def submit(self, write: Write) -> Booking | None:
        """Do a write and return what became of it; None where it books nothing.

        Raises:
            LedgerUnavailable: not done, or unknown.
        """

    async def written(self, *, at_most_s: float | None = None) -> None:
        """Return when the database has all that was taken before.

        Raises:
            LedgerUnavailable: it has not within `at_most_s`, or the ledger's own time limit.
        """

    async def close(self) -> None:
        """Finish what waits, as far as the database answers, and take nothing more."""
