"""Look again for jobs of holds that were given back because BigQuery knew no job.

A request that was cut off may be stuck in some queue and make its job minutes later, and a list of jobs may show a new
one late. Told by the poller of each hold that it gave back although not every attempt had an answer, or although the
list alone was asked; asks again after one minute, and after five. A job that turns up is booked late; its hold is gone,
so the budgets drop its windows and fill them from the ledger. Bounded: the holds longest given back are forgotten
first, and a restart forgets all.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.hold import Hold
from bqgate.domain.principal import Credential
from bqgate.ports import BigQuery, Clock, Telemetry
from bqgate.settlement.inquiry import News, inquire
from bqgate.settlement.schedule import Schedule
from bqgate.settlement.settlement import Settlement

LOOK_AFTER_S = (60, 240)
HOLDS_MAX = 10_000
_AGAIN_AFTER_S = 30


@dataclass(slots=True)
class _GivenBack:
    """A hold, the credential for its job, and the waits until the next looks."""

    hold: Hold
    credential: Credential | None = field(repr=False)
    waits_s: list[int]


class LateJobs:
    """Holds that were given back lately. `run` it in one task."""

    def __init__(self, *, settlement: Settlement, bigquery: BigQuery, clock: Clock, telemetry: Telemetry) -> None:
        self._settlement = settlement
        self._bigquery = bigquery
        self._telemetry = telemetry
        self._given_back: OrderedDict[str, _GivenBack] = OrderedDict()
        self._schedule = Schedule(clock)

    def expect(self, hold: Hold, credential: Credential | None) -> None:
        """Look for a hold's job later."""
        while len(self._given_back) >= HOLDS_MAX:
            self._forget(next(iter(self._given_back)))
        first_s, *rest_s = LOOK_AFTER_S
        self._given_back[hold.id] = _GivenBack(hold, credential, rest_s)
        self._schedule.plan(hold.id, after_s=first_s)

    async def run(self) -> None:
        """Look for each when it is due, one after the other, until cancelled."""
        while True:
            await self.look(await self._schedule.next_due())

    async def look(self, hold_id: str) -> None:
        """Look for one job now, and book it where it has ended."""
        given_back = self._given_back.get(hold_id)
        if given_back is None:
            return
        self._schedule.plan(hold_id, after_s=_AGAIN_AFTER_S)
        finding = await inquire(self._bigquery, given_back.hold, given_back.credential)
        match finding.news:
            case News.RUNNING | News.SILENT:
                return
            case News.ENDED if finding.usage is not None:
                try:
                    await self._settlement.settle(given_back.hold, finding.usage)
                except LedgerUnavailable:
                    return
                self._telemetry.count("late_jobs_total", customer=given_back.hold.customer)
                self._telemetry.log("late_job_booked", hold_id=hold_id, customer=given_back.hold.customer)
            case News.ABSENT if given_back.waits_s:
                self._schedule.plan(hold_id, after_s=given_back.waits_s.pop(0))
                return
            case _:
                pass
        self._forget(hold_id)

    def _forget(self, hold_id: str) -> None:
        self._given_back.pop(hold_id, None)
        self._schedule.drop(hold_id)
