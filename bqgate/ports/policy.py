"""Say where the rules come from, and how a change of them, or of tables, is kept, told and heard."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from bqgate.domain.audit import AuditEvent, AuditFilter, AuditPage, AuditRecord
from bqgate.domain.key import Key
from bqgate.domain.policy import PolicyItem, PolicyKind
from bqgate.domain.pricing import PriceList
from bqgate.domain.tier import CustomerRegistry
from bqgate.domain.touched import Writes


class PolicySource(Protocol):
    """Which rules hold now. Read at every use and never kept: an admin's change holds for the next query."""

    @property
    def customer_registry(self) -> CustomerRegistry:
        """Who is a customer, and under which limits."""

    @property
    def prices(self) -> PriceList:
        """What usage costs."""


class Registry(Protocol):
    """What admins decided (policies, keys) and the audit log of who did what. It lives in the ledger's database.

    Each change is one transaction with its audit record: neither is there without the other. What has returned
    survives a crash.
    """

    async def fetch_revision(self) -> int:
        """A number that grows with every change of a policy or key, 0 before the first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def fetch_policies(self) -> tuple[PolicyItem, ...]:
        """Every document that admins wrote.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def write_policy(
        self, kind: PolicyKind, name: str, document: Mapping[str, Any], *, expected_version: int, event: AuditEvent
    ) -> PolicyItem:
        """Write a document where its version is the expected one; 0 expects that there is none.

        Raises:
            VersionConflict: somebody else changed it first; nothing was written.
            LedgerUnavailable: not written, or unknown.
        """

    async def delete_policy(self, kind: PolicyKind, name: str, *, expected_version: int, event: AuditEvent) -> None:
        """Remove a document, so that the settings' word holds again.

        Raises:
            VersionConflict: it is not there in that version; nothing was removed.
            LedgerUnavailable: not removed, or unknown.
        """

    async def fetch_keys(self) -> tuple[Key, ...]:
        """Every key, ended ones too, oldest first.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def add_key(self, key: Key, event: AuditEvent) -> None:
        """Keep a new key.

        Raises:
            VersionConflict: there is a key of this id.
            LedgerUnavailable: not kept, or unknown.
        """

    async def end_key(self, key_id: str, *, ends_at: datetime, is_revoked: bool, event: AuditEvent) -> Key:
        """Give a key an end, which is never later than the one it has. Again: nothing but the audit record is added.

        Raises:
            VersionConflict: there is no key of this id.
            LedgerUnavailable: not ended, or unknown.
        """

    async def append_audit(self, events: Sequence[AuditEvent]) -> tuple[AuditRecord, ...]:
        """Chain events to the audit log, in order, all or none.

        Raises:
            LedgerUnavailable: not written, or unknown.
        """

    async def fetch_audit(self, wanted: AuditFilter) -> AuditPage:
        """Records newest first, a page at a time.

        Raises:
            LedgerUnavailable: the database did not answer.
        """

    async def close(self) -> None:
        """Give back connections."""


class ChangeFeed(Protocol):
    """How replicas tell one another that a policy or key changed, or what was written to BigQuery.

    A lost word is no loss: everybody also looks for changes, and no estimate is kept for long.
    """

    async def announce(self) -> None:
        """Tell all replicas. Nobody may hear it; nothing is raised."""

    async def wait(self, timeout_s: float) -> bool:
        """Return True when somebody announced a change since the last wait, False after `timeout_s`."""

    async def announce_writes(self, writes: Writes) -> None:
        """Tell all other replicas what was written. Nobody may hear it; nothing is raised."""

    async def hear_writes(self) -> Writes:
        """Return what others announced as written since the last call, or more, as soon as there is something."""

    async def close(self) -> None:
        """Give back connections."""
