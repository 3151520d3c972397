"""Put into an answer's headers what the gate tells of its own decision.

Called by the handler for every query that was decided on: X-Bqgate-Decision, -Request-Id, -Cost-Usd, -Reason,
-Balance-Usd, and Server-Timing (https://www.w3.org/TR/server-timing/). The answer's body is BigQuery's.
"""

from collections.abc import Mapping
from dataclasses import replace

from bqgate.admission.admit import Admitted
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.money import format_usd
from bqgate.gate.stopwatch import Stopwatch
from bqgate.wire.http_message import HttpResponse
from bqgate.wire.job_labels import REASON_LABEL


def shown(
    answer: HttpResponse,
    decision: str,
    decision_id: str,
    cost_nanos: int,
    watch: Stopwatch,
    *,
    reason: str | None = None,
) -> HttpResponse:
    """The answer with the decision, its cost and how long each step took."""
    told = (
        *(() if reason is None else (("X-Bqgate-Reason", reason),)),
        ("X-Bqgate-Decision", decision),
        ("X-Bqgate-Request-Id", decision_id),
        ("X-Bqgate-Cost-Usd", format_usd(cost_nanos)),
        ("Server-Timing", watch.server_timing()),
    )
    return replace(answer, headers=(*answer.headers, *told))


def shown_as_run(answer: HttpResponse, admitted: Admitted, notes: Mapping[str, str], watch: Stopwatch) -> HttpResponse:
    """The answer of a query that was forwarded, with what is left of its budgets and why it was slowed down."""
    hold = admitted.hold
    answer = replace(answer, headers=(*answer.headers, ("X-Bqgate-Balance-Usd", _balance(admitted))))
    reason = notes.get(REASON_LABEL)
    return shown(answer, hold.decision, hold.id, hold.amount_nanos, watch, reason=reason)


def _balance(admitted: Admitted) -> str:
    """What is left in the customer's tightest budget; 0 under a limit that observing let pass.

    The deployment's is nobody's to see but an admin's.
    """
    seen = [balance for balance in admitted.balances if balance.window.customer != DEPLOYMENT_ACCOUNT]
    left = [balance.balance_nanos for balance in seen if balance.balance_nanos is not None]
    return format_usd(max(min(left), 0)) if left else "unlimited"
