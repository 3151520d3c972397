"""Add the gate's headers to an answer: the decision, its cost, what is left, and how long each step took.

Called by the handler for every query that was decided on. Headers: X-Bqgate-Decision, -Request-Id, -Cost-Usd, -Reason,
-Balance-Usd, and Server-Timing (https://www.w3.org/TR/server-timing/). The body stays BigQuery's.
"""

from collections.abc import Mapping

from bqgate.admission.admit import Admitted
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.money import format_usd
from bqgate.gate.stopwatch import Stopwatch
from bqgate.wire.http_message import Headers, HttpResponse, replaced
from bqgate.wire.job_labels import REASON_LABEL


def with_decision(
    answer: HttpResponse,
    decision: str,
    decision_id: str,
    cost_nanos: int,
    watch: Stopwatch,
    *,
    reason: str | None = None,
    more: Headers = (),
) -> HttpResponse:
    """The answer with the decision, its cost and how long each step took, behind `more` that its caller adds."""
    added = (
        *more,
        *(() if reason is None else (("X-Bqgate-Reason", reason),)),
        ("X-Bqgate-Decision", decision),
        ("X-Bqgate-Request-Id", decision_id),
        ("X-Bqgate-Cost-Usd", format_usd(cost_nanos)),
        ("Server-Timing", watch.server_timing()),
    )
    return HttpResponse(answer.status, replaced(answer.headers, frozenset(), *added), answer.body)


def with_admission(
    answer: HttpResponse, admitted: Admitted, labels: Mapping[str, str], watch: Stopwatch
) -> HttpResponse:
    """The answer of a forwarded query, with the balance of its budgets and why it was throttled, if it was."""
    hold = admitted.hold
    balance = ("X-Bqgate-Balance-Usd", _balance(admitted))
    reason = labels.get(REASON_LABEL)
    return with_decision(answer, hold.decision, hold.id, hold.amount_nanos, watch, reason=reason, more=(balance,))


def _balance(admitted: Admitted) -> str:
    """What is left in the customer's tightest budget; 0 where an observed limit is passed.

    The deployment's budget is left out: only admins may see it.
    """
    seen = [balance for balance in admitted.balances if balance.window.customer != DEPLOYMENT_ACCOUNT]
    left = [balance.balance_nanos for balance in seen if balance.balance_nanos is not None]
    return format_usd(max(min(left), 0)) if left else "unlimited"
