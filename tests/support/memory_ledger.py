"""Keep a ledger in lists and dictionaries: a ports.Ledger without a database, as simple as can be.

The contract tests hold it to what SQLite and PostgreSQL do. Nothing waits in it, so that each call is one step;
simulations put a wire before it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from bqgate.domain.budget import Window, WindowId, start_of_key
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, EACH, BudgetScope, Spender
from bqgate.domain.cost_breaker import BreakerEvent, BreakerEventKind
from bqgate.domain.entry import (
    BookedCharge,
    Booking,
    CostRow,
    CustomerSpend,
    Entry,
    EntryFilter,
    EntryKind,
    EntryLookup,
    EntryPage,
    Origin,
)
from bqgate.domain.errors import LedgerUnavailable, MalformedRequest
from bqgate.domain.hold import Hold, HoldState, RecordedHold
from bqgate.domain.job import JobRef, Outcome
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.pricing import PriceList, SlotHistory
from bqgate.domain.shadow_decision import ShadowDecisionRow
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery, SpendRow, SpendTable
from bqgate.ledger.page_token import read_page_token, write_page_token
from bqgate.ledger.rows import to_micros

_SPENDING = frozenset({EntryKind.CHARGE, EntryKind.ADJUSTMENT})
_HISTORY_MAX = 1_000
_FOUND_MAX = 100


class MemoryLedger:
    """Open holds, entries, and what is remembered of grace and breakers."""

    def __init__(self) -> None:
        self.open_holds: dict[str, Hold] = {}
        self.ended: dict[str, RecordedHold] = {}
        self.entries: list[Entry] = []
        self.entry_by_hold: dict[str, Entry] = {}
        self._entry_ids: set[str] = set()
        self._charged: set[tuple[str, str, str]] = set()
        self._events: list[BreakerEvent] = []
        self._registered: dict[str, PriceList] = {}
        self._prices: dict[str, PriceList] = {}
        self.swept_until: datetime | None = None  # as the sweep's marks say
        self._is_closed = False

    def mark(self) -> int:
        return 0

    def is_written(self, mark: int) -> bool:
        return True

    def register_prices(self, prices: PriceList) -> None:
        self._registered.setdefault(prices.id, prices)

    async def fetch_prices(self, prices_id: str) -> PriceList | None:
        return self._prices.get(prices_id)

    async def open_hold(self, hold: Hold) -> None:
        self._check_open()
        if hold.amount_nanos > MAX_NANOS or not hold.customer.isprintable():
            raise LedgerUnavailable("no database takes this")
        self._keep_prices(hold.prices_id)
        if hold.id not in self.ended and hold.id not in self.open_holds:
            placed_at, deadline_at = hold.placed_at.astimezone(UTC), hold.deadline_at.astimezone(UTC)
            self.open_holds[hold.id] = replace(hold, scopes=(), placed_at=placed_at, deadline_at=deadline_at)

    async def attach_job(self, hold_id: str, job: JobRef) -> None:
        self._check_open()
        if hold_id in self.open_holds:
            self.open_holds[hold_id] = replace(self.open_holds[hold_id], job=job)

    async def book(self, entry: Entry) -> Booking:
        self._check_open()
        if entry.id in self._entry_ids or entry.hold_id in self.entry_by_hold:
            return Booking.HOLD_ALREADY_BOOKED
        if entry.kind is EntryKind.CHARGE and entry.job is not None:
            names = _names_of(entry.job)
            if any(name in self._charged for name in names):
                self._end(entry, HoldState.VOIDED)
                return Booking.JOB_ALREADY_BOOKED
            self._charged.update(names)
        self._end(entry, HoldState.CAPTURED if entry.kind is EntryKind.CHARGE else HoldState.VOIDED)
        self._keep_prices(entry.prices_id)
        self.entries.append(entry)
        self._entry_ids.add(entry.id)
        if entry.hold_id is not None:
            self.entry_by_hold[entry.hold_id] = entry
        return Booking.BOOKED

    async def close_hold(self, hold_id: str) -> None:
        self._check_open()
        if hold_id in self.open_holds:
            self.ended[hold_id] = RecordedHold(self.open_holds.pop(hold_id), HoldState.VOIDED)

    async def record_breaker_event(self, event: BreakerEvent) -> None:
        self._check_open()
        self._events.append(event)

    async def fetch_open_hold(self, hold_id: str) -> Hold | None:
        return self.open_holds.get(hold_id)

    async def find_open_hold(self, job: JobRef) -> Hold | None:
        found = [hold for hold in self.open_holds.values() if hold.job is not None and _is_same_place(hold.job, job)]
        return max(found, key=lambda hold: hold.placed_at, default=None)

    async def is_booked_already(self, hold: Hold, *, key_prefix: str, since: datetime) -> bool:
        return any(
            entry.customer == hold.customer
            and entry.booked_at >= since
            and entry.fingerprint == hold.fingerprint
            and entry.hold_id not in {None, hold.id}
            and entry.hold_id in self.ended
            and (self.ended[entry.hold_id].hold.idempotency_key or "").startswith(key_prefix)
            for entry in self.entries
        )

    async def fetch_entry(self, hold_id: str) -> Entry | None:
        return self.entry_by_hold.get(hold_id)

    async def find_booked(
        self, *, jobs: Sequence[JobRef] = (), hold_ids: Sequence[str] = (), charge_ids: Sequence[str] = ()
    ) -> tuple[BookedCharge, ...]:
        by_id: dict[str, list[JobRef]] = defaultdict(list)
        for job in jobs:
            by_id[job.job_id].append(job)
        wanted_holds, wanted_ids = set(hold_ids), set(charge_ids)
        charges = [entry for entry in self.entries if entry.kind is EntryKind.CHARGE]
        return tuple(
            BookedCharge(charge, tuple(sorted((e for e in self.entries if e.adjusts == charge.id), key=_place)))
            for charge in charges
            if charge.hold_id in wanted_holds
            or charge.id in wanted_ids
            or (charge.job is not None and any(charge.job.may_be(job) for job in by_id[charge.job.job_id]))
        )

    async def fetch_holds(self, hold_ids: Sequence[str]) -> tuple[RecordedHold, ...]:
        found = [
            RecordedHold(self.open_holds[hold_id], HoldState.HELD)
            if hold_id in self.open_holds
            else self.ended.get(hold_id)
            for hold_id in hold_ids
        ]
        return tuple(each for each in found if each is not None)

    async def fetch_entries(self, wanted: EntryFilter) -> EntryPage:
        if wanted.page_size < 1:
            raise MalformedRequest("A page has at least one entry.", field="page_size")
        found = sorted((each for each in self.entries if _fits(each, wanted)), key=_place, reverse=True)
        if wanted.page_token is not None:
            after = read_page_token(wanted.page_token)
            found = [entry for entry in found if (to_micros(entry.booked_at), entry.id) < after]
        page = tuple(found[: wanted.page_size])
        if len(found) <= wanted.page_size:
            return EntryPage(page, None)
        return EntryPage(page, write_page_token(to_micros(page[-1].booked_at), page[-1].id))

    async def find_entries(self, wanted: EntryLookup) -> tuple[Entry, ...]:
        found = [entry for entry in self.entries if _is_looked_up(entry, wanted)]
        return tuple(sorted(found[:_FOUND_MAX], key=_place))

    async def fetch_spending(self, wanted: SpendQuery) -> SpendTable:
        groups: dict[tuple[str, str, str | None], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            day = next(iter(entry.window_keys.values()), "") if entry.window_keys else ""
            day = day if len(day) == len("2026-11-24") else entry.booked_at.astimezone(UTC).date().isoformat()
            if entry.kind in _SPENDING and _is_asked_for(entry, day, wanted):
                groups[_starts_on(wanted.period, day), entry.customer, _value_of(entry, wanted)].append(entry)
        rows = [_row(*key, found) for key, found in groups.items()]
        rows.sort(key=lambda row: (-row.starts_on.toordinal(), -row.cost_nanos, row.customer, row.value or ""))
        return SpendTable(
            rows=tuple(rows[: wanted.rows_max]),
            row_count=len(rows),
            cost_nanos=sum(row.cost_nanos for row in rows),
            bytes_billed=sum(row.bytes_billed for row in rows),
            slot_ms=sum(row.slot_ms for row in rows),
            job_count=sum(row.job_count for row in rows),
        )

    async def fetch_spend_of_each(self, window: Window) -> dict[str, int]:
        spent: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            spender = Spender(entry.principal, entry.project_id, entry.workload)
            each = BudgetScope(window.scope.kind, EACH)
            if entry.kind in _SPENDING and each.covers(spender):
                own = replace(window, scope=each.narrowed_to(spender))
                if _counts_in(entry, own):
                    spent[own.scope.value] += entry.cost_nanos
        return dict(spent)

    async def fetch_adjusted(self, windows: Sequence[Window]) -> dict[WindowId, int]:
        adjustments = [entry for entry in self.entries if entry.kind is EntryKind.ADJUSTMENT]
        return {
            window.id: sum(entry.cost_nanos for entry in adjustments if _counts_in(entry, window)) for window in windows
        }

    async def fetch_swept_until(self) -> datetime | None:
        return self.swept_until

    async def fetch_costs(self, *, since: datetime, customer: str | None = None) -> tuple[CostRow, ...]:
        groups: dict[tuple[str, str, Origin], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.kind in _SPENDING and entry.booked_at >= since and customer in {None, entry.customer}:
                groups[entry.customer, entry.principal, entry.origin].append(entry)
        rows = [CostRow(*key, *_sums(found)) for key, found in groups.items()]
        return tuple(sorted(rows, key=lambda row: (-row.cost_nanos, row.customer, row.principal, row.origin)))

    async def fetch_shadow_decisions(
        self, *, since: datetime, until: datetime, customer: str | None = None
    ) -> tuple[ShadowDecisionRow, ...]:
        groups: dict[tuple[str, str, str | None, str | None], list[Entry]] = defaultdict(list)
        for entry in self._charges_between(since, until, customer):
            shadow = entry.shadow_decision
            says = (None, None) if shadow is None else (shadow.reason, shadow.budget)
            groups[entry.customer, entry.principal, *says].append(entry)
        return tuple(_shadow_row(*key, found) for key, found in groups.items())

    async def fetch_most_expensive_rejections(
        self, *, since: datetime, until: datetime, customer: str | None = None, count: int = 10
    ) -> tuple[Entry, ...]:
        charges = self._charges_between(since, until, customer)
        found = [entry for entry in charges if entry.shadow_decision is not None and entry.shadow_decision.reason]
        return tuple(sorted(found, key=lambda entry: (entry.cost_nanos, *_place(entry)), reverse=True)[:count])

    async def fetch_spend(self, windows: Sequence[Window]) -> CustomerSpend:
        grace_started_at: dict[WindowId, datetime] = {}
        tripped_at: dict[str, datetime] = {}
        for event in sorted(self._events, key=lambda event: event.at):
            if not windows or event.customer != windows[0].customer:
                continue
            if event.window_key not in {window.key for window in windows}:
                continue
            match event.kind:
                case BreakerEventKind.GRACE_STARTED:
                    grace_started_at.setdefault(WindowId(CUSTOMER_SCOPE, event.period, event.window_key), event.at)
                case BreakerEventKind.TRIPPED:
                    tripped_at[event.window_key] = event.at
                case BreakerEventKind.CLOSED | BreakerEventKind.RESET:
                    tripped_at.pop(event.window_key, None)
        return CustomerSpend({window.id: self.spent_nanos(window) for window in windows}, grace_started_at, tripped_at)

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        found = (hold for hold in self.open_holds.values() if customer in {None, hold.customer})
        return tuple(sorted(found, key=lambda hold: (hold.placed_at, hold.id)))

    async def fetch_slot_history(self, customer: str) -> SlotHistory:
        told = [
            entry
            for entry in self.entries
            if entry.customer == customer
            and entry.kind is EntryKind.CHARGE
            and entry.outcome in {Outcome.DONE, Outcome.STOPPED}
            and not entry.cache_hit
        ]
        last = sorted(told, key=_place)[-_HISTORY_MAX:]
        return SlotHistory(sum(each.slot_ms for each in last), sum(each.bytes_processed for each in last))

    async def check(self) -> None:
        self._check_open()

    async def close(self) -> None:
        self._is_closed = True

    def spent_nanos(self, window: Window) -> int:
        """What is booked in a window."""
        return sum(each.cost_nanos for each in self.entries if each.kind in _SPENDING and _counts_in(each, window))

    def _keep_prices(self, prices_id: str | None) -> None:
        """Write down a price list with the first hold or entry that names it."""
        if prices_id in self._registered:
            self._prices.setdefault(prices_id, self._registered[prices_id])

    def _check_open(self) -> None:
        if self._is_closed:
            raise LedgerUnavailable("The ledger is closed.")

    def _end(self, entry: Entry, state: HoldState) -> None:
        """End the hold of an entry, or keep one from being opened that was never recorded."""
        if entry.hold_id is not None and entry.hold_id not in self.ended:
            hold = self.open_holds.pop(entry.hold_id, None) or _hold_of(entry)
            self.ended[entry.hold_id] = RecordedHold(hold, state)

    def _charges_between(self, since: datetime, until: datetime, customer: str | None) -> Iterable[Entry]:
        for entry in self.entries:
            is_asked_for = customer in {None, entry.customer} and since <= entry.booked_at < until
            if entry.kind is EntryKind.CHARGE and is_asked_for:
                yield entry


def _place(entry: Entry) -> tuple[datetime, str]:
    return entry.booked_at, entry.id


def _hold_of(entry: Entry) -> Hold:
    """What an entry knows of its hold."""
    return Hold(
        id=entry.hold_id or "",
        customer=entry.customer,
        principal=entry.principal,
        project_id=entry.project_id,
        amount_nanos=entry.hold_nanos,
        window_keys=entry.window_keys,
        placed_at=entry.placed_at or entry.booked_at,
        deadline_at=entry.booked_at,
        job=entry.job,
    )


def _regions_of(job: JobRef) -> tuple[str, ...]:
    """No location means US or EU."""
    return ("us", "eu") if job.location is None else (job.location.lower(),)


def _names_of(job: JobRef) -> list[tuple[str, str, str]]:
    return [(job.project_id, job.job_id, region) for region in _regions_of(job)]


def _is_same_place(job: JobRef, other: JobRef) -> bool:
    if (job.project_id, job.job_id) != (other.project_id, other.job_id):
        return False
    return None in {job.location, other.location} or _regions_of(job) == _regions_of(other)


def _counts_in(entry: Entry, window: Window) -> bool:
    if window.customer == DEPLOYMENT_ACCOUNT:
        if entry.placed_at is None and not entry.window_keys:
            return False  # it counts nowhere
        moment = entry.placed_at or entry.booked_at
        return start_of_key(window.period, window.key) <= moment < window.resets_at
    if entry.customer != window.customer or entry.window_keys.get(window.period) != window.key:
        return False
    return window.scope.covers(Spender(entry.principal, entry.project_id, entry.workload, entry.labels))


def _fits(entry: Entry, wanted: EntryFilter) -> bool:
    pairs = (
        (wanted.customer, entry.customer),
        (wanted.principal, entry.principal),
        (wanted.project_id, entry.project_id),
        (wanted.workload, entry.workload),
        (wanted.kind, entry.kind),
        (wanted.origin, entry.origin),
    )
    if any(asked is not None and asked != found for asked, found in pairs):
        return False
    return (wanted.since is None or entry.booked_at >= wanted.since) and (
        wanted.until is None or entry.booked_at < wanted.until
    )


def _is_looked_up(entry: Entry, wanted: EntryLookup) -> bool:
    if wanted.customer not in {None, entry.customer} or wanted.principal not in {None, entry.principal}:
        return False
    if wanted.decision_id is not None and wanted.decision_id in {entry.id, entry.hold_id}:
        return True
    job = entry.job
    if job is None or job.job_id != wanted.job_id or wanted.project_id not in {None, job.project_id}:
        return False
    return wanted.location is None or (job.location or "").lower() in {"", wanted.location.lower()}


def _sums(entries: Sequence[Entry]) -> tuple[int, int, int, int]:
    return (
        sum(entry.cost_nanos for entry in entries),
        sum(entry.bytes_billed for entry in entries),
        sum(entry.slot_ms for entry in entries),
        sum(entry.kind is EntryKind.CHARGE for entry in entries),
    )


def _is_asked_for(entry: Entry, day: str, wanted: SpendQuery) -> bool:
    is_in_time = wanted.since.isoformat() <= day and (wanted.until is None or day <= wanted.until.isoformat())
    return is_in_time and wanted.customer in {None, entry.customer} and wanted.principal in {None, entry.principal}


def _starts_on(period: SpendPeriod, day: str) -> str:
    match period:
        case SpendPeriod.DAY:
            return day
        case SpendPeriod.WEEK:
            on = date.fromisoformat(day)
            return (on - timedelta(days=on.weekday())).isoformat()
        case SpendPeriod.MONTH:
            return f"{day[:7]}-01"


def _value_of(entry: Entry, wanted: SpendQuery) -> str | None:
    match wanted.group:
        case SpendGroup.CUSTOMER:
            return None
        case SpendGroup.PRINCIPAL:
            return entry.principal
        case SpendGroup.PROJECT:
            return entry.project_id
        case SpendGroup.WORKLOAD:
            return entry.workload
        case SpendGroup.ORIGIN:
            return entry.origin.value
        case SpendGroup.LABEL:
            return entry.labels.get(wanted.label_key or "")


def _row(starts_on: str, customer: str, value: str | None, entries: Sequence[Entry]) -> SpendRow:
    return SpendRow(date.fromisoformat(starts_on), customer, value, *_sums(entries))


def _shadow_row(
    customer: str, principal: str, reason: str | None, budget: str | None, entries: Sequence[Entry]
) -> ShadowDecisionRow:
    waits_ms = [each.shadow_decision.wait_ms for each in entries if each.shadow_decision is not None]
    return ShadowDecisionRow(
        customer=customer,
        principal=principal,
        reason=reason,
        budget=budget,
        query_count=len(entries),
        cost_nanos=sum(entry.cost_nanos for entry in entries),
        delayed_count=sum(wait_ms > 0 for wait_ms in waits_ms),
        wait_ms=sum(waits_ms),
        longest_wait_ms=max(waits_ms, default=0),
    )
