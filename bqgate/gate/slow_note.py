"""Say of a query that was slowed down, or had to wait, that it was, why and for how long.

Called by the handler between the wait and the forward. What leaves are labels of the query's own job, which clients,
the console, INFORMATION_SCHEMA and the billing export show, and the reason for the answer's header. Results and
statistics are BigQuery's and stay as they are. Label values: [a-z0-9_-], at most 63 (https://cloud.google.com/bigquery/
docs/labels-intro#requirements).
"""

from collections.abc import Mapping

from bqgate.admission.admit import Admitted
from bqgate.domain.decision import Throttle, budget_that_throttles
from bqgate.domain.shadow_evaluation import budget_name
from bqgate.wire.job_labels import DECISION_LABEL, REASON_LABEL, WAITED_LABEL

# Why a query waits that no budget throttles: as many as may run at once did.
CONCURRENCY = "concurrency"


def notes_of(admitted: Admitted, *, waited_ms: int) -> Mapping[str, str]:
    """The labels; none where it went at once and as it came."""
    is_throttled = isinstance(admitted.decision, Throttle)
    if not is_throttled and not waited_ms:
        return {}
    return {
        DECISION_LABEL: admitted.hold.decision,
        REASON_LABEL: _budget_of(admitted) if is_throttled else CONCURRENCY,
        WAITED_LABEL: str(waited_ms),
    }


def _budget_of(admitted: Admitted) -> str:
    """The budget that is nearly used up, or is: customer_day, workload_month."""
    balance = budget_that_throttles(admitted.balances)
    return "budget" if balance is None else budget_name(balance.window).replace("/", "_")
