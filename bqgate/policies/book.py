"""Hold the rules and keys that are valid now, and follow the Registry's changes: the PolicySource of a gate.

Loaded by app at the start and kept fresh in the background; read by every step, at every use. A change that another
replica made is seen when the ChangeFeed says so, else when the revision is looked at within a second; every ten minutes
all is read anew whatever the revision says. What holds is one frozen value that is replaced whole. While the ledger's
database is away the last rules hold, and so they do when admins' documents contradict this gate's settings. Other
settings go below what admins changed by `rebase`. PolicyFaults leaves it at the start and there, LedgerUnavailable for
those who ask for a look.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.key import Key
from bqgate.domain.policy import PolicyItem, PolicyKind, PolicySnapshot
from bqgate.domain.pricing import PriceList
from bqgate.domain.tier import CustomerRegistry
from bqgate.policies.compose import SettingsPolicies, compose, path_of
from bqgate.policies.faults import PolicyFault, PolicyFaults
from bqgate.ports import ChangeFeed, Clock, Registry, Telemetry

# Of no registry: whatever its revision is, it was not read yet.
_NEVER = -1

_REMEDY = "what admins wrote does not go together with these settings; put back what they took out, or begin with the\
 settings from before, change the admins' part, and come again"


@dataclass(frozen=True, slots=True)
class _Present:
    """All that was read at one look. `snapshot` may be of an earlier one, where `items` contradict the settings."""

    snapshot: PolicySnapshot
    items: tuple[PolicyItem, ...]
    keys: Mapping[str, Key]
    revision: int


class PolicyBook:
    """Implements ports.PolicySource. Until it is loaded, what the settings say holds, and there are no keys."""

    def __init__(
        self,
        base: SettingsPolicies,
        registry: Registry,
        feed: ChangeFeed,
        clock: Clock,
        telemetry: Telemetry,
        *,
        poll_s: float = 1,
        ttl_s: float = 600,
    ) -> None:
        """Follow a registry.

        Args:
            base: what the settings say.
            registry: what admins changed.
            feed: tells of changes; one book waits at one feed.
            clock: measures the age of what was read.
            telemetry: is told of outages and contradictions.
            poll_s: how long a change may stay unseen where the feed does not tell of it.
            ttl_s: when all is read anew, whatever the revision says.
        """
        self.base = base
        self._registry = registry
        self._feed = feed
        self._clock = clock
        self._telemetry = telemetry
        self._poll_s = poll_s
        self._ttl_s = ttl_s
        self._show(_Present(compose(base, ()), (), {}, _NEVER))
        self._read_at_s = 0.0
        self._turn = asyncio.Lock()
        self._asked = 0
        self._answered = 0
        self._is_away = False

    @property
    def keys(self) -> Mapping[str, Key]:
        """Every key by its id, ended ones too."""
        return self._present.keys

    @property
    def revision(self) -> int:
        """The Registry's revision that this is of; -1 before the first load."""
        return self._present.revision

    def key(self, key_id: str) -> Key | None:
        """A key, also an ended one."""
        return self._present.keys.get(key_id)

    def items(self, kind: PolicyKind | None = None) -> tuple[PolicyItem, ...]:
        """What admins wrote, of one kind or of all."""
        return tuple(item for item in self._present.items if kind in {None, item.kind})

    async def load(self) -> None:
        """Read everything, at the start.

        Raises:
            PolicyFaults: what admins wrote contradicts the settings; says which, by whom, and what to do.
            LedgerUnavailable: the database did not answer.
        """
        revision, items, keys = await self._fetch()
        try:
            snapshot = compose(self.base, items) if items else self._present.snapshot
        except PolicyFaults as found:
            raise PolicyFaults([*_signed(found.faults, items), PolicyFault("policies", _REMEDY)]) from None
        self._replace(_Present(snapshot, items, keys, revision))

    def rebase(self, base: SettingsPolicies) -> None:
        """Let other settings hold below what admins changed, from the next query on; all of them, or nothing changes.

        Raises:
            PolicyFaults: what admins wrote contradicts them; says which, and by whom.
        """
        items = self._present.items
        try:
            snapshot = compose(base, items)
        except PolicyFaults as found:
            raise PolicyFaults(_signed(found.faults, items)) from None
        self.base = base
        self._show(replace(self._present, snapshot=snapshot))

    async def refresh(self) -> None:
        """Look for changes now. Callers may share a look, but none takes one that began before it asked.

        Raises:
            LedgerUnavailable: the database did not answer; what was read last holds.
        """
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._answered < mine:
                answering = self._asked
                await self._look()
                self._answered = answering

    async def run(self) -> None:
        """Follow changes for ever."""
        while True:
            await self._feed.wait(self._poll_s)
            try:
                await self.refresh()
            except LedgerUnavailable as error:
                self._telemetry.count("failures_total", system="ledger", step="policies")
                if not self._is_away:
                    self._telemetry.log("policies_unavailable", error=str(error))
                self._is_away = True
            else:
                if self._is_away:
                    self._telemetry.log("policies_back")
                self._is_away = False

    async def _look(self) -> None:
        is_old = self._clock.monotonic_s() - self._read_at_s >= self._ttl_s
        if not is_old and await self._registry.fetch_revision() == self._present.revision:
            return
        revision, items, keys = await self._fetch()
        try:
            snapshot = compose(self.base, items)
        except PolicyFaults as found:
            # Keys are taken all the same: a revocation does not wait until somebody has mended a tier.
            self._replace(_Present(self._present.snapshot, items, keys, revision))
            self._telemetry.count("policy_loads_total", result="inconsistent")
            self._telemetry.log("policies_inconsistent", error=str(found), revision=revision)
        else:
            self._replace(_Present(snapshot, items, keys, revision))
            self._telemetry.count("policy_loads_total", result="loaded")

    async def _fetch(self) -> tuple[int, tuple[PolicyItem, ...], Mapping[str, Key]]:
        # The revision first: what changes while the rest is read shows as a new revision at the next look.
        revision = await self._registry.fetch_revision()
        items = await self._registry.fetch_policies()
        keys = await self._registry.fetch_keys()
        return revision, items, {key.id: key for key in keys}

    def _show(self, present: _Present) -> None:
        self._present = present
        self.customer_registry: CustomerRegistry = present.snapshot.customer_registry
        self.prices: PriceList = present.snapshot.prices

    def _replace(self, present: _Present) -> None:
        self._show(present)
        self._read_at_s = self._clock.monotonic_s()


def _signed(faults: Sequence[PolicyFault], items: Sequence[PolicyItem]) -> list[PolicyFault]:
    """The faults, with who wrote what they are about."""
    authors = {path_of(item.kind, item.name): item.changed_by for item in items}
    told = []
    for path, message in faults:
        author = next((by for own, by in authors.items() if path == own or path.startswith(f"{own}.")), None)
        told.append(PolicyFault(path, message if author is None else f"{message} (written by {author})"))
    return told
