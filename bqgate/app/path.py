"""Wire the request path and the settlement behind it, over the outside systems.

Called by root. Nothing is opened here; what runs beside the requests is started with what it belongs to.
"""

import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bqgate.admission.admit import Admission
from bqgate.admission.allowance import Allowance
from bqgate.admission.dry_run_places import FairDryRuns
from bqgate.admission.estimate import Estimator
from bqgate.admission.hold_service import HoldService
from bqgate.admission.job_writes import JobWrites
from bqgate.admission.refusals import Refusals
from bqgate.admission.slots import SlotBook
from bqgate.admission.waiting.room import WaitingRoom
from bqgate.app.advising import wire_advisor
from bqgate.app.estimating import wire_estimator
from bqgate.app.isolating import wire_isolation
from bqgate.app.outside import Outside
from bqgate.domain.hold import Hold
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Customer
from bqgate.gate.handler import QueryHandler
from bqgate.gate.holds import Holds
from bqgate.gate.isolation import Isolation
from bqgate.gate.passthrough import Passthrough
from bqgate.settings import Settings
from bqgate.settlement.deletion import Deletions
from bqgate.settlement.emergency import EmergencyStop
from bqgate.settlement.late_jobs import LateJobs
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settlement import Settlement


@dataclass(frozen=True, slots=True)
class QueryPath:
    """What a query meets between the dispatch step and the end of its hold."""

    handler: QueryHandler
    passthrough: Passthrough
    estimator: Estimator
    isolation: Isolation
    holds: Holds
    waiting_room: WaitingRoom
    settlement: Settlement
    poller: Poller
    reconciler: Reconciler


def wire_path(outside: Outside, stack: AsyncExitStack) -> QueryPath:
    """Put the path together and start what runs beside it."""
    settings, clock, journal = outside.settings, outside.clock, outside.journal
    slots = SlotBook(outside.ledger)
    service = _hold_service(outside)
    room = WaitingRoom(
        clock,
        journal,
        places=settings.admission.waiting_max,
        deadline_s=settings.admission.waiting_deadline_s,
        running_max=settings.admission.running_max,
    )
    estimator = wire_estimator(outside)
    writes = JobWrites(estimator.wrote)

    def on_end(hold: Hold) -> None:
        service.forget(hold.id)
        writes.end_of(hold)

    settlement = Settlement(
        ledger=outside.ledger,
        budgets=outside.budgets,
        policies=outside.policies,
        clock=clock,
        journal=journal,
        on_usage=slots.learn,
        on_end=on_end,
    )
    late_jobs = LateJobs(settlement=settlement, bigquery=outside.bigquery, clock=clock, journal=journal)
    outside.background.start("late jobs", late_jobs.run)
    poller = Poller(
        settlement=settlement,
        budgets=outside.budgets,
        bigquery=outside.bigquery,
        ledger=outside.ledger,
        clock=clock,
        journal=journal,
        patience=settings.patience,
        workers=settings.settlement.polls_max,
        on_end=room.release,
        late_jobs=late_jobs,
    )
    admission = _admission(outside, estimator, service, slots, poller)
    holds = Holds(
        admission=admission,
        service=service,
        poller=poller,
        release=room.release,
    )
    reconciler = Reconciler(
        ledger=outside.ledger,
        budgets=outside.budgets,
        poller=poller,
        policies=outside.policies,
        clock=clock,
        journal=journal,
        under_way=holds.under_way,
        interval_s=settings.settlement.reconcile_interval_s,
        grace_s=settings.settlement.orphan_age_s,
    )
    dry_runs = FairDryRuns(outside.bigquery, estimator.places)
    isolation = wire_isolation(
        settings,
        policies=outside.policies,
        bigquery=dry_runs,
        upstream=outside.upstream,
        trail=outside.trail,
        clock=clock,
    )
    handler = QueryHandler(
        admission=admission,
        holds=holds,
        writes=writes,
        waiting_room=room,
        policies=outside.policies,
        isolation=isolation,
        upstream=outside.upstream,
        journal=journal,
        advisor=wire_advisor(outside, stack, dry_runs),
        contact=settings.refusals.contact,
    )

    def follow_contact(new: Settings) -> None:
        handler.contact = new.refusals.contact

    outside.followers.append(follow_contact)
    deletions = Deletions(ledger=outside.ledger, bigquery=outside.bigquery, settlement=settlement)
    passthrough = Passthrough(outside.upstream, deletions.prepare, writes)
    path = QueryPath(handler, passthrough, estimator, isolation, holds, room, settlement, poller, reconciler)
    _run(outside, path)
    return path


def _run(outside: Outside, path: QueryPath) -> None:
    """Start the loops of the path, and show what they hold."""
    outside.background.start("poller", path.poller.run)
    outside.background.start("reconciler", path.reconciler.run)
    outside.background.start("waiting_room", path.waiting_room.run)
    outside.metrics.read_gauge_from("poller_queue_depth", lambda: path.poller.depth)
    outside.metrics.read_gauge_from("oldest_open_hold_age_seconds", lambda: path.reconciler.oldest_open_hold_age_s)
    outside.metrics.read_gauge_from("waiting_depth", lambda: path.waiting_room.depth)


def _admission(
    outside: Outside, estimator: Estimator, service: HoldService, slots: SlotBook, poller: Poller
) -> Admission:
    settings = outside.settings
    admission = Admission(
        estimator=estimator,
        holds=service,
        ledger=outside.ledger,
        clock=outside.clock,
        journal=outside.journal,
        policies=outside.policies,
        rules=settings.hold_rules,
        hold_ttl_s=settings.admission.hold_ttl_s,
        new_id=_new_id,
        slots=slots,
        on_trip=_emergency_stop(outside, poller),
        refusals=_refusals(outside),
    )

    def follow_rules(new: Settings) -> None:
        admission.take_over(new.hold_rules, hold_ttl_s=new.admission.hold_ttl_s)

    outside.followers.append(follow_rules)
    return admission


def _new_id() -> str:
    return uuid.uuid4().hex


def _refusals(outside: Outside) -> Refusals:
    """What was refused lately; repeats are booked in the background, and at the end."""
    refusals = Refusals(
        outside.ledger,
        outside.clock,
        outside.journal,
        new_id=_new_id,
        ttl_s=outside.settings.admission.refusal_ttl_s,
    )
    outside.background.start("refusals", refusals.run)
    return refusals


def _hold_service(outside: Outside) -> HoldService:
    """The stores that a hold goes to, and what to do without one; what is under way is kept alive."""
    service = HoldService(
        budgets=outside.budgets,
        ledger=outside.ledger,
        under_way=outside.holds_under_way,
        degradation=outside.settings.degraded.degradation,
        allowance=Allowance(outside.clock),
        clock=outside.clock,
        journal=outside.journal,
    )
    outside.background.start("holds", service.run)
    return service


def _emergency_stop(outside: Outside, poller: Poller) -> Callable[[Customer], None]:
    """What happens when a customer's cost breaker opens: where its tier says so, its jobs are cancelled."""

    def credential_of(hold: Hold) -> Credential | None:
        account = outside.policies.directory.customer(hold.customer).account
        known = poller.credential_of(hold.id)
        return known if known is not None or account is None else Credential(account=account)

    stop = EmergencyStop(
        ledger=outside.ledger,
        bigquery=outside.bigquery,
        credential_of=credential_of,
        clock=outside.clock,
        journal=outside.journal,
    )
    outside.background.start("emergency stop", stop.run)

    def on_trip(customer: Customer) -> None:
        if customer.tier.cancels_in_emergency:
            stop.begin(customer.id)

    return on_trip
