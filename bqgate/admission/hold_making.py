"""Make the hold of a query (step 5). Pure.

Called by admit. A caller's repeat is known by its job id or request id, and by all that decides what it may cost: the
earlier hold covers nothing wider.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from bqgate.admission.sizing import HoldSize
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE
from bqgate.domain.hold import Hold
from bqgate.domain.job import Estimate, JobRef, Method, QueryRequest
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.principal import Principal
from bqgate.domain.tier import Budget
from bqgate.wire.query_request import short_fingerprint

# The label and the job id carry the hold's id, so it is lower case and short.
JOB_ID_PREFIX = "bqgate_"


def make_hold(
    request: QueryRequest,
    principal: Principal,
    estimate: Estimate,
    size: HoldSize,
    budgets: Sequence[Budget],
    windows: Sequence[Window],
    *,
    hold_id: str,
    now: datetime,
    ttl_s: int,
) -> Hold:
    """The hold that covers a query.

    Args:
        request: what was submitted.
        principal: who submitted it, under the name that is booked.
        estimate: its dry run's.
        size: how much to hold.
        budgets: all that it falls under.
        windows: theirs, now.
        hold_id: the new hold's id.
        now: when it is placed.
        ttl_s: when its cost is assumed, without news of the job.
    """
    job = None
    if request.method is Method.INSERT:
        location = request.location or estimate.location
        job = JobRef(request.project_id, request.job_id or JOB_ID_PREFIX + hold_id, location)
    digest = short_fingerprint(request)
    return Hold(
        id=hold_id,
        customer=principal.customer,
        principal=principal.name,
        project_id=request.project_id,
        amount_nanos=min(size.amount_nanos, MAX_NANOS),
        window_keys={window.period: window.key for window in windows if window.is_own},
        placed_at=now,
        deadline_at=now + timedelta(seconds=ttl_s),
        idempotency_key=_idempotency_key(request, principal, size, digest),
        job=job,
        workload=principal.workload,
        maximum_bytes_billed=size.maximum_bytes_billed,
        estimate_bytes=estimate.bytes_processed if estimate.is_known else None,
        estimate_nanos=min(size.amount_nanos, MAX_NANOS),
        fingerprint=digest,
        labels=request.labels,
        scopes=tuple(budget.scope for budget in budgets if budget.scope != CUSTOMER_SCOPE),
        prices_id=size.prices_id,
        priced_as=size.priced_as,
    )


def _idempotency_key(request: QueryRequest, principal: Principal, size: HoldSize, digest: str) -> str | None:
    """What a repeat of the request has in common with it; None: it cannot be repeated."""
    key = request.idempotency_key
    if key is None:
        return None
    bounds = str(size.maximum_bytes_billed)
    if size.slot_ms_at_most is not None:
        bounds += f"/{size.slot_ms_at_most}"
    key = f"{key}:{digest}:{bounds}"
    return f"{key}:{principal.credential.fingerprint}" if request.request_id is not None else key
