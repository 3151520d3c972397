"""Wire the request path and the settlement behind it, over the outside systems.

Called by root. Nothing is opened and nothing runs here; root starts what runs beside the requests.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from bqgate.admission.admit import Admission
from bqgate.admission.allowance import Allowance
from bqgate.admission.estimate import Estimator
from bqgate.admission.placing import Placing
from bqgate.admission.refusals import Refusals
from bqgate.admission.slots import SlotBook
from bqgate.admission.waiting.room import WaitingRoom
from bqgate.app.outside import Outside
from bqgate.domain.hold import Hold
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Customer
from bqgate.gate.forward import Forwarder
from bqgate.gate.handler import QueryHandler
from bqgate.gate.isolation import Isolation
from bqgate.gate.settling import Settling
from bqgate.ports import Advisor
from bqgate.settings import Settings
from bqgate.settlement.bookkeeper import Bookkeeper
from bqgate.settlement.emergency import EmergencyStop
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settle import Settler


@dataclass(frozen=True, slots=True)
class Settlement:
    """What learns and books the cost of jobs, and the room in which queries wait until others have ended."""

    bookkeeper: Bookkeeper
    poller: Poller
    reconciler: Reconciler
    settling: Settling
    waiting_room: WaitingRoom


def wire_settlement(outside: Outside, slots: SlotBook) -> Settlement:
    settings, clock, journal = outside.settings, outside.clock, outside.journal
    room = WaitingRoom(
        clock,
        journal,
        places=settings.admission.waiting_max,
        deadline_s=settings.admission.waiting_deadline_s,
        running_max=settings.admission.running_max,
    )
    bookkeeper = Bookkeeper(
        ledger=outside.ledger,
        budgets=outside.budgets,
        policies=outside.policies,
        clock=clock,
        journal=journal,
        on_usage=slots.learn,
    )
    poller = Poller(
        bookkeeper=bookkeeper,
        bigquery=outside.bigquery,
        ledger=outside.ledger,
        clock=clock,
        journal=journal,
        patience=settings.patience,
        workers=settings.settlement.polls_max,
        on_end=room.release,
    )
    reconciler = Reconciler(
        ledger=outside.ledger,
        budgets=outside.budgets,
        poller=poller,
        policies=outside.policies,
        clock=clock,
        journal=journal,
        interval_s=settings.settlement.reconcile_interval_s,
    )
    outside.metrics.read_gauge_from("poller_queue_depth", lambda: poller.depth)
    outside.metrics.read_gauge_from("oldest_open_hold_age_seconds", lambda: reconciler.oldest_open_hold_age_s)
    outside.metrics.read_gauge_from("waiting_depth", lambda: room.depth)
    settling = Settling(Settler(bookkeeper, poller, journal), poller, room.release)
    return Settlement(bookkeeper, poller, reconciler, settling, room)


def wire_path(
    outside: Outside,
    slots: SlotBook,
    settlement: Settlement,
    estimator: Estimator,
    isolation: Isolation,
    advisor: Advisor | None,
) -> QueryHandler:
    settings, clock, journal = outside.settings, outside.clock, outside.journal
    admission = Admission(
        estimator=estimator,
        placing=_placing(outside),
        ledger=outside.ledger,
        clock=clock,
        journal=journal,
        policies=outside.policies,
        rules=settings.hold_rules,
        hold_ttl_s=settings.admission.hold_ttl_s,
        new_id=_new_id,
        slots=slots,
        on_trip=_emergency_stop(outside, settlement),
        refusals=_refusals(outside),
    )

    def follow_rules(new: Settings) -> None:
        admission.take_over(new.hold_rules, hold_ttl_s=new.admission.hold_ttl_s)

    outside.followers.append(follow_rules)
    handler = QueryHandler(
        admission=admission,
        isolation=isolation,
        waiting_room=settlement.waiting_room,
        policies=outside.policies,
        upstream=outside.upstream,
        forwarder=Forwarder(outside.upstream, settlement.settling.begin, outside.policies),
        settle=settlement.settling.begin,
        clock=clock,
        journal=journal,
        advisor=advisor,
        contact=settings.refusals.contact,
    )

    def follow_contact(new: Settings) -> None:
        handler.contact = new.refusals.contact

    outside.followers.append(follow_contact)
    return handler


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


def _placing(outside: Outside) -> Placing:
    """The stores that a hold goes to, and what to do without one; what the ledger misses is written down later."""
    placing = Placing(
        budgets=outside.budgets,
        ledger=outside.ledger,
        degradation=outside.settings.degraded.degradation,
        allowance=Allowance(outside.clock),
        clock=outside.clock,
        journal=outside.journal,
    )
    outside.background.start("missed records", placing.keep_recording)
    return placing


def _emergency_stop(outside: Outside, settlement: Settlement) -> Callable[[Customer], None]:
    """What happens when a customer's cost breaker opens: where its tier says so, its jobs are cancelled."""

    def credential_of(hold: Hold) -> Credential | None:
        account = outside.policies.directory.customer(hold.customer).account
        known = settlement.poller.credential_of(hold.id)
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
