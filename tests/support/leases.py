"""Keep leases in memory, for tests of who holds one. What it does is held to ports.LeaseStore by the contract tests."""

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ports import LeaseRecord


class MemoryLeases:
    """Leases of one process. `is_away`: nothing answers."""

    def __init__(self) -> None:
        self.is_away = False
        self._records: dict[str, LeaseRecord] = {}

    async def fetch_lease(self, name: str) -> LeaseRecord:
        self._refuse()
        return self._records.get(name, LeaseRecord("", 0))

    async def take_lease(self, name: str, *, holder: str, seen: LeaseRecord) -> bool:
        self._refuse()
        if self._records.get(name, LeaseRecord("", 0)) != seen:
            return False
        self._records[name] = LeaseRecord(holder, seen.beat + 1)
        return True

    def _refuse(self) -> None:
        if self.is_away:
            raise LedgerUnavailable("The ledger is away.")
