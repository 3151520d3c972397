"""Wire the estimator, and what drops its estimates: the writes of this gate and of others.

Called by path.py before anything else that dry-runs for callers, because all of them share the estimator's places.
"""

from functools import partial

from bqgate.admission.estimates.estimator import Estimator
from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.admission.estimates.write_broadcast import WriteBroadcast
from bqgate.app.dependencies import Dependencies


def wire_estimator(deps: Dependencies) -> tuple[Estimator, JobWrites]:
    """The estimator and the writes, with background tasks that exchange writes with other gates."""
    broadcast = WriteBroadcast(deps.feed, deps.clock)
    estimator = Estimator(deps.bigquery, deps.clock, deps.telemetry, deps.settings.estimate_caching)
    writes = JobWrites(estimator.drop, broadcast.tell)
    deps.background.start("writes told", broadcast.send)
    deps.background.start("writes heard", partial(broadcast.hear, writes.hear))
    deps.metrics.read_gauge_from("dry_run_depth", lambda: estimator.places.waiting_count)
    return estimator, writes
