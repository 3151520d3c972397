"""Wire the holds of one gate, from admission to settlement, over stores and a BigQuery that the caller brings."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from bqgate.admission.admit import Admission
from bqgate.admission.estimates.estimator import EstimateCaching, Estimator
from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.admission.hold_service import HoldService
from bqgate.admission.sizing import HoldRules
from bqgate.admission.slots import SlotBook
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.policy import PolicySnapshot
from bqgate.gate.holds import Holds
from bqgate.ports import BigQuery, Clock, Ledger, Telemetry
from bqgate.settlement.poller import Poller
from bqgate.settlement.settlement import Settlement


@dataclass
class GateHolds:
    """The parts that a test looks at."""

    admission: Admission
    poller: Poller
    holds: Holds
    writes: JobWrites


def gate_holds(
    service: HoldService,
    budgets: MemoryBudgetStore,
    *,
    bigquery: BigQuery,
    ledger: Ledger,
    clock: Clock,
    telemetry: Telemetry,
    policies: PolicySnapshot,
    estimates_kept: int = 2,
    release: Callable[[str], None] = lambda _: None,
) -> GateHolds:
    """Holds of ids that count up, on budgets in memory; nobody else hears of writes."""
    slots = SlotBook(ledger)
    settlement = Settlement(
        ledger=ledger,
        budgets=budgets,
        policies=policies,
        clock=clock,
        telemetry=telemetry,
        on_usage=slots.learn,
        on_ended=lambda hold: service.forget(hold.id),
    )
    poller = Poller(
        settlement=settlement, budgets=budgets, bigquery=bigquery, ledger=ledger, clock=clock, telemetry=telemetry
    )
    numbers = itertools.count(1)
    admission = Admission(
        estimator=Estimator(bigquery, clock, telemetry, EstimateCaching(max_entries=estimates_kept)),
        holds=service,
        ledger=ledger,
        clock=clock,
        telemetry=telemetry,
        policies=policies,
        rules=HoldRules(),
        hold_ttl_s=86_400,
        new_id=lambda: f"hold{next(numbers)}",
        slots=slots,
    )
    writes = JobWrites(lambda _: None, lambda _: None)
    holds = Holds(admission=admission, service=service, poller=poller, release=release, learn_job=writes.learn_job)
    return GateHolds(admission, poller, holds, writes)
