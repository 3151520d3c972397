"""Read back from the ledger what a job used, as far as its entries tell enough to price it again.

Used by settlement/rerating; pure. A charge and its corrections add up to what BigQuery said of the job, but for what
they do not keep: whether a figure that is 0 was told, and a script's statements. So what is read back must cost, by the
prices by which it was booked, exactly what was booked; where it does not, or where the new prices need what nobody told
then, BigQuery is to be asked.
"""

from dataclasses import replace

from bqgate.domain.entry import BookedCharge
from bqgate.domain.hold import RecordedHold
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.pricing import CostUnknown, PriceList
from bqgate.domain.statements import is_multi_statement


def told_usage(
    booked: BookedCharge, hold: RecordedHold | None, *, was: PriceList | None, now: PriceList
) -> Usage | None:
    """What the ledger tells of a job; None where that is not enough.

    Args:
        booked: the charge, with what has corrected it.
        hold: the charge's hold, as far as it is known.
        was: the prices by which it was booked; None: they are not known.
        now: those by which it is to be priced.
    """
    usage = _usage_of(booked)
    if usage.outcome is Outcome.ASSUMED or is_multi_statement(usage.statement_type):
        return None
    if not usage.is_billable:
        return usage if booked.cost_nanos == 0 else None
    if was is None:
        return None
    location, priced_as = _location_of(booked, hold), None if hold is None else hold.hold.priced_as
    try:
        if was.cost_of(usage, location=location, priced_as=priced_as) != booked.cost_nanos:
            return None
    except CostUnknown:
        return None
    told = _without_doubtful_zeros(usage, was, location, priced_as)
    return None if now.lacks(told, location=location, priced_as=priced_as) else told


def _without_doubtful_zeros(usage: Usage, was: PriceList, location: str | None, priced_as: str | None) -> Usage:
    """What was charged for was told; a figure that was not is 0 in the ledger where nobody told it, too."""
    no_bytes, no_slots = replace(usage, bytes_billed=None), replace(usage, slot_ms=None)
    if usage.bytes_billed == 0 and "bytes_billed" not in was.lacks(no_bytes, location=location, priced_as=priced_as):
        usage = no_bytes
    if usage.slot_ms == 0 and "slot_ms" not in was.lacks(no_slots, location=location, priced_as=priced_as):
        usage = replace(usage, slot_ms=None)
    return usage


def _usage_of(booked: BookedCharge) -> Usage:
    """The figures are sums, the rest is what was learnt last."""
    charge, last = booked.charge, (booked.charge, *booked.adjustments)[-1]
    entries = (charge, *booked.adjustments)
    return Usage(
        job=charge.job,
        outcome=last.outcome,
        bytes_processed=sum(each.bytes_processed for each in entries),
        bytes_billed=sum(each.bytes_billed for each in entries),
        slot_ms=sum(each.slot_ms for each in entries),
        statement_type=last.statement_type or None,
        cache_hit=last.cache_hit,
        reservation=last.reservation or None,
        is_reservation_known=last.reservation is not None,
        edition=last.edition,
        ended_at=last.ended_at,
    )


def _location_of(booked: BookedCharge, hold: RecordedHold | None) -> str | None:
    jobs = (booked.charge.job, None if hold is None else hold.hold.job)
    return next((job.location for job in jobs if job is not None and job.location is not None), None)
