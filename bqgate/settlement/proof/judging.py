"""Say what a job that BigQuery shows means for the ledger: equal, different for some cause, or not to be proved.

Used by ledger_check.py and unlisted.py; pure. The comparison itself is domain.booking_check, the sweep's, under the
prices by which a charge was booked.
"""

from collections.abc import Mapping
from datetime import datetime

from bqgate.domain.booking_check import BookingCheck, BookingState, check_booking
from bqgate.domain.entry import BookedCharge
from bqgate.domain.job import Job, Outcome
from bqgate.domain.place import Place
from bqgate.domain.pricing import PriceList
from bqgate.domain.tier import CustomerRegistry, Mode
from bqgate.settlement.proof.report import Cause, CheckReport, Difference, Unproven
from bqgate.settlement.sweep.entries import NOBODY
from bqgate.settlement.sweep.matching import Match


class Judge:
    """Judges jobs one by one into a report. `customer` None: of everybody."""

    def __init__(
        self,
        report: CheckReport,
        *,
        registry: CustomerRegistry,
        is_open: bool,
        customer: str | None,
        marks: Mapping[Place, datetime],
        began_at: datetime | None,
    ) -> None:
        """Take what tells causes apart: who pays, how far the sweep has come, and when the ledger began."""
        self._report = report
        self._registry = registry
        self._is_open = is_open
        self._customer = customer
        self._marks = marks
        self._began_at = began_at

    def payer_of(self, match: Match) -> str:
        """The customer whose job it is, by the ledger, else by its project and its maker."""
        if match.booked is not None:
            return match.booked.charge.customer
        if match.hold is not None:
            return match.hold.hold.customer
        job = match.job
        return self._registry.payer_of_job(job.ref.project_id, job.principal, is_open=self._is_open)

    def judge(self, match: Match, prices: PriceList | None) -> None:
        """Count one job. `prices` are those by which it was booked, or is to be booked; None: not known any more."""
        customer = self.payer_of(match)
        if self._customer not in {None, customer}:
            return
        self._report.listed_count += 1
        check = check_booking(match.job, booked=match.booked, hold=match.hold, prices=prices)
        match check.state:
            case BookingState.RUNNING:
                self._report.running_count += 1
            case BookingState.FREE | BookingState.CHILD:
                self._report.free_count += 1
            case BookingState.AGREES:
                self._report.agree(check.booked_nanos)
            case BookingState.HIDDEN:
                why = Unproven.PRICES if check.due is None else Unproven.HIDDEN
                self._report.leave_unproven(why, check.booked_nanos)
            case BookingState.BYPASS if self._registry.customer(customer).mode is Mode.OFF:
                self._report.off_count += 1
            case _:
                self._differ(match, customer, check)

    def _differ(self, match: Match, customer: str, check: BookingCheck) -> None:
        """What was not booked, or is booked at another cost. A job that costs nothing is not missed."""
        assert check.due is not None, "what can be compared has a cost"
        if match.booked is None and check.due.cost_nanos == 0:
            self._report.free_count += 1
            return
        booked, job = match.booked, match.job
        principal = job.principal or (booked.charge.principal if booked is not None else NOBODY)
        self._report.differ(
            Difference(
                cause=self._cause_of(match, check),
                customer=customer,
                principal=principal,
                job=job.ref,
                bigquery_nanos=check.due.cost_nanos,
                ledger_nanos=check.booked_nanos,
                entry_id=None if booked is None else booked.charge.id,
                created_at=job.created_at,
            )
        )

    def _cause_of(self, match: Match, check: BookingCheck) -> Cause:
        if match.booked is not None:
            return _cause_of_cost(match.job, match.booked)
        if check.state is BookingState.OPEN:
            return Cause.HOLD_OPEN
        if check.state is BookingState.LATE:
            return Cause.HOLD_ENDED
        if match.is_early:
            return Cause.UNRECORDED
        created_at = match.job.created_at
        if created_at is None:
            return Cause.NOT_SWEPT
        if self._began_at is None or created_at < self._began_at:
            return Cause.BEFORE_LEDGER
        mark = self._mark_of(match.job)
        return Cause.SWEPT_OVER if mark is not None and created_at < mark else Cause.NOT_SWEPT

    def _mark_of(self, job: Job) -> datetime | None:
        places = (Place(job.ref.project_id), Place(job.ref.project_id, (job.ref.location or "").lower()))
        return max((self._marks[place] for place in places if place in self._marks), default=None)


def _cause_of_cost(job: Job, booked: BookedCharge) -> Cause:
    entries, usage = (booked.charge, *booked.adjustments), job.usage
    if entries[-1].outcome is Outcome.ASSUMED:
        return Cause.ASSUMED
    is_same = usage is not None and (usage.bytes_billed or 0, usage.slot_ms or 0) == (
        sum(each.bytes_billed for each in entries),
        sum(each.slot_ms for each in entries),
    )
    return Cause.PRICED if is_same else Cause.FIGURES
