"""Decide whether a query may run, in order: estimate, size, hold, decide (steps 3 to 7).

Called by the gate's handler with a parsed query and its principal; calls BigQuery (dry run), the BudgetStore and the
Ledger through their ports. What leaves: Admitted, with an open hold that is recorded in the ledger and that the caller
must end (forward and settle, or void); Refused, with nothing held and the refusal booked; CachedOnly, when a budget
says no and the result is in BigQuery's cache, which costs nothing and needs no hold; or the ports' errors, with
nothing held. Order that is safe to crash in: a hold without a record is an orphan that reconcile voids, a record
without a forward is a hold whose job is never found, which it voids too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from bqgate.admission.breaker_log import remember
from bqgate.admission.estimate import DRY_RUN_AWAY, DRY_RUN_REFUSED, Estimator
from bqgate.admission.hold_making import make_hold
from bqgate.admission.observing import as_observed, foresee_query, rules_for
from bqgate.admission.placing import Placed, Placing
from bqgate.admission.sizing import HoldRules, HoldSize, least_hold, size_hold, slowed, unknown_hold_nanos
from bqgate.admission.slots import SlotBook
from bqgate.admission.threshold_log import tell_thresholds
from bqgate.domain.budget import Balance
from bqgate.domain.cost_breaker import Refusal
from bqgate.domain.decision import (
    DEGRADED,
    MAKE_IT_CHEAPER,
    Decision,
    Forward,
    Reject,
    RejectReason,
    Throttle,
    decide,
    name_of,
    tightest_bound,
)
from bqgate.domain.degradation import System
from bqgate.domain.entry import Entry, EntryKind
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import Hold, PlacementOutcome
from bqgate.domain.job import Estimate, Method, Outcome, QueryRequest
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.pricing import SlotHistory
from bqgate.domain.principal import Principal, Role
from bqgate.domain.scope import Spender
from bqgate.domain.tier import Budget, Customer, Mode, windows_of
from bqgate.ports import Clock, Journal, Ledger, PolicySource
from bqgate.wire.error_reply import reason_of
from bqgate.wire.query_request import fingerprint, may_be_served_from_cache

# Why a query is refused that might have room when it is slowed down.
_FOR_WANT_OF_ROOM = frozenset({RejectReason.BUDGET_USED_UP, RejectReason.GRACE_OVER, RejectReason.QUERY_TOO_BIG})


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may run: now (Forward) or after a wait (Throttle). `is_replay`: an earlier attempt's hold covers it."""

    decision: Forward | Throttle
    hold: Hold
    size: HoldSize
    estimate: Estimate
    balances: tuple[Balance, ...]
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not run. `cap_bytes` is what one query may bill under the bound that it passed."""

    reject: Reject
    decision_id: str
    bytes_at_most: int | None
    cap_bytes: int
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True)
class CachedOnly:
    """A budget said no, but BigQuery has the result in its cache: it may run bound to that, without a hold."""

    decision_id: str


class Admission:
    """The money side of the request path, over its ports."""

    def __init__(
        self,
        *,
        estimator: Estimator,
        placing: Placing,
        ledger: Ledger,
        clock: Clock,
        journal: Journal,
        policies: PolicySource,
        rules: HoldRules,
        hold_ttl_s: int,
        new_id: Callable[[], str],
        slots: SlotBook,
        on_trip: Callable[[Customer], None] | None = None,
    ) -> None:
        self._estimator = estimator
        self._placing = placing
        self._ledger = ledger
        self._clock = clock
        self._journal = journal
        self._policies = policies
        self._rules = rules
        self._hold_ttl_s = hold_ttl_s
        self._new_id = new_id
        self._slots = slots
        self._on_trip = on_trip

    def take_over(self, rules: HoldRules, *, hold_ttl_s: int) -> None:
        """Size and date holds by these rules, from the next query on."""
        self._rules = rules
        self._hold_ttl_s = hold_ttl_s

    async def estimate(self, request: QueryRequest, principal: Principal, customer: Customer) -> Estimate:
        """Step 3. A query that BigQuery calls invalid: jobs.query answers so, jobs.insert makes a job that fails.

        Raises:
            UpstreamRefused: BigQuery's answer is the caller's answer.
            UpstreamUnavailable: BigQuery does not answer.
        """
        try:
            return await self._estimator.estimate(request, principal.credential)
        except UpstreamRefused as refused:
            if request.method is Method.QUERY or not _is_about_the_query(refused):
                raise
            return Estimate(0, "", 0, location=request.location, unknown_because=DRY_RUN_REFUSED)
        except UpstreamUnavailable:
            nanos = unknown_hold_nanos(request, self._rules, self._policies.prices)
            if not self._placing.may_go_on(System.DRY_RUN, customer, nanos):
                raise
            return Estimate(0, "", 0, location=request.location, unknown_because=DRY_RUN_AWAY)

    async def admit(
        self, request: QueryRequest, principal: Principal, customer: Customer, estimate: Estimate
    ) -> Admitted | Refused | CachedOnly:
        """Steps 4 to 7: size, hold, decide, and record. What a budget refuses may still come from the cache.

        Raises:
            BudgetStoreUnavailable: the budgets cannot be asked.
            LedgerUnavailable: the hold cannot be recorded; it was voided.
        """
        principal = replace(principal, name=booked_name(principal, estimate))
        prices = self._policies.prices
        self._ledger.register_prices(prices)
        history = await self._slots.history_of(customer.id) if prices.uses_slots else SlotHistory()
        rules = rules_for(customer, estimate, self._rules)
        size = size_hold(request, estimate, rules=rules, prices=prices, history=history)
        outcome = await self._attempt(request, principal, customer, estimate, size)
        if isinstance(outcome, Refused) and outcome.reject.reason in _FOR_WANT_OF_ROOM and size is not None:
            slow = slowed(request, customer.tier.throttling.slowdown)
            less = size_hold(slow, estimate, rules=rules, prices=prices, history=history)
            if less is not None and less.amount_nanos < size.amount_nanos:
                outcome = await self._attempt(request, principal, customer, estimate, less, is_slowed=True)
        if isinstance(outcome, Refused) and estimate.unknown_because == DRY_RUN_REFUSED:
            # It will most likely fail, which is free and the caller's to see; should it run, it bills the least.
            least = least_hold(request, estimate, prices=prices)
            outcome = await self._attempt(request, principal, customer, estimate, least)
        if isinstance(outcome, Refused):
            if await self._is_cached(request, principal):
                return CachedOnly(outcome.decision_id)
            await self._book_refusal(outcome, request, principal, customer)
        return outcome

    async def _is_cached(self, request: QueryRequest, principal: Principal) -> bool:
        """Whether a refused query can be answered from BigQuery's cache. No answer is no."""
        if not may_be_served_from_cache(request):
            return False
        try:
            return await self._estimator.is_cached(request, principal.credential)
        except (UpstreamRefused, UpstreamUnavailable):
            return False

    async def _attempt(
        self,
        request: QueryRequest,
        principal: Principal,
        customer: Customer,
        estimate: Estimate,
        size: HoldSize | None,
        *,
        is_slowed: bool = False,
    ) -> Admitted | Refused:
        """Try to hold this much. None: the policy refuses to guess. `is_slowed`: it covers a throttled query only."""
        if size is None:
            reject = Reject(RejectReason.UNKNOWN_ESTIMATE, 0, suggestion=f"It is {estimate.unknown_because}.")
            return Refused(reject, self._new_id(), bytes_at_most=None, cap_bytes=0, balances=())
        now = self._clock.now()
        spender = Spender(principal.name, request.project_id, principal.workload, request.labels)
        budgets = self._policies.directory.budgets_over(customer, spender)
        too_big = self._too_big(request, estimate, size, budgets, now)
        if too_big is not None:
            return too_big
        windows, hold_id = windows_of(budgets, now), self._new_id()
        hold = make_hold(
            request, principal, estimate, size, budgets, windows, hold_id=hold_id, now=now, ttl_s=self._hold_ttl_s
        )
        placed = await self._placing.place(hold, windows, customer)
        placement = placed.placement
        if placement.refusal is Refusal.ENDED:
            raise BudgetStoreUnavailable("the hold was ended before it was placed")
        await remember(placement, hold, ledger=self._ledger, journal=self._journal)
        tell_thresholds(placement, budgets, amount_nanos=hold.amount_nanos, journal=self._journal)
        if placement.has_tripped and self._on_trip is not None:
            self._on_trip(customer)
        terms, wait_ms = customer.terms_at(now), customer.tier.throttle_wait_ms
        decision: Decision = decide(placement, amount_nanos=hold.amount_nanos, terms=terms, wait_ms=wait_ms)
        if is_slowed and isinstance(decision, Forward):
            decision = Throttle(wait_ms=wait_ms)
        if isinstance(decision, Reject):
            return Refused(decision, hold.id, size.bytes_at_most, 0, placement.balances)
        would_have = foresee_query(placed, decision, estimate, hold, budgets, customer=customer, rules=self._rules)
        if isinstance(decision, Forward):
            decision = as_observed(would_have)
        word = DEGRADED if placed.is_degraded else name_of(decision, placement)
        hold = await self._record(replace(hold, decision=word, would_have=would_have), placed, customer)
        return Admitted(
            decision, hold, size, estimate, placement.balances, is_replay=placement.outcome is PlacementOutcome.REPLAYED
        )

    def _too_big(
        self, request: QueryRequest, estimate: Estimate, size: HoldSize, budgets: tuple[Budget, ...], now: datetime
    ) -> Refused | None:
        """The refusal of a query that passes an enforced budget's bound of one query."""
        bound = tightest_bound(budgets, Mode.ENFORCE, now)
        if bound is None or size.amount_nanos <= bound[1]:
            return None
        reject = Reject(
            RejectReason.QUERY_TOO_BIG,
            size.amount_nanos,
            suggestion=MAKE_IT_CHEAPER,
            budget=bound[0],
            bound_nanos=bound[1],
        )
        cap_bytes = self._policies.prices.bytes_affordable(bound[1], location=estimate.location or request.location)
        return Refused(reject, self._new_id(), size.bytes_at_most, cap_bytes, balances=())

    async def _record(self, hold: Hold, placed: Placed, customer: Customer) -> Hold:
        """Write the hold down before anything is forwarded: after this line a crash loses no money."""
        placement = placed.placement
        assert placement.hold_id is not None, "a placed or replayed hold has an id"
        if placement.outcome is PlacementOutcome.REPLAYED:
            self._journal.count("holds_total", event="replayed")
            return replace(hold, id=placement.hold_id)
        await self._placing.record(hold, customer, is_degraded=placed.is_degraded)
        self._journal.count("holds_total", event="placed")
        return hold

    async def _book_refusal(
        self, refused: Refused, request: QueryRequest, principal: Principal, customer: Customer
    ) -> None:
        """Book a refusal. No money depends on that line, so a ledger that is away does not change the answer."""
        now = self._clock.now()
        entry = Entry(
            id=refused.decision_id,
            kind=EntryKind.REFUSAL,
            customer=customer.id,
            principal=principal.name,
            project_id=request.project_id,
            booked_at=now,
            window_keys={window.period: window.key for window in customer.windows(now)},
            outcome=Outcome.REFUSED,
            cost_nanos=0,
            workload=principal.workload,
            decision="reject",
            reason=refused.reject.reason.value,
            estimate_bytes=refused.bytes_at_most,
            estimate_nanos=min(refused.reject.amount_nanos, MAX_NANOS),
            fingerprint=fingerprint(request)[:16],
            labels=request.labels,
            placed_at=now,
        )
        try:
            await self._ledger.book(entry)
        except LedgerUnavailable:
            self._journal.count("failures_total", system="ledger", step="refusal")


def booked_name(principal: Principal, estimate: Estimate) -> str:
    """Whose query the ledger books: where nobody has authenticated it, BigQuery's word is the best there is."""
    return (principal.role is Role.OPEN and estimate.user_email) or principal.name


def _is_about_the_query(refused: UpstreamRefused) -> bool:
    """Whether jobs.insert would answer 200 and a failed job, rather than refuse the call (bad token, no quota)."""
    return refused.status in {400, 404} or (refused.status == 403 and reason_of(refused.body) == "accessDenied")
