"""Say where replicas agree on which of them does what only one should do."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Who holds a lease ("": nobody), and how often it was taken or kept; a higher beat is a later one."""

    holder: str
    beat: int


class LeaseStore(Protocol):
    """Leases by name. It keeps no time: clocks differ, so each replica looks by its own whether a beat has changed."""

    async def fetch_lease(self, name: str) -> LeaseRecord:
        """The lease as it stands; holder "" and beat 0 where there was never one.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def take_lease(self, name: str, *, holder: str, seen: LeaseRecord) -> bool:
        """Write `holder` and the next beat, if the lease stands as it was seen. False: it does not any more.

        Raises:
            LedgerUnavailable: no answer; it may be written all the same.
        """
