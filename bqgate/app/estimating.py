"""Make the estimator of the gate, and let gates tell one another what was written.

Called by root before what else dry-runs for callers is wired, because all of them share its places.
"""

from functools import partial

from bqgate.admission.estimate import Estimator
from bqgate.admission.write_exchange import WriteExchange
from bqgate.app.outside import Outside


def wire_estimator(outside: Outside) -> Estimator:
    """The estimator; what it hears from other gates comes in the background."""
    exchange = WriteExchange(outside.feed, outside.clock)
    estimator = Estimator(
        outside.bigquery, outside.clock, outside.journal, outside.settings.estimate_caching, tell=exchange.tell
    )
    outside.background.start("writes told", exchange.send)
    outside.background.start("writes heard", partial(exchange.hear, estimator.drop))
    outside.metrics.read_gauge_from("dry_run_depth", lambda: estimator.places.waiting_count)
    return estimator
