"""Assess an attempt to spend past a limit: grace, the emergency limit and the customer's cost breaker. Pure.

The memory store calls assess and after_probe, place_hold.lua and end_hold.lua say the same in Lua, and a state machine
holds both to a naive model. The rules, in order:

1. A strict window is short (a budget of a part of the customer's queries, or of the deployment): BUDGET. Nothing of
   grace and breaker is touched.
2. The breaker is open and no probe is due: BREAKER_OPEN.
3. Every window of the customer's own has room: placed.
4. One is short and the grace policy gives no grace: BUDGET.
5. The day would pass the emergency limit: EMERGENCY, and the breaker trips until the day's end.
6. A short window's grace is over: GRACE_OVER. Else placed, in grace; a window's grace starts with the first hold that
   was placed past its limit, and starts once: a new window is a new key, nothing is reset.

A probe is due `cooldown_s` after the breaker opened (never with 0), one at a time: 3 to 6 judge it. Placed, it is the
probe; refused, the breaker is open anew. Captured, it closes the breaker when the day fits under the emergency limit,
else the breaker is open anew; voided, the next probe may come.

Where the grace policy says observed, nothing trips and all but 1 is placed; the refusal says what enforcing would have
done. Amounts are nano-dollars, moments aware UTC datetimes. `now` of an attempt is its hold's placed_at.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bqgate.domain.budget import Balance, Period
from bqgate.domain.reject_reason import RejectReason


@dataclass(frozen=True, slots=True)
class GracePolicy:
    """What an attempt is judged by beside the limits of its windows.

    `emergency_nanos` bounds captured + held of the day while grace lasts; None: no grace. `cooldown_s` is how long the
    breaker stays open before a probe; 0: no probe.
    """

    grace_s: int = 0
    emergency_nanos: int | None = None
    cooldown_s: int = 0
    is_observed: bool = False

    @property
    def has_grace(self) -> bool:
        return self.grace_s > 0 and self.emergency_nanos is not None


# The limits alone, and a breaker that others opened.
NO_GRACE = GracePolicy()


@dataclass(frozen=True, slots=True)
class CostBreaker:
    """A customer's cost breaker that is open. `emergency_nanos` is what the probe under way is judged by."""

    opened_at: datetime
    until: datetime
    probe_id: str | None = None
    emergency_nanos: int | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether its day is not over."""
        return now < self.until

    def is_probe_due(self, now: datetime, cooldown_s: int) -> bool:
        """Whether an attempt may be the probe."""
        return cooldown_s > 0 and self.probe_id is None and now >= self.opened_at + timedelta(seconds=cooldown_s)


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A customer's balances and its breaker (None: closed), all at one moment."""

    balances: tuple[Balance, ...]
    breaker: CostBreaker | None


class BreakerEventKind(StrEnum):
    """What the ledger remembers of grace and breaker, so that a lost store is whole again."""

    GRACE_STARTED = "grace_started"
    TRIPPED = "tripped"
    CLOSED = "closed"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class BreakerEvent:
    """One line of that memory. The window is the day for a breaker's, any window for the start of a grace.

    `actor` is whose query it was, or the admin who reset.
    """

    customer: str
    period: Period
    window_key: str
    at: datetime
    kind: BreakerEventKind
    actor: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What judge says.

    `refusal` None: nothing stands against it. `refuses`: it is not placed; without it a refusal is what enforcing would
    have said. `breaker` is the breaker after it. `grace_starts` are the places of the windows whose grace begins with
    it, `grace_ends_at` the earliest end among the windows in grace.
    """

    refusal: RejectReason | None
    breaker: CostBreaker | None
    refuses: bool = False
    grace_starts: tuple[int, ...] = ()
    grace_ends_at: datetime | None = None
    has_tripped: bool = False


def assess(
    balances: tuple[Balance, ...],
    breaker: CostBreaker | None,
    grace: GracePolicy,
    *,
    hold_id: str,
    amount_nanos: int,
    now: datetime,
) -> Assessment:
    """Assess an attempt to hold `amount_nanos` on all windows of `balances`."""
    if breaker is not None and not breaker.is_open(now):
        breaker = None
    if any(balance.window.is_strict and not balance.has_room_for(amount_nanos) for balance in balances):
        return Assessment(RejectReason.BUDGET_USED_UP, breaker, refuses=True)
    is_probe = breaker is not None and breaker.is_probe_due(now, grace.cooldown_s)
    if breaker is not None and not is_probe:
        return Assessment(RejectReason.BREAKER_OPEN, breaker, refuses=not grace.is_observed)
    verdict = _assess_budgets(balances, grace, amount_nanos, now)
    if grace.is_observed:
        return replace(verdict, breaker=breaker)
    if verdict.refusal is None:
        if breaker is not None:
            breaker = replace(breaker, probe_id=hold_id, emergency_nanos=grace.emergency_nanos)
        return replace(verdict, breaker=breaker)
    day = day_of(balances)
    if breaker is not None:
        breaker = CostBreaker(opened_at=now, until=breaker.until)
    elif verdict.refusal is RejectReason.EMERGENCY and day is not None:
        breaker = CostBreaker(opened_at=now, until=day.window.resets_at)
    return replace(verdict, breaker=breaker, refuses=True, has_tripped=breaker is not None)


def after_probe(
    breaker: CostBreaker, *, cost_nanos: int, day_used_nanos: int | None, now: datetime
) -> CostBreaker | None:
    """The breaker after its probe ended: closed (None), open anew, or as before the probe.

    Args:
        breaker: with the probe in it.
        cost_nanos: what the probe cost; 0: voided, it tried nothing.
        day_used_nanos: captured + held of the probe's day after it; None: not known at the moment.
        now: when it ended.
    """
    if cost_nanos == 0 or day_used_nanos is None:
        return replace(breaker, probe_id=None, emergency_nanos=None)
    if breaker.emergency_nanos is None or day_used_nanos <= breaker.emergency_nanos:
        return None
    return CostBreaker(opened_at=now, until=breaker.until)


def day_of(balances: tuple[Balance, ...]) -> Balance | None:
    """The balance of the customer's own day, where there is one."""
    return next((each for each in balances if each.window.is_own and each.window.period is Period.DAY), None)


def _assess_budgets(balances: tuple[Balance, ...], grace: GracePolicy, amount_nanos: int, now: datetime) -> Assessment:
    """Rules 3 to 6, without a breaker."""
    short = [
        place
        for place, balance in enumerate(balances)
        if balance.window.is_own and not balance.has_room_for(amount_nanos)
    ]
    if not short:
        return Assessment(None, None)
    if not grace.has_grace:
        return Assessment(RejectReason.BUDGET_USED_UP, None)
    assert grace.emergency_nanos is not None, "there is grace only below an emergency limit"
    day = day_of(balances)
    if day is not None and day.used_nanos + amount_nanos > grace.emergency_nanos:
        return Assessment(RejectReason.EMERGENCY, None)
    ends_at = min((balances[place].grace_started_at or now) for place in short) + timedelta(seconds=grace.grace_s)
    if now >= ends_at:
        return Assessment(RejectReason.GRACE_OVER, None)
    starts = tuple(place for place in short if balances[place].grace_started_at is None)
    return Assessment(None, None, grace_starts=starts, grace_ends_at=ends_at)
