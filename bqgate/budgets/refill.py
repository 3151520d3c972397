"""Fill windows that a store does not know with what the ledger knows of them, once, however many ask.

Used by both stores: a step (place a hold, read balances) that meets UnknownWindows has them filled, and is tried
again. A store applies a Snapshot by these rules, in one atomic step:

1. A window that is known by now is left alone: set, never added (two replicas that fill at once fill once).
2. captured = the ledger's booked spend. held = the amounts of all holds in the store that name the window.
3. A hold that the ledger says is open and the store lacks is put back first, with its idempotency key, a lease and
   RESTORED_ATTEMPTS. It counts in the windows that it names, those just filled and those that were known; so each hold
   counts once in each window.
   One that the store has, and that falls under a budget that is younger than it, names that budget's windows from now
   on.
4. ... unless the store ended it in the last ENDED_TTL_S seconds. The ledger ends a hold before the store does, so a
   hold that is open in the snapshot was ended after the snapshot was read: its cost is not in the spend that was
   read, and is added to the windows being filled.
5. The start of a window's grace comes with its captured; the breaker with its day, unless the store has one that
   is open as long.
6. A hold that the store has and the ledger does not counts: it may be placed and not yet recorded. (Booked and not
   yet captured looks the same, and is then counted with its cost until refilled: refused too early, never too late.)
7. A store that may have lost writes without a word (a replica was promoted, a server was started from a file) knows no
   window that was filled before: what it captured then may be too little. It is filled as if it were not there.
8. What was read from the ledger before such a moment is not used after it: a mark of rule 4 may be lost. Nor is what
   was read before windows of the account were dropped: a hold may have been placed, and have ended, in one that was
   filled and dropped since. Nor what was read ENDED_TTL_S ago, by a machine that was suspended.

What this cannot see: a hold that another gate placed just before a wipe and has not recorded yet (accounts.py adds a
gate's own), and in the deployment's account one that this gate was still to place in the customer's. Whoever notices a
wipe lets others put such holds back first (wipes.py); a gate that had never met the account does not notice. And a
breaker that an admin resets while a wiped store is being filled: it may be open again, and is reset again. Raises
LedgerUnavailable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bqgate.domain.budget import Period, Window
from bqgate.domain.cost_breaker import CostBreaker
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.hold import Hold
from bqgate.ports import Clock, SpendSource

# How long a store remembers that it ended a hold: longer than a ledger takes to answer plus a delayed call.
ENDED_TTL_S = 300

# How often a step is tried. It fills what it found unknown, which may be the customer's and then the deployment's
# windows; one is not filled, or vanishes again before the next try, where windows are dropped or the store is wiped
# right then.
TRIES_MAX = 10

# The ledger is read again while holds end under the reading; a read takes milliseconds.
_READS_MAX = 5


class UnknownWindows(Exception):
    """A script touched nothing, because these windows are not in the store. It never leaves this package.

    `since` names, in the store's own way, what a reading of the ledger must not be older than (rule 8 of this module).
    """

    def __init__(self, windows: tuple[Window, ...], since: str) -> None:
        super().__init__(f"{len(windows)} windows are unknown")
        self.windows = windows
        self.since = since


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the ledger knew of an account at one moment. No cost is in the spend of a hold that is in `open_holds`.

    `unknown_since` is UnknownWindows.since of the store that it was read for.
    """

    customer: str
    windows: tuple[Window, ...]
    spend: CustomerSpend
    open_holds: tuple[Hold, ...]
    unknown_since: str

    def captured_in(self, window: Window) -> int:
        """Booked spend; never below zero: a credit is no budget."""
        return max(0, self.spend.captured_nanos.get(window.id, 0))

    def grace_started_at(self, window: Window) -> datetime | None:
        """When the window's grace began."""
        return self.spend.grace_started_at.get(window.id)

    @property
    def breaker_day(self) -> Window | None:
        """The last of the days to fill whose breaker is open."""
        days = [window for window in self.windows if window.is_own and window.period is Period.DAY]
        tripped = [window for window in days if window.key in self.spend.tripped_at]
        return max(tripped, key=lambda window: window.resets_at, default=None)

    @property
    def breaker(self) -> CostBreaker | None:
        """The breaker of that day."""
        day = self.breaker_day
        return None if day is None else CostBreaker(opened_at=self.spend.tripped_at[day.key], until=day.resets_at)


async def fetch_snapshot(source: SpendSource, windows: tuple[Window, ...], unknown_since: str) -> Snapshot:
    """Read spend and open holds of one customer as if at one moment.

    The port reads them apart. A hold that ends in between would be in neither or in both; so the holds are read before
    and after the spend, until none ended. On a ledger that never rests the holds from before are taken: that counts
    a hold twice at most, never not at all.

    Raises:
        LedgerUnavailable: the source did not answer.
    """
    customer = windows[0].customer
    after = await source.fetch_open_holds(customer)
    for _ in range(_READS_MAX):
        before = after
        spend = await source.fetch_spend(windows)
        after = await source.fetch_open_holds(customer)
        if {hold.id for hold in before} <= {hold.id for hold in after}:
            return Snapshot(customer, windows, spend, after, unknown_since)
    return Snapshot(customer, windows, spend, before, unknown_since)


class Refill:
    """Fills windows once, however many ask at a time. `apply` is the store's."""

    def __init__(self, source: SpendSource, apply: Callable[[Snapshot], Awaitable[None]], clock: Clock) -> None:
        self._source = source
        self._apply = apply
        self._clock = clock
        self._running: dict[tuple[Window, ...], asyncio.Task[None]] = {}

    async def fill(self, unknown: UnknownWindows) -> None:
        """Fill windows of one account, or wait for whoever is filling the same.

        A caller that leaves does not stop the others' filling.

        Raises:
            LedgerUnavailable: the source did not answer.
            BudgetStoreUnavailable: the store did not.
        """
        windows = unknown.windows
        task = self._running.get(windows)
        if task is None:
            task = asyncio.create_task(self._fill(unknown))
            self._running[windows] = task
            task.add_done_callback(lambda done: self._forget(windows, done))
        await asyncio.shield(task)

    async def close(self) -> None:
        """Stop what is being filled."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self, unknown: UnknownWindows) -> None:
        read_at = self._clock.now()
        snapshot = await fetch_snapshot(self._source, unknown.windows, unknown.since)
        if self._clock.now() - read_at < timedelta(seconds=ENDED_TTL_S):  # else whoever asked finds them unknown again
            await self._apply(snapshot)

    def _forget(self, windows: tuple[Window, ...], done: asyncio.Task[None]) -> None:
        del self._running[windows]
        if not done.cancelled():
            done.exception()  # every waiter has it; with no waiter left nobody needs it
