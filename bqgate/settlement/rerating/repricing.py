"""Say what one charge costs by other prices, and why where nobody can.

Used by rerating.py. The ledger is asked first, and BigQuery where it does not tell enough: jobs.get and, for a script's
statements, jobs.list, both free. A job-less query's figures are in the ledger or nowhere.
"""

import asyncio
from dataclasses import dataclass, replace

from bqgate.domain.booked_usage import booked_usage
from bqgate.domain.booking_check import BookingCheck, BookingState, check_booking, prices_id_of
from bqgate.domain.entry import BookedCharge, Origin
from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import RecordedHold
from bqgate.domain.job import Job, JobRef
from bqgate.domain.pricing import PriceList
from bqgate.ports import BigQuery
from bqgate.settlement.held_prices import HeldPrices
from bqgate.settlement.inquiry import with_children
from bqgate.settlement.rerating.report import LeftOut

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Repriced:
    """How a charge stands under other prices. `check.due` is what it costs."""

    job: Job
    check: BookingCheck
    was_asked: bool = False


class Repricing:
    """Prices charges again, one by one."""

    def __init__(self, *, bigquery: BigQuery, known_prices: HeldPrices, prices: PriceList) -> None:
        """Take BigQuery, asked in the gate's own name, the price lists of before, and that of now."""
        self._bigquery = bigquery
        self._known_prices = known_prices
        self._prices = prices
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def reprice(self, booked: BookedCharge, hold: RecordedHold | None) -> Repriced | LeftOut:
        """What a charge costs by the prices of now.

        Raises:
            LedgerUnavailable: the prices by which it was booked could not be read.
        """
        if booked.charge.origin is Origin.METERED:
            return LeftOut.METERED
        prices_id = prices_id_of(booked, hold)
        was = None if prices_id is None else await self._known_prices.by_id(prices_id)
        usage = booked_usage(booked, hold, was=was, now=self._prices)
        ref = booked.charge.job or (None if hold is None else hold.hold.job)
        if usage is not None:
            return self._judged(Job(ref or _no_job(booked), usage), booked, hold)
        if ref is None:
            return LeftOut.NO_JOB
        async with self._room:
            job = await self._ask(ref)
        return job if isinstance(job, LeftOut) else self._judged(job, booked, hold, was_asked=True)

    def _judged(
        self, job: Job, booked: BookedCharge, hold: RecordedHold | None, *, was_asked: bool = False
    ) -> Repriced | LeftOut:
        check = check_booking(replace(job, parent_id=None), booked=booked, hold=hold, prices=self._prices)
        if check.state is BookingState.RUNNING:
            return LeftOut.RUNNING
        if check.due is None or not check.due.is_exact:
            return LeftOut.HIDDEN
        return Repriced(job, check, was_asked)

    async def _ask(self, ref: JobRef) -> Job | LeftOut:
        try:
            return await with_children(self._bigquery, await self._bigquery.fetch_job(ref, credential=None))
        except JobNotFound:
            return LeftOut.GONE
        except UpstreamRefused:
            return LeftOut.REFUSED
        except UpstreamUnavailable:
            return LeftOut.AWAY


def _no_job(booked: BookedCharge) -> JobRef:
    """What stands for the reference of a query that made no job."""
    return JobRef(booked.charge.project_id, "")
