"""Hold a run to the invariants of money (design: docs/architecture.md, by their numbers), at every step and at the end.

What is right is computed from BigQuery's own books and from the rules in force, not from what the gates say. Some
losses no design can close, and the docs name them: what a store forgets in the second before a hold is recorded, what
an old copy of a store does not know, and requests that arrive minutes late. By the first two, and no more, a limit may
be passed (`excess`).
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

from bqgate.budgets.accounts import deployment_hold
from bqgate.budgets.memory_account import Account, Stand
from bqgate.budgets.refill import Snapshot
from bqgate.domain.budget import Period, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.hold import Hold
from bqgate.domain.job import Outcome
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.tier import windows_of
from bqgate.domain.units import MIB
from tests.simulation.bigquery_stand_in import BigQueryServer, BilledJob
from tests.simulation.redis_stand_in import RedisServer
from tests.simulation.rules import Rules
from tests.support.memory_ledger import MemoryLedger

# How long a gate may take from reading the ledger until it has filled the store, where the ledger is slow.
FILLED_WITHIN = timedelta(seconds=20)
CLOCKS_APART = timedelta(seconds=30)

AccountWindow = tuple[str, WindowId]


class Auditor:
    """Looks on. `fail` ends the run with what is wrong."""

    def __init__(self, ledger: MemoryLedger, rules: Rules, fail: Callable[[str], None]) -> None:
        self.bigquery: BigQueryServer
        self.redis: RedisServer
        self.holds: dict[str, Hold] = {}
        self._ledger = ledger
        self._rules = rules
        self._fail = fail
        self._excess: dict[AccountWindow, int] = defaultdict(int)
        self._jobs: dict[AccountWindow, list[tuple[BilledJob, int]]] = defaultdict(list)
        self._audited = 0
        self._spent: dict[AccountWindow, int] = defaultdict(int)
        # Holds that may count once more in a window for a while: booked, and captured only after it was filled.
        self._doubtful: dict[AccountWindow, list[str]] = defaultdict(list)
        self._open_when_wiped: list[str] = []
        # Of these the store knows what was so once: who has joined them since, it does not.
        self._rolled_back: set[str] = set()

    def placed(self, hold: Hold) -> None:
        """The store has placed a hold: invariant 2, in the store's own numbers."""
        account = self.redis.accounts[hold.customer]
        if hold.customer != DEPLOYMENT_ACCOUNT:
            self.holds[hold.id] = hold
            self._check_whole(hold.customer, account)
        for window in hold.window_ids:
            stand = account.stands[window]
            self._check_captured(hold.customer, window, stand)
            bound = self._bound(hold.customer, window)
            if bound is not None and stand.captured_nanos + stand.held_nanos > bound:
                self._fail(f"2: {hold.customer} {window} has {stand} with a bound of {bound}")

    def filled(self, snapshot: Snapshot) -> None:
        """The store is about to fill windows: those that are booked and still held will count twice in them."""
        account = self.redis.accounts[snapshot.customer]
        doubtful = [hold_id for hold_id in account.holds if self._is_booked(hold_id)]
        doubtful += [hold.id for hold in snapshot.open_holds if hold.id in account.ended or self._is_booked(hold.id)]
        for window in snapshot.windows:
            if window.id in account.stands:
                continue
            self._doubtful[snapshot.customer, window.id] += doubtful

    def restored(self, hold: Hold) -> None:
        """The store takes back a hold. Whoever keeps it may not have heard that it was booked before a wipe."""
        if self._is_booked(hold.id):
            for window in hold.window_ids:
                self._doubtful[hold.customer, window].append(hold.id)

    def _check_captured(self, account: str, window: WindowId, stand: Stand) -> None:
        """Invariant 7: no window has been filled twice over."""
        key = (account, window)
        doubtful = [each for each in self._doubtful[key] if self._is_booked(each)]
        twice_nanos = sum(self._ledger.entry_by_hold[each].cost_nanos for each in doubtful)
        if stand.captured_nanos > self._spent[key] + twice_nanos:
            self._fail(f"7: {key} has {stand.captured_nanos} captured, and {self._spent[key]} is booked")

    def _is_booked(self, hold_id: str) -> bool:
        return hold_id in self._ledger.entry_by_hold

    def _check_whole(self, customer: str, account: Account) -> None:
        """Invariant 7: before the store decides, it knows what the ledger knew when it was wiped."""
        lost = [
            hold_id
            for hold_id in self._open_when_wiped
            if hold_id in self._ledger.open_holds
            and self._ledger.open_holds[hold_id].customer == customer
            and not _knows(account, hold_id)
        ]
        if lost:
            self._fail(f"7: the store decides and has not been filled with {lost}")

    def ended(self, account: str, hold_id: str, cost_nanos: int) -> None:
        """The store has ended a hold. What costs money is in the ledger by then; without a cost nothing has run."""
        if account == DEPLOYMENT_ACCOUNT:
            return
        if not cost_nanos and hold_id not in self._rolled_back:
            for job in self.bigquery.jobs.values():
                may_cost = job.outcome is None or job.bytes_billed
                if job.hold_id == hold_id and may_cost and not job.is_stuck:
                    self._fail(f"3: {hold_id} is given back, and {job.ref.job_id} runs under it")
        if not cost_nanos:
            return
        entry = self._ledger.entry_by_hold.get(hold_id)
        if entry is None or entry.cost_nanos != cost_nanos:
            self._fail(f"6: {hold_id} is captured at {cost_nanos} and booked as {entry and entry.cost_nanos}")

    def job_made(self, job: BilledJob) -> None:
        """BigQuery has made a job: invariants 1 and 2, by what it may bill."""
        hold = self.holds.get(job.hold_id)
        if job.is_stuck:
            return  # its hold may be gone by then; it is booked late
        if hold is None or job.hold_id not in self._ledger.open_holds:
            self._fail(f"1: {job.ref.job_id} runs without an open hold ({job.hold_id})")
            return
        account = self.redis.accounts.get(hold.customer)
        if account is not None and hold.id in account.ended and hold.id not in self._rolled_back:
            self._fail(f"1: {job.ref.job_id} runs under {hold.id}, which the store has given back")
        price = self._rules.nanos_per_mib(hold)
        if job.cap_bytes is None or job.cap_bytes // MIB * price > hold.amount_nanos:
            self._fail(f"1: {job.ref.job_id} may bill {job.cap_bytes} bytes under {hold.amount_nanos}")
        for key in _windows_of(hold, has_deployment=self._rules.has_deployment):
            jobs = self._jobs[key]
            jobs.append((job, price))
            bound = self._bound(*key)
            may_bill = sum(min(each.most_bytes, each.cap_bytes or 0) // MIB * per_mib for each, per_mib in jobs)
            if bound is not None and may_bill > bound:
                self._fail(f"2: jobs in {key} may bill {may_bill} with a bound of {bound}")

    def after_step(self) -> None:
        """Look at what was booked since the last step."""
        entries = self._ledger.entries
        while self._audited < len(entries):
            self._audit_entry(entries[self._audited])
            self._audited += 1

    def store_loses(self, before: dict[str, Account], after: dict[str, Account]) -> None:
        """The store goes back to an older copy, or to nothing: what limits may be passed by until it is whole.

        A window that is gone is filled again before the next decision, but for holds that nobody has recorded yet. One
        that is there as it was knows nothing of what came since.
        """
        for older in after.values():
            for hold in older.holds.values():
                self._rolled_back.add(hold.id)
                for window in hold.window_ids:
                    self._excess[hold.customer, window] += hold.amount_nanos
        recorded = [each for each in self._ledger.open_holds if not self._is_unrecorded(self.holds[each])]
        self._open_when_wiped = [] if after else recorded
        for name in [*before, *(name for name in after if name not in before)]:
            truth: dict[WindowId, int] = defaultdict(int)
            unrecorded: dict[WindowId, int] = defaultdict(int)
            held = before[name].holds if name in before else {}
            for hold in self.holds.values():
                amount_nanos = self._stands_for(hold, held)
                for account, window in _windows_of(hold, has_deployment=self._rules.has_deployment):
                    if account == name:
                        truth[window] += amount_nanos
                        unrecorded[window] += amount_nanos if self._is_unrecorded(hold) else 0
            known = {
                window: stand.captured_nanos + stand.held_nanos for window, stand in _stands_in(after, name).items()
            }
            for window, nanos in truth.items():
                lost_nanos = max(0, nanos - known[window]) if window in known else unrecorded[window]
                self._excess[name, window] += lost_nanos

    def _stands_for(self, hold: Hold, held: dict[str, Hold]) -> int:
        """What a hold counts for by rights: its cost, or its amount while it is open."""
        entry = self._ledger.entry_by_hold.get(hold.id)
        if entry is not None:
            return entry.cost_nanos
        return hold.amount_nanos if hold.id in self._ledger.open_holds or hold.id in held else 0

    def _is_unrecorded(self, hold: Hold) -> bool:
        """Whether whoever fills the store may have read the ledger before it knew this hold."""
        if self._is_booked(hold.id):
            return False
        is_young = self.bigquery.now() - hold.placed_at < FILLED_WITHIN + CLOCKS_APART
        return is_young or hold.id not in self._ledger.open_holds

    def missing_holds(self) -> list[str]:
        """Holds that the ledger says are open, and the store lacks."""
        accounts = self.redis.accounts
        return [
            hold_id
            for hold_id, hold in self._ledger.open_holds.items()
            if not _knows(accounts.get(hold.customer), hold_id)
        ]

    def is_at_rest(self, policies: PolicySnapshot) -> bool:
        """Whether nothing is left to be done."""
        return self.what_is_left(policies) is None

    def what_is_left(self, policies: PolicySnapshot) -> str | None:
        """What the books do not say yet; None: ledger, store and BigQuery say the same, and nothing is held."""
        if self._ledger.open_holds:
            return f"6: open in the ledger: {sorted(self._ledger.open_holds)}"
        held = [hold_id for account in self.redis.accounts.values() for hold_id in account.holds]
        if held:
            return f"6: held in the store: {sorted(held)}"
        if self.bigquery.stuck_count:
            return "6: requests are stuck on their way"
        booked: dict[tuple[str, str], int] = defaultdict(int)
        for entry in self._ledger.entries:
            if entry.job is not None and entry.kind is not EntryKind.REFUSAL:
                booked[entry.job.project_id, entry.job.job_id] += entry.cost_nanos
        for key, job in self.bigquery.jobs.items():
            if job.outcome is None:
                return f"6: {key} still runs"
            if booked.pop(key, 0) != self._cost_of(job):
                return f"6: {key} is billed {self._cost_of(job)}, and not so in the ledger"
        if any(booked.values()):
            return f"4: booked, and no job of BigQuery's: {booked}"
        return self._what_the_store_lacks(policies)

    def _what_the_store_lacks(self, policies: PolicySnapshot) -> str | None:
        registry = policies.customer_registry
        for name, account in self.redis.accounts.items():
            for window in windows_of(registry.account_budgets(name), self.bigquery.now()):
                stand = account.stands.get(window.id)
                if stand is None:
                    continue
                spent_nanos = self._ledger.spent_nanos(window)
                if (stand.captured_nanos, stand.held_nanos) != (spent_nanos, 0):
                    return f"7: {name} {window.key} is {stand} in the store and {spent_nanos} in the ledger"
        return None

    def _audit_entry(self, entry: Entry) -> None:
        if entry.kind is not EntryKind.CHARGE:
            return
        hold = self.holds.get(entry.hold_id or "")
        for key in [] if hold is None else _windows_of(hold, has_deployment=self._rules.has_deployment):
            self._spent[key] += entry.cost_nanos
        if entry.outcome is Outcome.ASSUMED:
            self._fail(f"6: {entry.hold_id} is booked by assumption, and nobody had reason to assume")
            return
        job = None if entry.job is None else self.bigquery.jobs.get((entry.job.project_id, entry.job.job_id))
        expected = 0 if job is None else self._cost_of(job)
        if entry.cost_nanos != expected:
            self._fail(f"4: {entry.hold_id} is booked at {entry.cost_nanos}, and BigQuery billed {expected}")

    def _cost_of(self, job: BilledJob) -> int:
        hold = self.holds.get(job.hold_id)
        return 0 if hold is None else job.bytes_billed // MIB * self._rules.nanos_per_mib(hold)

    def _bound(self, account: str, window: WindowId) -> int | None:
        bound = self._rules.bound(account, window)
        return None if bound is None else bound + self._excess[account, window]


def _knows(account: Account | None, hold_id: str) -> bool:
    """Whether an account has a hold, or knows that it has ended."""
    return account is not None and (hold_id in account.holds or hold_id in account.ended)


def _stands_in(accounts: dict[str, Account], name: str) -> dict[WindowId, Stand]:
    return accounts[name].stands if name in accounts else {}


def _windows_of(hold: Hold, *, has_deployment: bool) -> list[AccountWindow]:
    own = [(hold.customer, window) for window in hold.window_ids]
    if not has_deployment:
        return own
    keys = deployment_hold(hold).window_keys
    return [*own, *((DEPLOYMENT_ACCOUNT, WindowId(CUSTOMER_SCOPE, period, keys[period])) for period in Period)]
