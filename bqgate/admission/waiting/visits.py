"""Make an admitted query's visit to the waiting room: its customer's limits, its class, its pace. Pure.

Called by the handler. Nothing limits or delays a query of a customer that is only observed.
"""

from bqgate.admission.admit import Admitted
from bqgate.admission.waiting.fair_queue import Visit
from bqgate.admission.waiting.pacing import interval_ms
from bqgate.domain.decision import Throttle
from bqgate.domain.tier import Customer, Mode


def visit_of(admitted: Admitted, customer: Customer) -> Visit:
    """How this query goes through the turnstile."""
    hold, tier, decision = admitted.hold, customer.tier, admitted.decision
    if customer.mode is not Mode.ENFORCE:
        return Visit(hold.id, hold.customer, hold.principal)
    throttling = tier.throttling
    return Visit(
        hold.id,
        hold.customer,
        hold.principal,
        priority=throttling.priority_of(hold.workload),
        customer_max=throttling.customer_concurrency_max,
        principal_max=throttling.principal_concurrency_max,
        interval_ms=interval_ms(decision.wait_ms, admitted.balances, tier) if isinstance(decision, Throttle) else 0,
    )
