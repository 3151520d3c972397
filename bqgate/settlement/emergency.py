"""Cancel the running jobs of a customer whose cost breaker opened, most expensive first, where its tier says so.

Told by admission when a query trips the breaker (once, because the store opens it once); run by app beside the
requests. Reads the customer's open holds from the ledger, whichever gate placed them, and has BigQuery cancel their
jobs, at most CANCELS_PER_S a second: BigQuery counts such calls towards the gate's own quota. A cancelled job may still
be billed, up to its whole price (https://cloud.google.com/bigquery/docs/managing-jobs#cancel_jobs), so nothing is
voided here: the poller books what BigQuery billed. A job that cannot be cancelled keeps running, under its hold, and is
counted. An id that the caller chose may be another's job: that one is looked at first, and left alone. Bounded in
customers.
"""

import asyncio
from collections.abc import Callable

from bqgate.domain.errors import JobNotFound, LedgerUnavailable, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.principal import Credential
from bqgate.ports import Clock, JobCanceller, Ledger, Telemetry
from bqgate.settlement.inquiry import has_gates_id, is_job_of

CANCELS_PER_S = 5
CUSTOMERS_MAX = 1_000


class EmergencyStop:
    """Customers whose jobs must stop. `credential_of`: the credential for a hold's job; None: the gate's own."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        bigquery: JobCanceller,
        credential_of: Callable[[Hold], Credential | None],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._ledger = ledger
        self._bigquery = bigquery
        self._credential_of = credential_of
        self._clock = clock
        self._telemetry = telemetry
        self._waiting: dict[str, None] = {}
        self._woken = asyncio.Event()

    def begin(self, customer: str) -> None:
        """Have a customer's running jobs cancelled. Returns at once."""
        if len(self._waiting) >= CUSTOMERS_MAX:
            self._telemetry.count("shed_total", where="emergency")
            return
        self._waiting[customer] = None
        self._woken.set()

    async def run(self) -> None:
        """Stop whoever is to be stopped, for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                customer = next(iter(self._waiting))
                del self._waiting[customer]
                await self.stop(customer)

    async def stop(self, customer: str) -> None:
        """Cancel a customer's running jobs, most expensive first."""
        try:
            holds = await self._ledger.fetch_open_holds(customer)
        except LedgerUnavailable:
            self._telemetry.count("failures_total", system="ledger", step="emergency")
            return
        for hold in sorted(holds, key=lambda each: each.amount_nanos, reverse=True):
            result = await self._cancel(hold)
            self._telemetry.count("emergency_cancels_total", result=result)
            self._telemetry.log(
                "job_cancelled", customer=customer, hold_id=hold.id, hold_nanos=hold.amount_nanos, result=result
            )
            await self._clock.sleep(1 / CANCELS_PER_S)

    async def _cancel(self, hold: Hold) -> str:
        if hold.job is None:
            return "unknown_job"  # a jobs.query whose answer has not named it yet
        credential = self._credential_of(hold)
        try:
            if not has_gates_id(hold):
                job = await self._bigquery.fetch_job(hold.job, credential=credential)
                if not is_job_of(job, hold):
                    return "anothers"
            await self._bigquery.cancel_job(hold.job, credential=credential)
        except JobNotFound:
            return "absent"
        except UpstreamRefused:
            return "refused"
        except UpstreamUnavailable:
            return "unavailable"
        return "asked"
