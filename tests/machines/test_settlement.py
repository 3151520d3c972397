"""Two gates place, forward, crash, ask and mend in any order; at the end the ledger says what BigQuery billed.

The machine plays what is around settlement: admission (place, join, record), forwarding, BigQuery's jobs, crashes at
each step in between, a store that loses everything, a ledger that is away. A query may be sent by both gates under one
hold; BigQuery runs its job once. A gate that lives keeps the lease of what it may yet send. Each query counts against
its customer's budget and the deployment's, some against that of a workload too. The auditor asks invariants 3, 4, 6, 7.
"""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bqgate.budgets.accounts import AccountSource, deployment_hold
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.entry import Entry
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.hold import ENDED_ATTEMPTS, Hold, PlacementOutcome
from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Budget, CustomerRegistry, windows_of
from bqgate.domain.units import MIB
from bqgate.settlement.evidence import Inquiry
from tests.support.settlement_stand import ACME, PRICES, Gate, Stand, settlement_stand

# What fails takes minutes more, until the shortest run that fails is found.
pytestmark = pytest.mark.timeout(1_200)

UNLIMITED = LimitPlan(Limits())
NIGHTLY = Budget("nightly", "acme", BudgetScope(ScopeKind.WORKLOAD, "nightly"), UNLIMITED)
EVERYBODY = Budget("everybody", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, UNLIMITED)
TREE = replace(ACME, budgets=(NIGHTLY,))
POLICIES = PolicySnapshot(CustomerRegistry({"acme": TREE}, {}, ACME.tier, deployment=EVERYBODY), PRICES)

Fits = Callable[["Attempt"], bool]

COSTS_MIB = st.integers(0, 40)
# How far a gate comes with an attempt in one step: often far, or most runs would never reach a job.
FAR = st.sampled_from(["placed", "recorded", "recorded", "sent", "sent"])
ENDS = st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.STOPPED, Outcome.FAILED, Outcome.CACHED])


@dataclass(eq=False)
class Query:
    """One query, its hold, and its job as BigQuery knows it."""

    hold: Hold
    job: JobRef | None = None
    usage: Usage | None = None

    @property
    def billed_nanos(self) -> int:
        """What BigQuery bills for it: what it reports, however the job ended."""
        return 0 if self.usage is None else (self.usage.bytes_billed or 0) // MIB * NANOS_PER_USD


@dataclass(eq=False)
class Attempt:
    """One request of a query at a gate. `gate` None: that gate crashed, nobody but settlement cares any more."""

    query: Query
    gate: Gate | None
    is_first: bool
    is_recorded: bool = False
    is_sent: bool = False
    has_made_job: bool = False
    is_over: bool = False

    @property
    def is_live(self) -> bool:
        """Its gate has still to do something for it."""
        return self.gate is not None and not self.is_over


def is_placed(attempt: Attempt) -> bool:
    """The gate has still to record it."""
    return attempt.is_live and not attempt.is_recorded


def is_ready(attempt: Attempt) -> bool:
    """The gate has still to forward it."""
    return attempt.is_live and attempt.is_recorded and not attempt.is_sent


def is_joinable(attempt: Attempt) -> bool:
    """It has a job id, so that another gate may get the same request."""
    return attempt.is_first and attempt.query.hold.job is not None


def is_running(attempt: Attempt) -> bool:
    """BigQuery has still to end its job."""
    return attempt.has_made_job and attempt.query.usage is None


def is_unanswered(attempt: Attempt) -> bool:
    """The gate has still to hear what became of it."""
    return attempt.is_live and attempt.is_sent


def is_unbooked(attempt: Attempt) -> bool:
    """The gate is about to hear that the job has ended."""
    return is_unanswered(attempt) and attempt.has_made_job and attempt.query.usage is not None


def when(fits: Fits) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Take a step only where it fits some query."""
    return precondition(lambda machine: any(map(fits, machine.attempts)))


class SettlementMachine(RuleBasedStateMachine):
    """Two replicas over one store, one ledger, one BigQuery."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._run = self._runner.run
        self._opened = AsyncExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="bqgate-settlement-")
        self.queries: list[Query] = []
        self.attempts: list[Attempt] = []

    @initialize()
    def open_all(self) -> None:
        """Start BigQuery, the ledger, the store and both gates."""
        stores: list[MemoryBudgetStore] = []
        opening = settlement_stand(Path(self._folder.name), lambda _source, _clock: stores[0])
        self.stand: Stand = self._run(self._opened.enter_async_context(opening))
        source = AccountSource(self.stand.ledger, POLICIES)
        self.has_deployment_budget = True
        self.store = MemoryBudgetStore(
            source, self.stand.clock, has_deployment_budget=lambda: self.has_deployment_budget
        )
        stores.append(self.store)
        self.gates = [self.stand.gate(policies=POLICIES), self.stand.gate(policies=POLICIES)]

    def teardown(self) -> None:
        """Bring everything to rest, ask the auditor, and close."""
        try:
            if hasattr(self, "gates"):
                self._come_to_rest()
                self._audit_the_end()
        finally:
            self._run(self._opened.aclose())
            self._runner.close()
            self._folder.cleanup()

    def _pick(self, data: st.DataObject, fits: Fits) -> tuple[Attempt, Gate]:
        attempt = data.draw(st.sampled_from([attempt for attempt in self.attempts if fits(attempt)]))
        return attempt, attempt.gate or self.gates[0]

    def windows_of(self, hold: Hold) -> tuple[Window, ...]:
        """All that a query counts against."""
        budgets = POLICIES.customer_registry.budgets_over(TREE, hold.spender)
        return windows_of(budgets, self.stand.clock.now())

    def make_hold(self, dollars: int, *, has_job_id: bool, is_nightly: bool) -> Hold:
        hold = self.stand.make_hold(usd=dollars, job=has_job_id)
        return replace(hold, workload="nightly", scopes=(NIGHTLY.scope,)) if is_nightly else hold

    @rule(
        which=st.integers(0, 1), dollars=st.integers(0, 20), has_job_id=st.booleans(), is_nightly=st.booleans(), far=FAR
    )
    def place(self, which: int, dollars: int, far: str, *, has_job_id: bool, is_nightly: bool) -> None:
        """A gate places a hold, and may have come further with it."""
        hold = self.make_hold(dollars, has_job_id=has_job_id, is_nightly=is_nightly)
        placement = self._run(self.store.place_hold(hold, self.windows_of(hold)))
        assert placement.outcome is PlacementOutcome.PLACED
        self.queries.append(Query(hold))
        self._go_on(Attempt(self.queries[-1], self.gates[which], is_first=True), far)

    @when(is_joinable)
    @rule(data=st.data(), which=st.integers(0, 1), far=FAR)
    def join(self, data: st.DataObject, which: int, far: str) -> None:
        """The same request comes once more, at either gate, while its hold is open."""
        query = self._pick(data, is_joinable)[0].query
        gate = self.gates[which]
        is_there = any(other.is_live and other.query is query and other.gate is gate for other in self.attempts)
        if is_there or self._run(self.store.fetch_attempts(query.hold)) in {None, ENDED_ATTEMPTS}:
            return
        placement = self._run(self.store.place_hold(query.hold, self.windows_of(query.hold)))
        assert placement.outcome is PlacementOutcome.REPLAYED
        self._go_on(Attempt(query, gate, is_first=False), far)

    def _go_on(self, attempt: Attempt, far: str) -> None:
        self.attempts.append(attempt)
        if far in {"recorded", "sent"}:
            self._record(attempt)
        if far == "sent" and is_ready(attempt):
            self._forward(attempt, is_in_region=False)

    @when(is_placed)
    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        """The gate records it."""
        self._record(self._pick(data, is_placed)[0])

    def _record(self, attempt: Attempt) -> None:
        """A repeat whose hold has ended meanwhile is sent away."""
        self._run(self.stand.ledger.open_hold(attempt.query.hold))
        attempt.is_recorded = True
        if not attempt.is_first and self._run(self.stand.ledger.fetch_open_hold(attempt.query.hold.id)) is None:
            attempt.is_over = True

    @when(is_placed)
    @rule(data=st.data())
    def fail_to_record(self, data: st.DataObject) -> None:
        """The ledger is away: the gate gives back what it has placed, where nobody has joined it."""
        attempt, _gate = self._pick(data, is_placed)
        attempt.is_over = True
        if attempt.is_first:
            self._run(self.store.void(attempt.query.hold, attempts=1))

    @when(is_ready)
    @rule(data=st.data(), is_in_region=st.booleans())
    def forward(self, data: st.DataObject, *, is_in_region: bool) -> None:
        """BigQuery makes the job, or has it already."""
        self._forward(self._pick(data, is_ready)[0], is_in_region=is_in_region)

    def _forward(self, attempt: Attempt, *, is_in_region: bool) -> None:
        attempt.is_sent = True
        query = attempt.query
        if query.job is not None:
            return
        attempt.has_made_job = True
        location = "asia-northeast1" if is_in_region else "US"
        job_id = query.hold.job.job_id if query.hold.job else f"made_for_{query.hold.id}"
        query.job = self.stand.run_job(query.hold, job=JobRef(query.hold.project_id, job_id, location))

    @when(is_ready)
    @rule(data=st.data())
    def deny(self, data: st.DataObject) -> None:
        """BigQuery refuses this request: it makes no job, and is free."""
        attempt, gate = self._pick(data, is_ready)
        attempt.is_over = True
        self._watch(attempt, gate, Inquiry(is_answered=True, is_free=True))

    @when(is_ready)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """The caller leaves before anything was sent from here."""
        attempt, gate = self._pick(data, is_ready)
        attempt.is_over = True
        if attempt.is_first:
            self._run(gate.poller.give_back(attempt.query.hold, Credential(), attempts=1))

    @when(is_running)
    @rule(data=st.data(), mib=COSTS_MIB, outcome=ENDS)
    def end_job(self, data: st.DataObject, mib: int, outcome: Outcome) -> None:
        """BigQuery ends a job; it may cost more than its hold, and nothing where it was served from the cache."""
        query = self._pick(data, is_running)[0].query
        assert query.job is not None
        bytes_billed = 0 if outcome is Outcome.CACHED else mib * MIB
        query.usage = self.stand.bigquery.end(query.job, bytes_billed=bytes_billed, outcome=outcome)

    @when(is_unanswered)
    @rule(data=st.data(), is_ledger_away=st.booleans())
    def answer(self, data: st.DataObject, *, is_ledger_away: bool) -> None:
        """The answer reaches the gate: it tells the cost, that the job runs, or that there is one already."""
        attempt, gate = self._pick(data, is_unanswered)
        attempt.is_over = True
        query = attempt.query
        if not attempt.has_made_job:
            self._watch(attempt, gate, Inquiry())
        elif query.usage is None:
            self._watch(attempt, gate, Inquiry(query.job, is_made=True))
        elif is_ledger_away:
            with self.stand.ledger_away():
                self._run(gate.poller.settle(query.hold, query.usage))
        else:
            self._run(gate.poller.settle(query.hold, query.usage))

    @when(lambda attempt: is_ready(attempt) or is_unanswered(attempt))
    @rule(data=st.data())
    def lose_the_answer(self, data: st.DataObject) -> None:
        """A 5xx after the work was done, or before: the gate does not know whether there is a job."""
        attempt, gate = self._pick(data, lambda each: is_ready(each) or is_unanswered(each))
        attempt.is_over = True
        self._watch(attempt, gate, Inquiry())

    @when(is_unbooked)
    @rule(data=st.data())
    def crash_between_book_and_capture(self, data: st.DataObject) -> None:
        """The entry is written, the budgets never hear of it."""
        attempt, gate = self._pick(data, is_unbooked)
        assert attempt.query.usage is not None
        entry = gate.settlement._entry_for(attempt.query.hold, attempt.query.usage, PRICES)
        self._run(self.stand.ledger.book(entry))
        self._crash(self.gates.index(gate))

    @when(is_ready)
    @rule(data=st.data())
    def crash_between_void_and_close(self, data: st.DataObject) -> None:
        """The budgets have a hold back that never ran, the ledger never hears of it."""
        attempt, gate = self._pick(data, is_ready)
        if attempt.is_first:
            self._run(self.store.void(attempt.query.hold, attempts=1))
        self._crash(self.gates.index(gate))

    @rule(
        which=st.integers(0, 1), dollars=st.integers(0, 20), what=st.sampled_from(["gate", "store", "ends", "placing"])
    )
    def lose(self, which: int, dollars: int, what: str) -> None:
        """What was in memory is lost: a gate's, the store's, or a gate's between the deployment and the customer."""
        if what == "store":
            self.store._accounts.clear()
            return
        if what == "ends":  # the store remembers them for minutes only
            for account in self.store._accounts.values():
                account.ended.clear()
            return
        if what == "placing":  # it is held above, and the customer's budgets never hear of it
            hold = self.make_hold(dollars, has_job_id=True, is_nightly=True)
            self._run(self.store.place_hold(deployment_hold(hold), EVERYBODY.windows(self.stand.clock.now())))
        self._crash(which)

    @precondition(lambda self: any(self._is_idle(query) for query in self.queries))
    @rule(data=st.data(), is_closed=st.booleans())
    def void_by_hand(self, data: st.DataObject, *, is_closed: bool) -> None:
        """An admin ends a hold of which nothing ran; perhaps the process crashes before the ledger hears of it."""
        query = data.draw(st.sampled_from([query for query in self.queries if self._is_idle(query)]))
        if is_closed:
            self._run(self.gates[0].settlement.void(query.hold, attempts=None))
        else:
            self._run(self.store.void(query.hold))

    def _is_idle(self, query: Query) -> bool:
        return query.job is None and not any(each.is_live for each in self.attempts if each.query is query)

    @precondition(lambda self: bool(self.queries))
    @rule(data=st.data(), is_above=st.booleans())
    def lose_a_hold(self, data: st.DataObject, *, is_above: bool) -> None:
        """One account's machine fails over, and what it wrote last is gone."""
        query = data.draw(st.sampled_from(self.queries))
        account = self.store._accounts.get(DEPLOYMENT_ACCOUNT if is_above else query.hold.customer)
        if account is not None and query.hold.id in account.holds:
            account.give_back(query.hold, self.stand.clock.now())

    @rule()
    def switch_the_deployments_budget(self) -> None:
        """A gate has heard of a change of the rules, or not yet."""
        self.has_deployment_budget = not self.has_deployment_budget

    @rule(what=st.sampled_from([0, 1, "both"]), is_ledger_away=st.booleans())
    def reconcile(self, what: int | str, *, is_ledger_away: bool) -> None:
        """One round of one gate, or of both at the same time."""
        if what == "both":
            self._reconcile_at_once()
        elif is_ledger_away:
            with self.stand.ledger_away():
                self._run(self.gates[int(what)].reconciler.reconcile())
        else:
            self._run(self.gates[int(what)].reconciler.reconcile())

    def _reconcile_at_once(self) -> None:
        async def both() -> None:
            await asyncio.gather(*(gate.reconciler.reconcile() for gate in self.gates))

        self._run(both())

    @precondition(lambda self: any(gate.poller.depth for gate in self.gates))
    @rule(how=st.sampled_from(["answers", "answers", "silent", "refused"]))
    def poll(self, how: str = "answers") -> None:
        """Both gates ask after what they watch, at the same time."""

        async def both() -> None:
            await asyncio.gather(*(gate.look_at_all() for gate in self.gates))

        accepted = self.stand.bigquery.accepted
        self.stand.bigquery.failure = UpstreamUnavailable("silent") if how == "silent" else None
        self.stand.bigquery.accepted = set() if how == "refused" else accepted
        self._run(both())
        self.stand.bigquery.failure, self.stand.bigquery.accepted = None, accepted

    @rule(seconds=st.sampled_from([1, 20, 40, 61, 301]))
    def pass_time(self, seconds: int) -> None:
        """Time passes; gates that live keep what they may yet send."""
        self.stand.clock.advance(seconds)
        kept = {attempt.query.hold.id: attempt.query.hold for attempt in self.attempts if attempt.is_live}
        self._run(self.store.keep_holds(tuple(kept.values())))

    @invariant()
    def nothing_is_booked_twice_or_too_dear(self) -> None:
        """Invariant 4, and no entry says more than BigQuery billed."""
        if not hasattr(self, "gates"):
            return
        query_by_hold = {query.hold.id: query for query in self.queries}
        entries = self._run(self.stand.entries())
        assert len({entry.hold_id for entry in entries}) == len(entries)
        assert len({entry.job for entry in entries}) == len(entries)
        for entry in entries:
            assert entry.cost_nanos == query_by_hold[str(entry.hold_id)].billed_nanos

    def _watch(self, attempt: Attempt, gate: Gate, inquiry: Inquiry) -> None:
        gate.poller.watch(attempt.query.hold, None, inquiry=inquiry, attempts=1 if attempt.is_first else None)

    def _crash(self, which: int) -> None:
        for attempt in self.attempts:
            if attempt.gate is self.gates[which]:
                attempt.gate = None
        self.gates[which] = self.stand.gate(policies=POLICIES)

    def _come_to_rest(self) -> None:
        """All jobs end, both gates crash; then one round and one look book whatever ran."""
        for query in self.queries:
            if query.job is not None and query.usage is None:
                query.usage = self.stand.bigquery.end(query.job, bytes_billed=7 * MIB)
        self._crash(0)
        self._crash(1)
        self.has_deployment_budget = True
        self._reconcile_at_once()
        self.poll()
        open_ids = {hold.id for hold in self._run(self.stand.ledger.fetch_open_holds())}
        assert not open_ids & {query.hold.id for query in self.queries if query.usage is not None}
        # What never ran takes the poller's patience.
        for _ in range(6):
            self.stand.clock.advance(60)
            self._reconcile_at_once()
            self.poll()

    def _audit_the_end(self) -> None:
        entries: tuple[Entry, ...] = self._run(self.stand.entries())
        booked_nanos = sum(entry.cost_nanos for entry in entries)
        assert booked_nanos == sum(query.billed_nanos for query in self.queries)
        assert {entry.hold_id for entry in entries} == {query.hold.id for query in self.queries if query.job}
        assert self._run(self.stand.ledger.fetch_open_holds()) == ()
        assert self._run(self.store.fetch_customers()) == ()
        now = self.stand.clock.now()
        nightly_nanos = sum(query.billed_nanos for query in self.queries if query.hold.workload == "nightly")
        for budget, expected_nanos in ((TREE, booked_nanos), (NIGHTLY, nightly_nanos), (EVERYBODY, booked_nanos)):
            for balance in self._run(self.store.fetch_balances(budget.windows(now))):
                assert (balance.captured_nanos, balance.held_nanos) == (expected_nanos, 0)


def run_machine(examples: int) -> None:
    run_state_machine_as_test(
        SettlementMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_the_books_say_what_bigquery_billed() -> None:
    """Whatever two gates, their callers, crashes and losses do in whatever order."""
    run_machine(examples=30)


@pytest.mark.long
def test_the_books_say_what_bigquery_billed_at_length() -> None:
    """The same, for runs that few examples do not reach."""
    run_machine(examples=150)
