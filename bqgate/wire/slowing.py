"""Write into a submitted query what slows it down: priority, slots and time, as its customer's tier says.

Called by the handler for throttled queries only, on the body that goes to BigQuery. Pure. A caller's own bound that is
tighter stays. Fields: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job (configuration.query.priority,
configuration.maxSlots, configuration.jobTimeoutMs) and .../jobs/query (maxSlots, jobTimeoutMs; it has no priority).
"""

from collections.abc import Mapping
from typing import Any

from bqgate.domain.job import Method
from bqgate.domain.throttling import Slowdown
from bqgate.wire.integers import integer_at


def slowed_body(body: Mapping[str, Any], method: Method, slowdown: Slowdown) -> dict[str, Any]:
    """The same request, slowed down."""
    if method is Method.QUERY:
        return {**body, **_bounds(body, slowdown)}
    configuration = {**body["configuration"], **_bounds(body["configuration"], slowdown)}
    if slowdown.to_batch:
        configuration["query"] = {**configuration["query"], "priority": "BATCH"}
    return {**body, "configuration": configuration}


def _bounds(holder: Mapping[str, Any], slowdown: Slowdown) -> dict[str, str]:
    """MaxSlots and jobTimeoutMs where the tier bounds them, never wider than the caller's own."""
    wanted = {"maxSlots": slowdown.max_slots, "jobTimeoutMs": slowdown.job_timeout_ms}
    return {
        name: str(min(bound, own if (own := integer_at(holder, name) or 0) > 0 else bound))
        for name, bound in wanted.items()
        if bound is not None
    }
