"""Label the job of a throttled or queued query with the decision, the reason and how long it waited.

Called by the handler between wait and forward. Clients, the console, INFORMATION_SCHEMA and the billing export show job
labels; results and statistics stay BigQuery's. Label values: [a-z0-9_-], at most 63 characters
(https://cloud.google.com/bigquery/docs/labels-intro#requirements).
"""

from collections.abc import Mapping

from bqgate.admission.admit import Admitted
from bqgate.domain.decision import Throttle, budget_that_throttles
from bqgate.domain.shadow_evaluation import budget_name
from bqgate.wire.job_labels import DECISION_LABEL, REASON_LABEL, WAITED_LABEL

# The reason of a query that no budget throttles: as many as may run at once did.
CONCURRENCY = "concurrency"


def throttle_labels(admitted: Admitted, *, waited_ms: int) -> Mapping[str, str]:
    """The labels; none where the query was neither throttled nor queued."""
    is_throttled = isinstance(admitted.decision, Throttle)
    if not is_throttled and not waited_ms:
        return {}
    return {
        DECISION_LABEL: admitted.hold.decision,
        REASON_LABEL: _budget_of(admitted) if is_throttled else CONCURRENCY,
        WAITED_LABEL: str(waited_ms),
    }


def _budget_of(admitted: Admitted) -> str:
    """The budget that throttles, such as customer_day or workload_month."""
    balance = budget_that_throttles(admitted.balances)
    return "budget" if balance is None else budget_name(balance.window).replace("/", "_")
