"""Wire the estimator, and the messages by which gates tell one another what was written.

Called by root before anything else that dry-runs for callers, because all of them share the estimator's places.
"""

from functools import partial

from bqgate.admission.estimates.estimator import Estimator
from bqgate.admission.estimates.write_broadcast import WriteBroadcast
from bqgate.app.dependencies import Dependencies


def wire_estimator(deps: Dependencies) -> Estimator:
    """The estimator, with background tasks that exchange writes with other gates."""
    broadcast = WriteBroadcast(deps.feed, deps.clock)
    estimator = Estimator(
        deps.bigquery, deps.clock, deps.telemetry, deps.settings.estimate_caching, tell=broadcast.tell
    )
    deps.background.start("writes told", broadcast.send)
    deps.background.start("writes heard", partial(broadcast.hear, estimator.drop))
    deps.metrics.read_gauge_from("dry_run_depth", lambda: estimator.places.waiting_count)
    return estimator
