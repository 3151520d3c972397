"""Build the hold of a query. Pure.

Called by admit.py. A repeat is recognised by its job id or request id together with all that decides what it may cost:
the earlier hold covers nothing wider. A repeated job joins it only at the same prices and on the same day, that of its
customer and that of the deployment, because either gate may be the one that records it, and each records what it would
have held. A repeated request joins nothing and is sent away for as long as the first runs, whatever the day.
"""

from datetime import datetime, timedelta

from bqgate.admission.present_budgets import PresentBudgets
from bqgate.admission.sizing import HoldSize
from bqgate.domain.budget import Period
from bqgate.domain.budget_scope import deployment_day
from bqgate.domain.hold import Hold
from bqgate.domain.job import Estimate, JobRef, Method, QueryRequest
from bqgate.domain.money import MAX_NANOS
from bqgate.domain.principal import Principal

# Of the job ids that the gate chooses; the hold's id follows, lower case and short.
JOB_ID_PREFIX = "bqgate_"


def make_hold(
    request: QueryRequest,
    principal: Principal,
    estimate: Estimate,
    size: HoldSize,
    present: PresentBudgets,
    *,
    hold_id: str,
    now: datetime,
    ttl_s: int,
) -> Hold:
    """The hold that covers a query.

    Args:
        request: what was submitted.
        principal: who submitted it, by the name that is booked.
        estimate: what its dry run said.
        size: how much to hold.
        present: the budgets that it counts in.
        hold_id: the new hold's id.
        now: when it is placed.
        ttl_s: after how long its cost is assumed, where nobody can learn it.
    """
    job = None
    if request.method is Method.INSERT:
        location = request.location or estimate.location
        job = JobRef(request.project_id, request.job_id or JOB_ID_PREFIX + hold_id, location)
    amount_nanos = min(size.amount_nanos, MAX_NANOS)
    return Hold(
        id=hold_id,
        customer=principal.customer,
        principal=principal.name,
        project_id=request.project_id,
        amount_nanos=amount_nanos,
        window_keys=present.window_keys,
        placed_at=now,
        deadline_at=now + timedelta(seconds=ttl_s),
        idempotency_key=_idempotency_key(request, principal, size, present, now),
        job=job,
        workload=principal.workload,
        maximum_bytes_billed=size.maximum_bytes_billed,
        estimate_bytes=estimate.bytes_processed if estimate.is_known else None,
        estimate_nanos=amount_nanos,
        fingerprint=request.short_fingerprint,
        labels=request.labels,
        scopes=present.scopes,
        prices_id=size.prices_id,
        priced_as=size.priced_as,
        account=principal.credential.account or "",
    )


def _idempotency_key(
    request: QueryRequest, principal: Principal, size: HoldSize, present: PresentBudgets, now: datetime
) -> str | None:
    """What a repeat has in common with the request; None: a repeat cannot be recognised."""
    key = request.idempotency_key
    if key is None:
        return None
    bounds = str(size.maximum_bytes_billed)
    if request.job_id is not None:
        bounds += f"/{size.prices_id}/{present.window_keys.get(Period.DAY, '')}/{deployment_day(now)}"
    if size.slot_ms_at_most is not None:
        bounds += f"/{size.slot_ms_at_most}"
    key = f"{key}:{request.short_fingerprint}:{bounds}"
    return f"{key}:{principal.credential.fingerprint}" if request.request_id is not None else key
