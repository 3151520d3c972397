"""Hold a run to the invariants of money (design: docs/architecture.md, by their numbers), at every step and at the end.

What is right is computed from BigQuery's own books and from the rules in force, not from what the gates say. Some
losses no design can close, and the docs name them: what a store forgets in the second before a hold is recorded, what
an old copy of a store does not know, and requests that arrive minutes late. By the first two, and no more, a limit may
be passed (`excess`).
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bqgate.budgets.memory_account import Account, Stand
from bqgate.budgets.refill import Snapshot
from bqgate.domain.budget import Period, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import Entry, EntryKind, Origin
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
        # The most that each window was ever charged with: what a correction takes back the store may hear of later.
        self._spent: dict[AccountWindow, int] = defaultdict(int)
        # What nobody was asked for: it counts in windows, and no limit can keep it out.
        self._unasked: dict[AccountWindow, int] = defaultdict(int)
        self._booked: dict[tuple[str, str], int] = defaultdict(int)
        self._charge_of: dict[tuple[str, str], Entry] = {}
        self._charges: dict[str, Entry] = {}
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
            unasked_nanos = self._unasked[hold.customer, window]
            if bound is not None and stand.captured_nanos + stand.held_nanos > bound + unasked_nanos:
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
                is_its = job.hold_id == hold_id and job.past_by is None
                if is_its and may_cost and not job.is_stuck:
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
            truth, unrecorded = self._rightly_in(name, before[name].holds if name in before else {})
            known = {
                window: stand.captured_nanos + stand.held_nanos for window, stand in _stands_in(after, name).items()
            }
            for window, nanos in truth.items():
                lost_nanos = max(0, nanos - known[window]) if window in known else unrecorded[window]
                self._excess[name, window] += lost_nanos

    def _rightly_in(self, name: str, held: dict[str, Hold]) -> tuple[dict[WindowId, int], dict[WindowId, int]]:
        """What stands by rights in the windows of an account, and of it, what no ledger may know yet."""
        truth: dict[WindowId, int] = defaultdict(int)
        unrecorded: dict[WindowId, int] = defaultdict(int)
        for hold in held.values():
            if hold.id not in self.holds:  # placed above, and not yet in its customer's account
                for window in hold.window_ids:
                    truth[window] += hold.amount_nanos
                    unrecorded[window] += hold.amount_nanos
        for hold in self.holds.values():
            amount_nanos = self._stands_for(hold, held)
            for account, window in _windows_of(hold, has_deployment=self._rules.has_deployment):
                if account == name:
                    truth[window] += amount_nanos
                    unrecorded[window] += amount_nanos if self._is_unrecorded(hold) else 0
        return truth, unrecorded

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
        booked = dict(self._booked)
        for key, job in self.bigquery.jobs.items():
            if job.outcome is None:
                return f"6: {key} still runs"
            cost_nanos = job.bytes_billed // MIB * self._nanos_per_mib(key, job)
            if booked.pop(key, 0) != cost_nanos:
                return f"6: {key} is billed {cost_nanos}, and not so in the ledger"
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
        if entry.kind is EntryKind.REFUSAL:
            return
        self._note_spent(entry)
        if entry.outcome is Outcome.ASSUMED:
            self._fail(f"6: {entry.hold_id} is booked by assumption, and nobody had reason to assume")
            return
        key = ("", "") if entry.job is None else (entry.job.project_id, entry.job.job_id)
        job = self.bigquery.jobs.get(key)
        if entry.kind is EntryKind.CHARGE:
            self._charges[entry.id] = entry
            self._charge_of.setdefault(key, entry)
            self._check_origin(entry, job)
        elif self._charge_of.get(key) is not self._charges.get(entry.adjusts or ""):
            self._fail(f"4: {entry.id} corrects {entry.adjusts}, which is not the charge of {key}")
        per_mib = 0 if job is None else self._nanos_per_mib(key, job)
        expected = {0} if job is None else {size // MIB * per_mib for size in job.figures}
        self._booked[key] += entry.cost_nanos
        if self._booked[key] not in expected:
            self._fail(f"4: {key} is booked at {self._booked[key]} by {entry.kind}, and BigQuery billed {expected}")

    def _check_origin(self, entry: Entry, job: BilledJob | None) -> None:
        """Whose a job is: what came past the gates is nobody's hold's, and what a gate has sent is no bypass."""
        if job is None:
            return
        if job.past_by is not None and (entry.origin is not Origin.BYPASS or entry.hold_id is not None):
            self._fail(f"3: {job.ref.job_id} came past the gates, and {entry.hold_id} pays for it as {entry.origin}")
        if job.past_by is None and entry.origin is Origin.BYPASS:
            self._fail(f"4: {job.ref.job_id} ran under {job.hold_id}, and is booked as a bypass")
        payer = (job.past_by or "").rpartition("@")[2]
        if payer in {"acme", "globex"} and entry.customer != payer:
            self._fail(f"4: {job.past_by} made {job.ref.job_id}, and {entry.customer} pays for it")

    def _note_spent(self, entry: Entry) -> None:
        """Count what is booked where it counts; a correction counts where its charge does."""
        charge = self._charges.get(entry.adjusts or "", entry)
        hold = self.holds.get(charge.hold_id or "")
        if hold is not None:
            keys = _windows_of(hold, has_deployment=self._rules.has_deployment)
        else:
            own = entry.window_keys.items()
            keys = [(entry.customer, WindowId(CUSTOMER_SCOPE, period, key)) for period, key in own]
            if self._rules.has_deployment and entry.placed_at is not None:
                keys += _deployment_windows(entry.placed_at)
        for key in keys:
            self._spent[key] += max(0, entry.cost_nanos)
            if charge is not entry or hold is None:
                self._unasked[key] += max(0, entry.cost_nanos)

    def _nanos_per_mib(self, key: tuple[str, str], job: BilledJob) -> int:
        """The price of a job: that of its hold, or of nobody's, by which it was booked."""
        if job.past_by is not None:
            charge = self._charge_of.get(key)
            return 1 if charge is None else self._rules.nanos_per_mib_of(charge.prices_id)
        hold = self.holds.get(job.hold_id)
        return 0 if hold is None else self._rules.nanos_per_mib(hold)

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
    return [*own, *_deployment_windows(hold.placed_at)]


def _deployment_windows(moment: datetime) -> list[AccountWindow]:
    day = moment.astimezone(UTC).date().isoformat()
    keys = {Period.DAY: day, Period.MONTH: day[:7]}
    return [(DEPLOYMENT_ACCOUNT, WindowId(CUSTOMER_SCOPE, period, keys[period])) for period in Period]
