"""Keep budgets in this process's memory: the BudgetStore of one gate alone, and the plain telling of the rules.

Made by app; called by admission, settlement and admin through ports.BudgetStore. One event loop, and no await between
a look and the write that rests on it: that is the lock. Empty after a start; each window is filled from the
SpendSource when it is first asked for. Bounded: windows go when their time is over, an ended hold's mark after
ENDED_TTL_S. LedgerUnavailable leaves it when a filling fails, nothing else.
"""

from collections.abc import Container
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from bqgate.budgets.keys import WINDOW_KEPT
from bqgate.budgets.refill import ENDED_TTL_S, Refill, Snapshot, UnknownWindows, assert_placeable
from bqgate.domain.budget import Balance, Period, Window, WindowId, carried_nanos, with_carries
from bqgate.domain.cost_breaker import NO_GRACE, Breaker, Refusal, Standing, Terms, after_trial, judge
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.money import check_nanos
from bqgate.domain.scope import CUSTOMER_SCOPE
from bqgate.ports import Clock, SpendSource

# How often windows whose time is over are looked for.
_SWEEP_EVERY = timedelta(hours=1)


@dataclass(slots=True)
class _Stand:
    """What stands against one window."""

    captured_nanos: int
    forget_at: datetime
    held_nanos: int = 0
    grace_started_at: datetime | None = None


@dataclass(slots=True)
class _Account:
    """All that is known of one customer."""

    stands: dict[WindowId, _Stand] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    id_by_key: dict[str, str] = field(default_factory=dict)
    ended: dict[str, tuple[datetime, int]] = field(default_factory=dict)  # oldest first; when, and the cost
    breaker: Breaker | None = None

    def breaker_at(self, now: datetime) -> Breaker | None:
        """The breaker, where its day is not over."""
        return self.breaker if self.breaker is not None and self.breaker.is_open(now) else None

    def open_breaker(self, snapshot: Snapshot, filled: Container[WindowId]) -> None:
        """Take the ledger's breaker with its day, unless one is there that is open as long."""
        day, breaker = snapshot.breaker_day, snapshot.breaker
        if day is None or breaker is None or day.id not in filled:
            return
        if self.breaker is None or self.breaker.until < breaker.until:
            self.breaker = breaker

    def stands_of(self, hold: Hold) -> list[_Stand]:
        """The windows of a hold that are known."""
        found = (self.stands.get(window_id) for window_id in hold.window_ids)
        return [stand for stand in found if stand is not None]

    def balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        known = [(window, self.stands.get(window.id)) for window in with_carries(windows)]
        unknown = tuple(window for window, stand in known if stand is None)
        if unknown:
            raise UnknownWindows(unknown)
        return tuple(
            Balance(window, stand.captured_nanos, stand.held_nanos, stand.grace_started_at, self._carried(window))
            for window, stand in known[: len(windows)]
            if stand is not None
        )

    def _carried(self, window: Window) -> int:
        if window.carry is None:
            return 0
        before = self.stands[window.carry.window.id]
        return carried_nanos(window.carry, captured_nanos=before.captured_nanos, held_nanos=before.held_nanos)

    def open_id_like(self, hold: Hold) -> str | None:
        """The open hold that `hold` repeats."""
        if hold.id in self.holds:
            return hold.id
        return None if hold.idempotency_key is None else self.id_by_key.get(hold.idempotency_key)

    def add(self, hold: Hold, stands: list[_Stand]) -> None:
        """Write a hold down and count it in some windows."""
        self.holds[hold.id] = hold
        if hold.idempotency_key is not None:
            self.id_by_key.setdefault(hold.idempotency_key, hold.id)
        for stand in stands:
            stand.held_nanos += hold.amount_nanos

    def widen(self, recorded: Hold) -> None:
        """Let a hold count against budgets that are younger than it, too; the windows to fill count it themselves."""
        hold = self.holds[recorded.id]
        younger = tuple(scope for scope in recorded.scopes if scope not in hold.scopes)
        self.holds[hold.id] = replace(hold, scopes=(*hold.scopes, *younger))
        for window_id in recorded.window_ids:
            if window_id.scope in younger and window_id in self.stands:
                self.stands[window_id].held_nanos += hold.amount_nanos

    def forget_ended_before(self, moment: datetime) -> None:
        while self.ended:
            oldest_id = next(iter(self.ended))
            if self.ended[oldest_id][0] >= moment:
                return
            del self.ended[oldest_id]


class MemoryBudgetStore:
    """BudgetStore in memory. Another instance knows nothing of this one's holds until the ledger tells it."""

    def __init__(self, source: SpendSource, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._refill = Refill(source, self._fill)
        self._sweep_at = datetime.min.replace(tzinfo=UTC)

    async def place_hold(self, hold: Hold, windows: tuple[Window, ...], terms: Terms = NO_GRACE) -> Placement:
        """Place a hold. An id that was ended in the last minutes is refused, however much room there is."""
        assert_placeable(hold, windows)
        check_nanos(hold.amount_nanos)

        async def step() -> Placement:
            return self._place(hold, windows, terms)

        return await self._refill.take(step)

    async def capture(self, hold: Hold, cost_nanos: int) -> bool:
        """End a hold with its cost."""
        return self._end(hold, check_nanos(cost_nanos))

    async def void(self, hold: Hold) -> bool:
        """End a hold that cost nothing."""
        return self._end(hold, 0)

    async def restore_hold(self, hold: Hold) -> bool:
        """Put a lost hold back. False also for one that was ended in the last minutes."""
        account = self._account(hold.customer)
        if hold.id in account.holds or hold.id in account.ended:
            return False
        account.add(hold, account.stands_of(hold))
        return True

    async def fetch_balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window."""
        if not windows:
            return ()
        return (await self.fetch_standing(windows)).balances

    async def fetch_standing(self, windows: tuple[Window, ...]) -> Standing:
        """What stands against each window, and the breaker."""
        (customer,) = {window.customer for window in windows}

        async def step() -> Standing:
            account = self._account(customer)
            return Standing(account.balances(windows), account.breaker_at(self._clock.now()))

        return await self._refill.take(step)

    async def fetch_breakers(self) -> dict[str, Breaker]:
        """Breakers that are open, by customer."""
        now = self._clock.now()
        found = {customer: account.breaker_at(now) for customer, account in sorted(self._accounts.items())}
        return {customer: breaker for customer, breaker in found.items() if breaker is not None}

    async def reset_breaker(self, customer: str) -> None:
        """Close a breaker."""
        self._account(customer).breaker = None

    async def forget_windows(self, customer: str) -> None:
        """Drop what stands against a customer's windows."""
        self._account(customer).stands.clear()

    async def fetch_hold_ids(self, customer: str) -> dict[str, datetime]:
        """Ids of the customer's open holds, with the moment each was placed."""
        return {hold.id: hold.placed_at for hold in self._account(customer).holds.values()}

    async def fetch_customers(self) -> tuple[str, ...]:
        """Customers that have open holds, sorted."""
        return tuple(sorted(customer for customer, account in self._accounts.items() if account.holds))

    async def check(self) -> None:
        """Memory can always be used."""

    async def close(self) -> None:
        """Stop fillings."""
        await self._refill.close()

    def _place(self, hold: Hold, windows: tuple[Window, ...], terms: Terms) -> Placement:
        account = self._account(hold.customer)
        balances = account.balances(windows)
        breaker = account.breaker_at(hold.placed_at)
        open_id = account.open_id_like(hold)
        if open_id is not None:
            return Placement(PlacementOutcome.REPLAYED, open_id, balances, breaker=breaker)
        # A hold that was voided because nobody knew whether it was placed must not be placed by a call that comes late.
        if hold.id in account.ended:
            return Placement(PlacementOutcome.REFUSED, None, balances, Refusal.ENDED, breaker)
        verdict = judge(balances, breaker, terms, hold_id=hold.id, amount_nanos=hold.amount_nanos, now=hold.placed_at)
        account.breaker = verdict.breaker
        if verdict.refuses:
            return Placement(
                PlacementOutcome.REFUSED, None, balances, verdict.refusal, verdict.breaker, verdict.has_tripped
            )
        started_in = tuple(windows[place] for place in verdict.grace_starts)
        for window in started_in:
            account.stands[window.id].grace_started_at = hold.placed_at
        account.add(hold, account.stands_of(hold))
        return Placement(
            PlacementOutcome.PLACED,
            hold.id,
            account.balances(windows),
            verdict.refusal,
            verdict.breaker,
            grace_ends_at=verdict.grace_ends_at,
            grace_started_in=started_in,
        )

    def _end(self, hold: Hold, cost_nanos: int) -> bool:
        account = self._account(hold.customer)
        account.ended.setdefault(hold.id, (self._clock.now(), cost_nanos))
        placed = account.holds.pop(hold.id, None)
        if placed is None:
            return False
        if placed.idempotency_key is not None and account.id_by_key.get(placed.idempotency_key) == placed.id:
            del account.id_by_key[placed.idempotency_key]
        # A window that is not known is left out: whoever fills it reads the cost in the ledger, or in `ended`.
        for stand in account.stands_of(placed):
            stand.held_nanos -= placed.amount_nanos
            stand.captured_nanos += cost_nanos
        self._end_trial(account, placed, cost_nanos)
        return True

    def _end_trial(self, account: _Account, placed: Hold, cost_nanos: int) -> None:
        """What the end of a hold does to the breaker, where it is the trial."""
        breaker = account.breaker
        if breaker is None or breaker.trial_id != placed.id:
            return
        day = account.stands.get(WindowId(CUSTOMER_SCOPE, Period.DAY, placed.window_keys.get(Period.DAY, "")))
        used_nanos = None if day is None else day.captured_nanos + day.held_nanos
        account.breaker = after_trial(breaker, cost_nanos=cost_nanos, day_used_nanos=used_nanos, now=self._clock.now())

    async def _fill(self, snapshot: Snapshot) -> None:
        """Apply what the ledger knows, by the rules in refill."""
        now = self._clock.now()
        self._sweep(now)
        account = self._account(snapshot.customer)
        filled = {
            window.id: _Stand(
                captured_nanos=snapshot.captured_in(window),
                forget_at=max(window.resets_at, now) + WINDOW_KEPT[window.period],
                grace_started_at=snapshot.grace_started_at(window),
            )
            for window in snapshot.windows
            if window.id not in account.stands
        }
        if not filled:
            return
        for hold in snapshot.open_holds:
            if hold.id in account.holds:
                account.widen(hold)
            elif hold.id in account.ended:
                _, cost_nanos = account.ended[hold.id]
                for window_id in hold.window_ids:
                    if window_id in filled:
                        filled[window_id].captured_nanos += cost_nanos
            else:
                account.add(hold, account.stands_of(hold))
        for hold in account.holds.values():
            for window_id in hold.window_ids:
                if window_id in filled:
                    filled[window_id].held_nanos += hold.amount_nanos
        account.stands.update(filled)
        account.open_breaker(snapshot, filled)

    def _account(self, customer: str) -> _Account:
        account = self._accounts.setdefault(customer, _Account())
        account.forget_ended_before(self._clock.now() - timedelta(seconds=ENDED_TTL_S))
        return account

    def _sweep(self, now: datetime) -> None:
        """Forget windows whose time is over, and customers of whom nothing is left."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_EVERY
        for customer, account in list(self._accounts.items()):
            account.forget_ended_before(now - timedelta(seconds=ENDED_TTL_S))
            account.stands = {window: stand for window, stand in account.stands.items() if stand.forget_at > now}
            if not (account.stands or account.holds or account.ended or account.breaker_at(now)):
                del self._accounts[customer]
