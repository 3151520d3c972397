"""Make the entries that the sweep books: of jobs that came past the gate, and adjustments of charges.

Used by job_booking.py; pure. An entry is never edited: an adjustment bears the difference in cost, bytes and slots, so
that sums over a charge and its adjustments are what BigQuery says.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from bqgate.domain.booking_check import BookingCheck, Due
from bqgate.domain.budget import Period
from bqgate.domain.entry import BookedCharge, Entry, EntryKind, Origin
from bqgate.domain.job import Job, Usage
from bqgate.domain.tier import Customer

# What stands for a decision in an entry of a job that no gate has decided about.
BYPASS = "bypass"
# Whose a job is where BigQuery does not say.
NOBODY = "unknown"
CORRECTED = "BigQuery reports other figures than were booked"


def bypass_entry(
    job: Job, usage: Usage, due: Due, customer: Customer, *, entry_id: str, prices_id: str, now: datetime, counts: bool
) -> Entry:
    """The charge of a job that came past the gate.

    Args:
        job: as BigQuery shows it.
        usage: what it used.
        due: what it costs.
        customer: who pays.
        entry_id: a new id.
        prices_id: the prices by which it costs that.
        now: when it is booked.
        counts: whether it counts in budgets: in the day and the month in which it was made.
    """
    made_at = job.created_at or now
    window_keys: Mapping[Period, str] = {window.period: window.key for window in customer.windows(made_at)}
    return Entry(
        id=entry_id,
        kind=EntryKind.CHARGE,
        customer=customer.id,
        principal=job.principal or NOBODY,
        project_id=job.ref.project_id,
        booked_at=now,
        window_keys=window_keys if counts else {},
        outcome=due.outcome,
        cost_nanos=due.cost_nanos,
        job=usage.job or job.ref,
        decision=BYPASS,
        bytes_processed=usage.bytes_processed,
        bytes_billed=usage.bytes_billed or 0,
        slot_ms=usage.slot_ms or 0,
        statement_type=usage.statement_type or "",
        cache_hit=usage.cache_hit,
        labels=job.labels,
        placed_at=made_at if counts else None,
        origin=Origin.BYPASS,
        reservation=usage.ran_in,
        edition=usage.edition,
        prices_id=prices_id,
        ended_at=usage.ended_at,
    )


def adjustment_entry(
    booked: BookedCharge, job: Job, usage: Usage, check: BookingCheck, *, prices_id: str, now: datetime
) -> Entry:
    """The adjustment that brings a charge to what its job costs, in the windows in which the charge counts."""
    assert check.due is not None, "only what is due can differ"
    charge, entries = booked.charge, (booked.charge, *booked.adjustments)
    return replace(
        charge,
        id=booked.next_adjustment_id,
        kind=EntryKind.ADJUSTMENT,
        booked_at=now,
        outcome=check.due.outcome,
        cost_nanos=check.difference_nanos,
        hold_id=None,
        hold_nanos=0,
        job=charge.job or usage.job or job.ref,
        reason=CORRECTED,
        estimate_bytes=None,
        estimate_nanos=0,
        bytes_processed=usage.bytes_processed - sum(each.bytes_processed for each in entries),
        bytes_billed=(usage.bytes_billed or 0) - sum(each.bytes_billed for each in entries),
        slot_ms=(usage.slot_ms or 0) - sum(each.slot_ms for each in entries),
        statement_type=usage.statement_type or charge.statement_type,
        cache_hit=usage.cache_hit,
        shadow_decision=None,
        adjusts=charge.id,
        reservation=usage.ran_in,
        edition=usage.edition,
        prices_id=prices_id,
        ended_at=usage.ended_at,
    )
