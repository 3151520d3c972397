"""Read back from the ledger what a job used, as far as its entries tell enough to price it again.

Used by settlement/rerating; pure. A charge and its adjustments add up to what BigQuery said of the job, but for what
they do not keep: whether a figure that is 0 was told, and a script's statements. So what is read back must cost, by the
prices by which it was booked, exactly what was booked; where nothing does, where what may be meant costs different
amounts by the new prices, or where these need what nobody told, BigQuery is to be asked.
"""

from collections.abc import Iterator
from dataclasses import replace

from bqgate.domain.entry import BookedCharge
from bqgate.domain.hold import RecordedHold
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.pricing import CostUnknown, PriceList
from bqgate.domain.statements import is_multi_statement


def booked_usage(
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
    location, priced_as = _location_of(booked, hold), None if hold is None else hold.hold.priced_as
    readings = list(_readings(usage))
    if was is not None:
        readings = [each for each in readings if _cost(each, was, location, priced_as) == booked.cost_nanos]
    elif usage.is_billable or booked.cost_nanos:
        return None
    if any(now.lacks(each, location=location, priced_as=priced_as) for each in readings):
        return None
    costs = {_cost(each, now, location, priced_as) for each in readings}
    return readings[0] if len(costs) == 1 and None not in costs else None


def _readings(usage: Usage) -> Iterator[Usage]:
    """What entries may mean: a figure that is 0 there was 0, or nobody told it."""
    for bytes_billed in {usage.bytes_billed, usage.bytes_billed or None}:
        for slot_ms in {usage.slot_ms, usage.slot_ms or None}:
            yield replace(usage, bytes_billed=bytes_billed, slot_ms=slot_ms)


def _cost(usage: Usage, prices: PriceList, location: str | None, priced_as: str | None) -> int | None:
    try:
        return prices.cost_of(usage, location=location, priced_as=priced_as)
    except CostUnknown:
        return None


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
