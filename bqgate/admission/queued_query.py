"""Describe an admitted query to the admission queue: its customer's limits, its priority, its pace. Pure.

Called by the handler. A customer whose budgets are only observed has no limits and no priority; its queries are paced
only where another budget, which is enforced, throttles them.
"""

from bqgate.admission.admit import Admitted
from bqgate.admission.queue.fair_queue import QueuedQuery
from bqgate.admission.queue.pacing import interval_ms
from bqgate.domain.decision import Throttle
from bqgate.domain.tier import Customer, Mode


def queued_query_of(admitted: Admitted, customer: Customer) -> QueuedQuery:
    """The query as the admission queue sees it."""
    hold, decision = admitted.hold, admitted.decision
    pace_ms = interval_ms(decision.wait_ms, admitted.balances) if isinstance(decision, Throttle) else 0
    if customer.mode is not Mode.ENFORCE:
        return QueuedQuery(hold.id, hold.customer, hold.principal, interval_ms=pace_ms)
    throttling = customer.tier.throttling
    return QueuedQuery(
        hold.id,
        hold.customer,
        hold.principal,
        priority=throttling.priority_of(hold.workload),
        customer_max=throttling.customer_concurrency_max,
        principal_max=throttling.principal_concurrency_max,
        interval_ms=pace_ms,
    )
