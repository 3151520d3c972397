"""Compare what is booked for a job with what BigQuery says of it: what the ledger should have, and what is to be done.

Used by the sweep, which does it, and by `bqgate ledger check`, which lists it; pure. A job is compared under the prices
by which it was booked, so that a change of prices is no difference. What BigQuery does not tell is no difference
either, beyond the least that the job must have cost. Amounts are nano-dollars.
"""

from dataclasses import dataclass
from enum import StrEnum

from bqgate.domain.entry import BookedCharge
from bqgate.domain.hold import HoldState, RecordedHold
from bqgate.domain.job import Job, Outcome, Usage
from bqgate.domain.pricing import CostUnknown, PriceList


class BookingState(StrEnum):
    """How a job stands in the ledger."""

    RUNNING = "running"  # it has not ended: nothing is due yet
    AGREES = "agrees"  # booked at what it costs
    DIFFERS = "differs"  # booked at another cost: an adjustment is due
    HIDDEN = "hidden"  # booked; BigQuery does not tell what it cost, or nobody knows by which prices it was booked
    OPEN = "open"  # its hold is open: to be settled
    LATE = "late"  # its hold was given back, and it ran all the same: to be booked under that hold
    BYPASS = "bypass"  # no hold is its: it came past the gate, and is to be booked
    FREE = "free"  # the same, and it cost nothing: nothing is to be booked
    CHILD = "child"  # a statement of a script: the script bears its cost


@dataclass(frozen=True, slots=True)
class Due:
    """What a job costs. `outcome` is ASSUMED where BigQuery does not tell, and the amount is the least it may be."""

    cost_nanos: int
    outcome: Outcome

    @property
    def is_exact(self) -> bool:
        return self.outcome is not Outcome.ASSUMED


@dataclass(frozen=True, slots=True)
class BookingCheck:
    """How one job stands: the state, what is due for it (None: it runs, or is a script's), and what is booked."""

    state: BookingState
    due: Due | None = None
    booked_nanos: int = 0

    @property
    def difference_nanos(self) -> int:
        """What is missing in the ledger, negative where too much is booked. 0 where nobody can say."""
        if self.due is None or self.state in {BookingState.AGREES, BookingState.HIDDEN}:
            return 0
        return self.due.cost_nanos - self.booked_nanos


def check_booking(
    job: Job,
    *,
    booked: BookedCharge | None,
    hold: RecordedHold | None,
    prices: PriceList | None,
) -> BookingCheck:
    """How a job stands in the ledger, and what is due.

    Args:
        job: as BigQuery shows it; a script with its children.
        booked: its charge, None where there is none.
        hold: the hold that is its, None where none is. Whoever asks has made sure that the job is not only labelled so.
        prices: by which it was booked, or is to be booked (`prices_id_of`); None: they are not known any more.
    """
    usage = job.usage
    if usage is None:
        return BookingCheck(BookingState.RUNNING)
    if job.parent_id is not None:
        return BookingCheck(BookingState.CHILD)
    if booked is not None:
        return _compare(usage, booked, hold, prices)
    if prices is None:
        return BookingCheck(BookingState.HIDDEN)
    due = _due(usage, prices, booked, hold)
    if hold is not None:
        return BookingCheck(BookingState.OPEN if hold.state is HoldState.HELD else BookingState.LATE, due)
    is_free = not job.is_query or (due.is_exact and due.cost_nanos == 0)
    return BookingCheck(BookingState.FREE if is_free else BookingState.BYPASS, due)


def cost_due(
    usage: Usage, prices: PriceList, *, location: str | None = None, priced_as: str | None = None, held_nanos: int = 0
) -> Due:
    """What a finished job costs. An unknown cost is its hold's amount, or what is known at least where that is more.

    `location` is where it ran as far as its hold knows; BigQuery's word comes first.
    """
    place = (usage.job.location if usage.job is not None else None) or location
    try:
        return Due(prices.cost_of(usage, location=place, priced_as=priced_as), usage.outcome)
    except CostUnknown as unknown:
        return Due(max(held_nanos, unknown.at_least_nanos), Outcome.ASSUMED)


def prices_id_of(booked: BookedCharge | None, hold: RecordedHold | None) -> str | None:
    """The prices by which a job was booked: of the last adjustment that names some, else of its charge or its hold."""
    if booked is not None:
        for entry in (*reversed(booked.adjustments), booked.charge):
            if entry.prices_id is not None:
                return entry.prices_id
    return None if hold is None else hold.hold.prices_id


def _compare(usage: Usage, booked: BookedCharge, hold: RecordedHold | None, prices: PriceList | None) -> BookingCheck:
    booked_nanos = booked.cost_nanos
    if prices is None:
        return BookingCheck(BookingState.HIDDEN, None, booked_nanos)
    due = _due(usage, prices, booked, hold)
    if due.cost_nanos == booked_nanos:
        return BookingCheck(BookingState.AGREES, due, booked_nanos)
    if not due.is_exact and due.cost_nanos < booked_nanos:  # what was learnt before, or held, stands
        return BookingCheck(BookingState.HIDDEN, due, booked_nanos)
    return BookingCheck(BookingState.DIFFERS, due, booked_nanos)


def _due(usage: Usage, prices: PriceList, booked: BookedCharge | None, hold: RecordedHold | None) -> Due:
    job = None if hold is None else hold.hold.job
    held = (0 if hold is None else hold.hold.amount_nanos, 0 if booked is None else booked.charge.hold_nanos)
    return cost_due(
        usage,
        prices,
        location=None if job is None else job.location,
        priced_as=None if hold is None else hold.hold.priced_as,
        held_nanos=max(held),
    )
