"""Decide whether a query may run: size its hold, place it, judge the result, record it.

Called by the gate; calls BigQuery, the BudgetStore and the Ledger through their ports. Returns Admitted, with an open
hold that is recorded in the ledger and that the caller must end; Refused, with nothing held and the refusal booked; or
CachedOnly, where a budget refuses but BigQuery has the result in its cache. Safe to crash in: a hold without a record
is an orphan that reconcile voids; a recorded one, never forwarded, is voided once BigQuery knows no such job.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bqgate.admission.breaker_log import record_breaker_events
from bqgate.admission.estimates.estimator import DRY_RUN_AWAY, DRY_RUN_REFUSED, Estimator
from bqgate.admission.hold_factory import make_hold
from bqgate.admission.hold_service import HoldService
from bqgate.admission.observe_mode import as_observed, rules_for, shadow_decision_of
from bqgate.admission.present_budgets import BudgetReckoner, PresentBudgets
from bqgate.admission.refusals import Refusals, Refused
from bqgate.admission.sizing import HoldRules, HoldSize, least_hold, size_hold, unknown_hold_nanos
from bqgate.admission.slots import SlotBook
from bqgate.admission.threshold_log import log_thresholds
from bqgate.domain.budget import Balance
from bqgate.domain.budget_scope import Spender
from bqgate.domain.decision import (
    DEGRADED,
    MAKE_IT_CHEAPER,
    Decision,
    Forward,
    Reject,
    Throttle,
    decide,
    name_of,
)
from bqgate.domain.degradation import System
from bqgate.domain.errors import (
    AttemptEnded,
    BudgetStoreUnavailable,
    TooManyRequests,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bqgate.domain.hold import Hold, Placement, PlacementOutcome
from bqgate.domain.job import Estimate, Method, QueryRequest
from bqgate.domain.pricing import SlotHistory
from bqgate.domain.principal import Principal, Role
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.statements import may_be_cached
from bqgate.domain.tier import Budget, Customer
from bqgate.ports import Clock, Ledger, PolicySource, Telemetry
from bqgate.wire.error_reply import is_about_the_query
from bqgate.wire.query_request import may_be_served_from_cache

# Between a cost's booking and its capture, or a hold's way back and its record's end, lie milliseconds.
_WHILE_IT_ENDS_S = (0.01, 0.05, 0.2)

# Refusals of queries that might fit when they are slowed down.
_OUT_OF_ROOM = frozenset({RejectReason.BUDGET_USED_UP, RejectReason.GRACE_OVER, RejectReason.QUERY_TOO_BIG})


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may run, now (Forward) or after a wait (Throttle). `is_repeat`: the hold is an earlier attempt's."""

    decision: Forward | Throttle
    hold: Hold
    balances: tuple[Balance, ...]
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class CachedOnly:
    """A budget refuses, but BigQuery has the result in its cache: it may run from there only, without a hold."""

    decision_id: str


class Admission:
    """The request path from estimate to decision, over its ports."""

    def __init__(
        self,
        *,
        estimator: Estimator,
        holds: HoldService,
        ledger: Ledger,
        clock: Clock,
        telemetry: Telemetry,
        policies: PolicySource,
        rules: HoldRules,
        hold_ttl_s: int,
        new_id: Callable[[], str],
        slots: SlotBook,
        on_trip: Callable[[Customer], None] | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """Take the ports. `refusals` None: each is booked by itself."""
        self._estimator = estimator
        self._holds = holds
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._policies = policies
        self._rules = rules
        self._hold_ttl_s = hold_ttl_s
        self._new_id = new_id
        self._slots = slots
        self._reckoner = BudgetReckoner(policies)
        self._on_trip = on_trip
        self._refusals = refusals or Refusals(ledger, clock, telemetry, new_id=new_id, ttl_s=0)

    def take_over(self, rules: HoldRules, *, hold_ttl_s: int) -> None:
        """Use new rules and a new lifetime of holds, from the next query on."""
        self._rules = rules
        self._hold_ttl_s = hold_ttl_s

    async def estimate(self, request: QueryRequest, principal: Principal, customer: Customer) -> Estimate:
        """Estimate a query. What BigQuery calls invalid is unknown for jobs.insert, which makes a job that fails.

        Raises:
            UpstreamRefused: BigQuery's answer is the caller's answer.
            UpstreamUnavailable: BigQuery does not answer.
            TooManyRequests: too many dry runs are under way or wait.
        """
        try:
            return await self._estimator.estimate(request, principal.credential, customer.id)
        except UpstreamRefused as error:
            if request.method is Method.QUERY or not is_about_the_query(error.status, error.body, request.project_id):
                raise
            return Estimate(0, "", 0, location=request.location, unknown_because=DRY_RUN_REFUSED)
        except UpstreamUnavailable:
            nanos = unknown_hold_nanos(request, self._rules, self._policies.prices)
            if not self._holds.may_go_on(System.DRY_RUN, customer, nanos):
                raise
            return Estimate(0, "", 0, location=request.location, unknown_because=DRY_RUN_AWAY)

    def forget_estimate(self, request: QueryRequest, principal: Principal) -> None:
        """Drop the cached estimate of a query."""
        self._estimator.forget(request, principal.credential)

    async def admit(
        self, request: QueryRequest, principal: Principal, customer: Customer, estimate: Estimate
    ) -> Admitted | Refused | CachedOnly:
        """Size, hold, decide and record. What a budget refuses may still come from BigQuery's cache.

        Raises:
            BudgetStoreUnavailable: the budgets cannot be asked.
            LedgerUnavailable: the hold cannot be recorded; it was voided.
            AttemptEnded: it repeats a request that it cannot join.
        """
        name = booked_name(principal, estimate)
        if name != principal.name:
            principal = Principal(principal.customer, name, principal.workload, principal.credential, principal.role)
        prices = self._policies.prices
        self._ledger.register_prices(prices)
        history = await self._slots.history_of(customer.id) if prices.uses_slots else SlotHistory()
        rules = rules_for(customer, estimate, self._rules)
        sized = partial(size_hold, request, estimate, rules=rules, prices=prices, history=history)
        size = sized()
        outcome = await self._attempt(request, principal, customer, estimate, size)
        if isinstance(outcome, Admitted):
            return outcome
        if outcome.reject.reason in _OUT_OF_ROOM and size is not None:
            less = sized(slot_ms_at_most=customer.tier.throttling.slowdown.slot_ms_at_most)
            if less is not None and less.amount_nanos < size.amount_nanos:
                outcome = await self._attempt(request, principal, customer, estimate, less, is_slowed=True)
        if isinstance(outcome, Refused) and estimate.unknown_because == DRY_RUN_REFUSED:
            # It will most likely fail, which is free and the caller's to see; should it run, it bills the least.
            least = least_hold(request, estimate, prices=prices)
            if least is not None:
                outcome = await self._attempt(request, principal, customer, estimate, least)
        if isinstance(outcome, Refused):
            again = self._refusals.recall(outcome, request, principal, customer)
            if again is not None:
                return again
            if await self._is_cached(request, principal, estimate):
                return CachedOnly(outcome.decision_id)
            return await self._refusals.book(outcome, request, principal, customer)
        return outcome

    async def _is_cached(self, request: QueryRequest, principal: Principal, estimate: Estimate) -> bool:
        """Whether a refused query can be answered from BigQuery's cache. No answer is no."""
        if not may_be_served_from_cache(request) or not may_be_cached(estimate.statement_type):
            return False
        try:
            return await self._estimator.is_cached(request, principal.credential, principal.customer)
        except (UpstreamRefused, UpstreamUnavailable, TooManyRequests):
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
        """Try to hold this much. None: the policy refuses to guess. `is_slowed`: it covers a throttled query only.

        A repeat may find the hold of the request that it repeats while that is being ended: a moment later it has one
        of its own.
        """
        if size is None:
            reject = Reject(RejectReason.UNKNOWN_ESTIMATE, 0, suggestion=f"It is {estimate.unknown_because}.")
            return Refused(reject, self._new_id(), bytes_at_most=None, cap_bytes=0, balances=())
        for pause_s in _WHILE_IT_ENDS_S:
            try:
                return await self._attempt_once(request, principal, customer, estimate, size, is_slowed=is_slowed)
            except AttemptEnded:
                await self._clock.sleep(pause_s)
        return await self._attempt_once(request, principal, customer, estimate, size, is_slowed=is_slowed)

    async def _attempt_once(
        self,
        request: QueryRequest,
        principal: Principal,
        customer: Customer,
        estimate: Estimate,
        size: HoldSize,
        *,
        is_slowed: bool,
    ) -> Admitted | Refused:
        now = self._clock.now()
        spender = Spender(principal.name, request.project_id, principal.workload, request.labels)
        present = self._reckoner.present(customer, spender, now)
        if present.query_bound is not None and size.amount_nanos > present.query_bound[1]:
            return self._too_big(request, estimate, size, *present.query_bound)
        hold_id, ttl_s = self._new_id(), self._hold_ttl_s
        hold = make_hold(request, principal, estimate, size, present, hold_id=hold_id, now=now, ttl_s=ttl_s)
        placement = await self._holds.place(hold, present.windows, customer, present.grace)
        is_admitted = False
        try:
            admitted = await self._decide(hold, placement, customer, estimate, size, present, is_slowed=is_slowed)
            is_admitted = isinstance(admitted, Admitted)
        finally:
            if not is_admitted:
                await self._holds.give_back(hold, placement)
        return admitted

    async def _decide(
        self,
        hold: Hold,
        placement: Placement,
        customer: Customer,
        estimate: Estimate,
        size: HoldSize,
        present: PresentBudgets,
        *,
        is_slowed: bool,
    ) -> Admitted | Refused:
        """Decide by the outcome of the placement, and record the hold where the query may run."""
        if placement.outcome is PlacementOutcome.ENDED:
            raise BudgetStoreUnavailable("the hold was ended before it was placed")
        if placement.has_tripped or placement.grace_started_in:
            await record_breaker_events(placement, hold, ledger=self._ledger, telemetry=self._telemetry)
        log_thresholds(placement, present.budgets, amount_nanos=hold.amount_nanos, telemetry=self._telemetry)
        if placement.has_tripped and self._on_trip is not None:
            self._on_trip(customer)
        wait_ms = customer.tier.throttle_wait_ms
        decision: Decision = decide(placement, amount_nanos=hold.amount_nanos, grace=present.grace, wait_ms=wait_ms)
        if is_slowed and isinstance(decision, Forward):
            decision = Throttle(wait_ms=wait_ms)
        if isinstance(decision, Reject):
            return Refused(decision, hold.id, size.bytes_at_most, 0, placement.balances)
        shadow_decision = shadow_decision_of(
            placement, decision, estimate, hold, present, customer=customer, rules=self._rules
        )
        if isinstance(decision, Forward) and not present.are_enforced:
            decision = as_observed(shadow_decision)
        is_repeat = placement.outcome is PlacementOutcome.REPLAYED
        decision_name = DEGRADED if placement.is_degraded else name_of(decision, placement)
        if (hold.decision, hold.shadow_decision) != (decision_name, shadow_decision):
            hold = replace(hold, decision=decision_name, shadow_decision=shadow_decision)
        hold = await self._holds.record(hold, placement, customer)
        self._telemetry.count("holds_total", event="replayed" if is_repeat else "placed")
        return Admitted(decision, hold, placement.balances, is_repeat)

    def _too_big(
        self, request: QueryRequest, estimate: Estimate, size: HoldSize, budget: Budget, bound_nanos: int
    ) -> Refused:
        """The refusal of a query over the limit of one query in an enforced budget."""
        reject = Reject(
            RejectReason.QUERY_TOO_BIG,
            size.amount_nanos,
            suggestion=MAKE_IT_CHEAPER,
            budget=budget,
            bound_nanos=bound_nanos,
        )
        cap_bytes = self._policies.prices.bytes_affordable(
            bound_nanos, location=estimate.location or request.location, statement_type=size.priced_as
        )
        return Refused(reject, self._new_id(), size.bytes_at_most, cap_bytes, balances=())


def booked_name(principal: Principal, estimate: Estimate) -> str:
    """The name that the ledger books; before an open gate, the address that BigQuery authenticated."""
    return (principal.role is Role.OPEN and estimate.user_email) or principal.name
