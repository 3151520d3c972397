"""Wire the request path and the settlement behind it, over the outside systems.

Called by root. Nothing is opened here; what runs beside the requests is started with what it belongs to.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from bqgate.admission.admit import Admission
from bqgate.admission.allowance import Allowance
from bqgate.admission.estimates.dry_run_places import FairDryRuns
from bqgate.admission.estimates.estimator import Estimator
from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.admission.hold_service import HoldService
from bqgate.admission.queue.admission_queue import AdmissionQueue
from bqgate.admission.refusals import Refusals
from bqgate.admission.slots import SlotBook
from bqgate.app.advisor_wiring import wire_advisor
from bqgate.app.dependencies import Dependencies
from bqgate.app.estimating import wire_estimator
from bqgate.app.isolation_wiring import wire_isolation
from bqgate.domain.hold import Hold
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Customer
from bqgate.domain.units import MIB
from bqgate.gate.handler import QueryHandler
from bqgate.gate.holds import Holds
from bqgate.gate.isolation import Isolation
from bqgate.gate.long_texts import LongTexts
from bqgate.gate.passthrough import Passthrough
from bqgate.gate.payers import Payers
from bqgate.ports.ids import new_id
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials
from bqgate.settlement.deletion import Deletions
from bqgate.settlement.emergency import EmergencyStop
from bqgate.settlement.inquiry import maker_of
from bqgate.settlement.late_jobs import LateJobs
from bqgate.settlement.own_costs import OwnCosts, OwnQueryLimits
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settlement import Settlement


@dataclass(frozen=True, slots=True)
class QueryPath:
    """What a query meets between the dispatch step and the end of its hold.

    `own_costs` None: the gate has no account of its own in whose name it could query.
    """

    handler: QueryHandler
    payers: Payers
    passthrough: Passthrough
    estimator: Estimator
    isolation: Isolation
    holds: Holds
    admission_queue: AdmissionQueue
    settlement: Settlement
    poller: Poller
    reconciler: Reconciler
    own_costs: OwnCosts | None


def wire_path(deps: Dependencies, stack: AsyncExitStack) -> QueryPath:
    """Put the path together and start what runs beside it."""
    service, slots, queue = _hold_service(deps), SlotBook(deps.ledger), _admission_queue(deps)
    estimator, writes = wire_estimator(deps)
    settlement = _settlement(deps, service, slots, estimator, writes)
    poller = _poller(deps, settlement, queue)
    admission = _admission(deps, estimator, service, slots, poller)
    holds = Holds(
        admission=admission, service=service, poller=poller, release=queue.release, learn_job=writes.learn_job
    )
    dry_runs = FairDryRuns(deps.bigquery, estimator.places)
    long_texts = LongTexts()
    stack.callback(long_texts.close)
    passes_credentials = deps.settings.upstream.credentials is Credentials.CALLER
    payers = Payers(deps.policies, dry_runs, passes_credentials=passes_credentials)
    isolation = wire_isolation(
        deps.settings,
        policies=deps.policies,
        bigquery=dry_runs,
        long_texts=long_texts,
        upstream=deps.upstream,
        audit_log=deps.audit_log,
        clock=deps.clock,
        reload_hooks=deps.reload_hooks,
    )
    handler = QueryHandler(
        admission=admission,
        holds=holds,
        writes=writes,
        admission_queue=queue,
        policies=deps.policies,
        payers=payers,
        isolation=isolation,
        long_texts=long_texts,
        upstream=deps.upstream,
        telemetry=deps.telemetry,
        advisor=wire_advisor(deps, stack, dry_runs),
        contact=deps.settings.refusals.contact,
    )
    deps.reload_hooks.append(partial(_follow_contact, handler))
    deletions = Deletions(ledger=deps.ledger, bigquery=deps.bigquery, settlement=settlement, clock=deps.clock)
    passthrough = Passthrough(deps.upstream, deletions.prepare, writes)
    reconciler = _reconciler(deps, settlement, poller, holds)
    path = QueryPath(
        handler,
        payers,
        passthrough,
        estimator,
        isolation,
        holds,
        queue,
        settlement,
        poller,
        reconciler,
        _own_costs(deps, poller),
    )
    _run(deps, path)
    return path


def _admission_queue(deps: Dependencies) -> AdmissionQueue:
    section = deps.settings.admission
    return AdmissionQueue(
        deps.clock,
        deps.telemetry,
        places=section.waiting_max,
        deadline_s=section.waiting_deadline_s,
        running_max=section.running_max,
    )


def _settlement(
    deps: Dependencies, service: HoldService, slots: SlotBook, estimator: Estimator, writes: JobWrites
) -> Settlement:
    return Settlement(
        ledger=deps.ledger,
        budgets=deps.budgets,
        policies=deps.policies,
        clock=deps.clock,
        telemetry=deps.telemetry,
        on_usage=slots.learn,
        on_end=writes.end_of,
        on_ended=lambda hold: service.forget(hold.id),
        on_failure=estimator.forget_failed,
    )


def _poller(deps: Dependencies, settlement: Settlement, queue: AdmissionQueue) -> Poller:
    """The poller, and the task that looks for late jobs."""
    late_jobs = LateJobs(settlement=settlement, bigquery=deps.bigquery, clock=deps.clock, telemetry=deps.telemetry)
    deps.background.start("late jobs", late_jobs.run)
    return Poller(
        settlement=settlement,
        budgets=deps.budgets,
        bigquery=deps.bigquery,
        ledger=deps.ledger,
        clock=deps.clock,
        telemetry=deps.telemetry,
        patience=deps.settings.patience,
        workers=deps.settings.settlement.polls_max,
        on_end=queue.release,
        late_jobs=late_jobs,
    )


def _own_costs(deps: Dependencies, poller: Poller) -> OwnCosts | None:
    if deps.own_queries is None:
        return None
    section = deps.settings.own_queries
    return OwnCosts(
        queries=deps.own_queries,
        ledger=deps.ledger,
        budgets=deps.budgets,
        poller=poller,
        policies=deps.policies,
        clock=deps.clock,
        telemetry=deps.telemetry,
        limits=OwnQueryLimits(section.maximum_mib_billed * MIB, section.daily_usd.nanos),
        new_id=new_id,
    )


def _reconciler(deps: Dependencies, settlement: Settlement, poller: Poller, holds: Holds) -> Reconciler:
    return Reconciler(
        ledger=deps.ledger,
        budgets=deps.budgets,
        poller=poller,
        policies=deps.policies,
        clock=deps.clock,
        telemetry=deps.telemetry,
        remember_probe=settlement.remember_probe,
        under_way=holds.under_way,
        interval_s=deps.settings.settlement.reconcile_interval_s,
        orphan_age_s=deps.settings.settlement.orphan_age_s,
    )


def _follow_contact(handler: QueryHandler, new: Settings) -> None:
    handler.contact = new.refusals.contact


def _run(deps: Dependencies, path: QueryPath) -> None:
    """Start the loops of the path, and show what they hold."""
    deps.background.start("poller", path.poller.run)
    deps.background.start("reconciler", path.reconciler.run)
    deps.background.start("waiting_room", path.admission_queue.run)
    deps.metrics.read_gauge_from("poller_queue_depth", lambda: path.poller.depth)
    deps.metrics.read_gauge_from("oldest_open_hold_age_seconds", lambda: path.reconciler.oldest_open_hold_age_s)
    deps.metrics.read_gauge_from("waiting_depth", lambda: path.admission_queue.depth)


def _admission(
    deps: Dependencies, estimator: Estimator, service: HoldService, slots: SlotBook, poller: Poller
) -> Admission:
    settings = deps.settings
    admission = Admission(
        estimator=estimator,
        holds=service,
        ledger=deps.ledger,
        clock=deps.clock,
        telemetry=deps.telemetry,
        policies=deps.policies,
        rules=settings.hold_rules,
        hold_ttl_s=settings.admission.hold_ttl_s,
        new_id=new_id,
        slots=slots,
        on_trip=_emergency_stop(deps, poller),
        refusals=_refusals(deps),
    )

    def follow_rules(new: Settings) -> None:
        admission.take_over(new.hold_rules, hold_ttl_s=new.admission.hold_ttl_s)

    deps.reload_hooks.append(follow_rules)
    return admission


def _refusals(deps: Dependencies) -> Refusals:
    """What was refused lately; repeats are booked in the background, and at the end."""
    refusals = Refusals(
        deps.ledger,
        deps.clock,
        deps.telemetry,
        new_id=new_id,
        ttl_s=deps.settings.admission.refusal_ttl_s,
    )
    deps.background.start("refusals", refusals.run)
    return refusals


def _hold_service(deps: Dependencies) -> HoldService:
    """The stores that a hold goes to, and what to do without one; what is under way is kept alive."""
    service = HoldService(
        budgets=deps.budgets,
        ledger=deps.ledger,
        under_way=deps.holds_under_way,
        degradation=deps.degradation,
        allowance=Allowance(deps.clock),
        clock=deps.clock,
        telemetry=deps.telemetry,
        lease_s=deps.settings.settlement.lease_s,
    )
    deps.background.start("holds", service.run)
    return service


def _emergency_stop(deps: Dependencies, poller: Poller) -> Callable[[Customer], None]:
    """What happens when a customer's cost breaker opens: where its tier says so, its jobs are cancelled."""

    def credential_of(hold: Hold) -> Credential | None:
        return poller.credential_of(hold.id) or maker_of(hold, deps.policies.customer_registry)

    stop = EmergencyStop(
        ledger=deps.ledger,
        bigquery=deps.bigquery,
        credential_of=credential_of,
        clock=deps.clock,
        telemetry=deps.telemetry,
    )
    deps.background.start("emergency stop", stop.run)

    def on_trip(customer: Customer) -> None:
        if customer.tier.cancels_in_emergency:
            stop.begin(customer.id)

    return on_trip
