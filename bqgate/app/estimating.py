"""Make the estimator of the gate, and let gates tell one another what was written.

Called by root before what else dry-runs for callers is wired, because all of them share its places.
"""

from functools import partial

from bqgate.admission.estimate import Estimator
from bqgate.admission.write_exchange import WriteExchange
from bqgate.app.dependencies import Dependencies


def wire_estimator(deps: Dependencies) -> Estimator:
    """The estimator; what it hears from other gates comes in the background."""
    exchange = WriteExchange(deps.feed, deps.clock)
    estimator = Estimator(deps.bigquery, deps.clock, deps.telemetry, deps.settings.estimate_caching, tell=exchange.tell)
    deps.background.start("writes told", exchange.send)
    deps.background.start("writes heard", partial(exchange.hear, estimator.drop))
    deps.metrics.read_gauge_from("dry_run_depth", lambda: estimator.places.waiting_count)
    return estimator
