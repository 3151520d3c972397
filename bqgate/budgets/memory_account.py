"""Keep one account of a budget store in memory, a customer's or the deployment's: the plain telling of the rules.

Used by memory_store, which asks one or two of them in one step. Nothing here waits, so that no other step comes in
between. UnknownWindows leaves it where a window is not known, with nothing changed. Amounts are nano-dollars.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bqgate.budgets.keys import WINDOW_KEPT
from bqgate.budgets.refill import ENDED_TTL_S, Snapshot, UnknownWindows
from bqgate.domain.budget import Balance, Period, Window, WindowId, carried_nanos, with_rollovers
from bqgate.domain.budget_scope import CUSTOMER_SCOPE
from bqgate.domain.cost_breaker import (
    CostBreaker,
    GracePolicy,
    after_probe,
    assess,
)
from bqgate.domain.hold import RESTORED_ATTEMPTS, Attempts, Hold, Placement, PlacementOutcome, VoidOutcome


@dataclass(slots=True)
class Stand:
    """What stands against one window."""

    captured_nanos: int
    forget_at: datetime
    held_nanos: int = 0
    grace_started_at: datetime | None = None


@dataclass(slots=True)
class Account:
    """All that is known of one customer, or of the deployment."""

    stands: dict[WindowId, Stand] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    attempts: dict[str, Attempts] = field(default_factory=dict)  # of each hold
    id_by_key: dict[str, str] = field(default_factory=dict)
    ended: dict[str, tuple[datetime, int]] = field(default_factory=dict)  # oldest first; when, and the cost
    breaker: CostBreaker | None = None
    drop_count: int = 0  # how often windows were dropped

    def breaker_at(self, now: datetime) -> CostBreaker | None:
        """The breaker, where its day is not over."""
        return self.breaker if self.breaker is not None and self.breaker.is_open(now) else None

    def balances(self, windows: tuple[Window, ...]) -> tuple[Balance, ...]:
        """What stands against each window.

        Raises:
            UnknownWindows: at least one is not there.
        """
        try:
            return tuple([self._balance(window, self.stands[window.id]) for window in windows])
        except KeyError:
            unknown = tuple(window for window in with_rollovers(windows) if window.id not in self.stands)
            raise UnknownWindows(unknown, str(self.drop_count)) from None

    def _balance(self, window: Window, stand: Stand) -> Balance:
        carried = 0
        if window.rollover is not None:
            before = self.stands[window.rollover.window.id]
            carried = carried_nanos(window.rollover, captured_nanos=before.captured_nanos, held_nanos=before.held_nanos)
        return Balance(window, stand.captured_nanos, stand.held_nanos, stand.grace_started_at, carried)

    def join(self, hold: Hold, windows: tuple[Window, ...], leased_until: datetime) -> Placement | None:
        """One more attempt at the open hold that `hold` repeats; None: it repeats none."""
        open_id = hold.id if hold.id in self.holds else self.id_by_key.get(hold.idempotency_key or "")
        if open_id is None:
            return None
        balances = self.balances(windows)
        joined = self.attempts[open_id]
        if hold.is_joined_by_repeats:
            joined = self.attempts[open_id] = joined.joined(leased_until)
        breaker = self.breaker_at(hold.placed_at)
        return Placement(PlacementOutcome.REPLAYED, open_id, balances, breaker=breaker, attempts=joined.count)

    def place(self, hold: Hold, windows: tuple[Window, ...], grace: GracePolicy, leased_until: datetime) -> Placement:
        """Place a hold that repeats none, where every window has room."""
        balances = self.balances(windows)
        breaker = self.breaker_at(hold.placed_at)
        # A hold that was voided because nobody knew whether it was placed must not be placed by a call that comes late.
        if hold.id in self.ended:
            return Placement(PlacementOutcome.ENDED, None, balances, breaker=breaker)
        verdict = assess(balances, breaker, grace, hold_id=hold.id, amount_nanos=hold.amount_nanos, now=hold.placed_at)
        self.breaker = verdict.breaker
        if verdict.refuses:
            return Placement(
                PlacementOutcome.REFUSED, None, balances, verdict.refusal, verdict.breaker, verdict.has_tripped
            )
        started_in = tuple(windows[place] for place in verdict.grace_starts)
        for window in started_in:
            self.stands[window.id].grace_started_at = hold.placed_at
        self._add(hold, Attempts(1, leased_until))
        return Placement(
            PlacementOutcome.PLACED,
            hold.id,
            self.balances(windows),
            verdict.refusal,
            verdict.breaker,
            grace_ends_at=verdict.grace_ends_at,
            grace_started_in=started_in,
            attempts=1,
        )

    def end(self, hold: Hold, cost_nanos: int, now: datetime, attempts: int | None = None) -> tuple[VoidOutcome, int]:
        """End a hold: what became of it, and at which cost it ended, now or before.

        VOIDED: it ended now, whatever its cost. With `attempts` only where no other have joined.
        """
        hold_id = hold.id
        if hold_id not in self.holds:
            return self._end_again(hold, cost_nanos, now, attempts)
        if attempts is not None and attempts != self.attempts[hold_id].count:
            return VoidOutcome.JOINED, cost_nanos
        self.ended.setdefault(hold_id, (now, cost_nanos))
        placed = self.holds.pop(hold_id)
        del self.attempts[hold_id]
        if placed.idempotency_key and self.id_by_key.get(placed.idempotency_key) == placed.id:
            del self.id_by_key[placed.idempotency_key]
        # A window that is not known is left out: whoever fills it reads the cost in the ledger, or in `ended`.
        for stand in self._stands_of(placed):
            stand.held_nanos -= placed.amount_nanos
            stand.captured_nanos += cost_nanos
        self._end_probe(placed, cost_nanos, now)
        return VoidOutcome.VOIDED, cost_nanos

    def give_back(self, hold: Hold, now: datetime) -> None:
        """Take back a hold that was placed a moment ago, as if it never had been: the same may be placed later."""
        self.end(hold, 0, now)
        del self.ended[hold.id]

    def drop_windows(self, window_ids: Iterable[WindowId]) -> None:
        """Forget windows, to be filled anew, and not by what was read from the ledger before."""
        dropped = [self.stands.pop(window_id) for window_id in window_ids if window_id in self.stands]
        self.drop_count += bool(dropped)

    def restore(self, hold: Hold, leased_until: datetime, now: datetime) -> bool:
        """Put a lost hold back. False: it is there, or has ended, which is then remembered for some minutes more."""
        ended = self.ended.pop(hold.id, None)
        if ended is not None:
            self.ended[hold.id] = (now, ended[1])
        if hold.id in self.holds or ended is not None:
            return False
        self._add(hold, Attempts(RESTORED_ATTEMPTS, leased_until))
        return True

    def keep(self, hold_id: str, leased_until: datetime) -> None:
        """Lease a hold for longer, where it is there."""
        if hold_id in self.attempts:
            self.attempts[hold_id] = self.attempts[hold_id].kept(leased_until)

    def fill(self, snapshot: Snapshot, now: datetime, leased_until: datetime) -> None:
        """Apply what the ledger knows, by the rules in refill."""
        filled = {
            window.id: Stand(
                captured_nanos=snapshot.captured_in(window),
                forget_at=max(window.resets_at, now) + WINDOW_KEPT[window.period],
                grace_started_at=snapshot.grace_started_at(window),
            )
            for window in snapshot.windows
            if window.id not in self.stands
        }
        if not filled:
            return
        for hold in snapshot.open_holds:
            if hold.id in self.holds:
                self._widen(hold)
            elif hold.id in self.ended:
                _, cost_nanos = self.ended[hold.id]
                for window_id in hold.window_ids:
                    if window_id in filled:
                        filled[window_id].captured_nanos += cost_nanos
            else:
                self._add(hold, Attempts(RESTORED_ATTEMPTS, leased_until))
        for hold in self.holds.values():
            for window_id in hold.window_ids:
                if window_id in filled:
                    filled[window_id].held_nanos += hold.amount_nanos
        self.stands.update(filled)
        self._open_breaker(snapshot, filled)

    def forget(self, now: datetime) -> None:
        """Forget holds that ended minutes ago."""
        while self.ended:
            oldest_id = next(iter(self.ended))
            if self.ended[oldest_id][0] >= now - timedelta(seconds=ENDED_TTL_S):
                return
            del self.ended[oldest_id]

    def _add(self, hold: Hold, attempts: Attempts) -> None:
        """Write a hold down and count it in its windows that are known."""
        self.holds[hold.id] = hold
        self.attempts[hold.id] = attempts
        if hold.idempotency_key:
            self.id_by_key.setdefault(hold.idempotency_key, hold.id)
        for stand in self._stands_of(hold):
            stand.held_nanos += hold.amount_nanos

    def _widen(self, recorded: Hold) -> None:
        """Let a hold count against budgets that are younger than it, too; the windows to fill count it themselves."""
        hold = self.holds[recorded.id]
        younger = tuple(scope for scope in recorded.scopes if scope not in hold.scopes)
        self.holds[hold.id] = replace(hold, scopes=(*hold.scopes, *younger))
        for window_id in recorded.window_ids:
            if window_id.scope in younger and window_id in self.stands:
                self.stands[window_id].held_nanos += hold.amount_nanos

    def _end_again(self, hold: Hold, cost_nanos: int, now: datetime, attempts: int | None) -> tuple[VoidOutcome, int]:
        """End a hold that is not there. Windows that may lack its cost are dropped: the ledger has it."""
        ended = self.ended.get(hold.id)
        if ended is not None and cost_nanos in {0, ended[1]}:
            return VoidOutcome.ENDED, ended[1]
        if attempts is None:
            self.ended.pop(hold.id, None)  # the oldest come first
            self.ended[hold.id] = now, cost_nanos
        if cost_nanos:
            self.drop_windows(hold.window_ids)
        return VoidOutcome.UNKNOWN if ended is None else VoidOutcome.ENDED, cost_nanos

    def _stands_of(self, hold: Hold) -> list[Stand]:
        """The windows of a hold that are known."""
        return [stand for window_id in hold.window_ids if (stand := self.stands.get(window_id)) is not None]

    def _open_breaker(self, snapshot: Snapshot, filled: Container[WindowId]) -> None:
        """Take the ledger's breaker with its day, unless one is there that is open as long."""
        day, breaker = snapshot.breaker_day, snapshot.breaker
        if day is None or breaker is None or day.id not in filled:
            return
        if self.breaker is None or self.breaker.until < breaker.until:
            self.breaker = breaker

    def _end_probe(self, placed: Hold, cost_nanos: int, now: datetime) -> None:
        """What the end of a hold does to the breaker, where it is the probe."""
        if self.breaker is None or self.breaker.probe_id != placed.id:
            return
        day = self.stands.get(WindowId(CUSTOMER_SCOPE, Period.DAY, placed.window_keys.get(Period.DAY, "")))
        used_nanos = None if day is None else day.captured_nanos + day.held_nanos
        self.breaker = after_probe(self.breaker, cost_nanos=cost_nanos, day_used_nanos=used_nanos, now=now)
