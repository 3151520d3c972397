"""Book finished jobs as BigQuery has them: settle, adjust, or book as a bypass, each once.

Called by sweep.py and pending_jobs.py with jobs of any state, oldest first; calls the ledger, Settlement, and BigQuery
for the statements of scripts. What is to be done says domain.booking_check. Everything may be done twice and by several
at once: the ledger's unique indexes let one win. Budgets learn from the ledger: `untold` has those whose windows are to
be dropped. An outside failure leaves the rest as it is, and the jobs are looked at again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from bqgate.domain.booking_check import BookingCheck, BookingState, check_booking
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.entry import Booking, Entry
from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.job import Job, JobRef, Usage
from bqgate.domain.statements import is_multi_statement
from bqgate.domain.tier import Mode
from bqgate.ports import BigQuery, Clock, Ledger, PolicySource, Telemetry
from bqgate.ports.turns import let_others_run
from bqgate.settlement.held_prices import HeldPrices
from bqgate.settlement.settlement import Settlement
from bqgate.settlement.sweep.entries import adjustment_entry, bypass_entry
from bqgate.settlement.sweep.matching import Match, match_jobs

# Looked at together, and written as few transactions.
_BATCH = 500
_AT_ONCE = 50
# Jobs that are booked as they are: where spans overlap the ledger is not asked again. Hours' worth at 100,000 a day.
_KNOWN_MAX = 20_000
# Jobs that run and bear a hold's label: no more than a project may run at once.
_RUNNING_MAX = 5_000
_LISTS_AT_ONCE = 8
# For so long a script's statements are asked for that BigQuery does not list: a region may be away.
_CHILDREN_WITHIN = timedelta(hours=1)


@dataclass(slots=True)
class Untold:
    """What was booked and not told yet: to budgets, by account; to people, what bypasses cost, by customer."""

    accounts: set[str] = field(default_factory=set)
    bypasses: dict[str, list[int]] = field(default_factory=dict)


class JobBooking:
    """Books what BigQuery's jobs cost, once each."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        settlement: Settlement,
        bigquery: BigQuery,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
        new_id: Callable[[], str],
        bypass_counts: bool,
        is_open: bool,
    ) -> None:
        """Take the ports.

        Args:
            ledger: what is booked.
            settlement: ends holds.
            bigquery: asked for the statements of scripts, in the gate's own name.
            policies: who pays, and the prices.
            clock: the time.
            telemetry: hears what was found.
            new_id: makes ids of entries.
            bypass_counts: whether jobs that came past the gate count in budgets.
            is_open: whether every caller is trusted, so that a project may be called like its customer.
        """
        self._ledger = ledger
        self._settlement = settlement
        self._bigquery = bigquery
        self._policies = policies
        self._prices = HeldPrices(ledger, policies)
        self._clock = clock
        self._telemetry = telemetry
        self._new_id = new_id
        self._bypass_counts = bypass_counts
        self._is_open = is_open
        self._known: OrderedDict[JobRef, Usage | None] = OrderedDict()
        self._running: OrderedDict[str, Job] = OrderedDict()
        self.untold = Untold()

    async def book(self, jobs: Sequence[Job]) -> list[Job]:
        """Book those that have ended. The others run, or may be another gate's to book: they are looked at again.

        Raises:
            UpstreamRefused: the statements of a script may not be listed.
            LedgerUnavailable: not all are booked.
        """
        unfinished = [job for job in jobs if job.usage is None]
        self._count(BookingState.RUNNING.value, len(unfinished))
        self._note_running(unfinished)
        ended = [job for job in jobs if job.usage is not None and job.parent_id is None]
        for start in range(0, len(ended), _BATCH):
            some = [job for job in ended[start : start + _BATCH] if not self._is_known(job)]
            if not some:
                await let_others_run()
                continue
            whole = await self._with_children(some)
            unfinished += [job for job in some if job.ref not in whole]
            some = [job for job in some if job.ref in whole]
            matches = await match_jobs(
                self._ledger, [whole[job.ref] for job in some], running=self._running, now=self._clock.now()
            )
            unfinished += [match.job for match in matches if match.is_early]
            await self._book_all([match for match in matches if not match.is_early])
            for job, match in zip(some, matches, strict=True):
                if not match.is_early:
                    self._remember(job)
        return unfinished

    async def _book_all(self, due: Sequence[Match]) -> None:
        """Book, some at once; where one fails, those beside it are finished first."""
        for first in range(0, len(due), _AT_ONCE):
            some = due[first : first + _AT_ONCE]
            for end in await asyncio.gather(*(self._book(match) for match in some), return_exceptions=True):
                if isinstance(end, BaseException):
                    raise end

    async def _book(self, match: Match) -> None:
        """Do what is due for one job."""
        job, usage = match.job, match.job.usage
        assert usage is not None, "only jobs that have ended are booked"
        prices = await self._prices.for_booking(match.booked, match.hold)
        check = check_booking(job, booked=match.booked, hold=match.hold, prices=prices)
        state, changed = check.state.value, set[str]()
        match check.state:
            case BookingState.OPEN | BookingState.LATE if match.hold is not None:
                entry = await self._settlement.settle(match.hold.hold, usage)
                if check.state is BookingState.LATE and entry is not None:
                    changed = {match.hold.hold.customer}
                    self._telemetry.count("late_jobs_total", customer=match.hold.hold.customer)
                    self._telemetry.log(
                        "late_job_booked", hold_id=match.hold.hold.id, customer=match.hold.hold.customer
                    )
            case BookingState.DIFFERS if prices is not None:
                changed = await self._correct(match, usage, check, prices.id)
            case BookingState.BYPASS:
                is_on, entry = await self._book_bypass(job, usage, check)
                state = state if is_on else "off"
                if entry is not None:
                    self.untold.bypasses.setdefault(entry.customer, []).append(entry.cost_nanos)
                    changed = {entry.customer} if self._bypass_counts else set()
        self._count(state)
        if check.due is not None and not check.due.is_exact:
            self._count("unknown_cost")
        self.untold.accounts |= self._with_deployment(changed)

    async def _correct(self, match: Match, usage: Usage, check: BookingCheck, prices_id: str) -> set[str]:
        assert match.booked is not None, "only what is booked can differ"
        entry = adjustment_entry(match.booked, match.job, usage, check, prices_id=prices_id, now=self._clock.now())
        if await self._ledger.book(entry) is not Booking.BOOKED:
            return set()  # another gate corrects it
        way = "up" if entry.cost_nanos > 0 else "down"
        self._telemetry.count("adjusted_nanos_total", abs(entry.cost_nanos), customer=entry.customer, way=way)
        self._telemetry.log("cost_adjusted", **_named(entry), adjusts=entry.adjusts)
        return {entry.customer} if entry.window_keys else set()

    async def _book_bypass(self, job: Job, usage: Usage, check: BookingCheck) -> tuple[bool, Entry | None]:
        """Book a job that came past the gate. The entry, where nobody was faster.

        False: its customer's budgets are off, and nothing of it is booked.
        """
        registry = self._policies.customer_registry
        payer = registry.payer_of_job(job.ref.project_id, job.principal, is_open=self._is_open)
        customer, prices = registry.customer(payer), self._policies.prices
        if customer.mode is Mode.OFF:
            return False, None
        assert check.due is not None, "a bypass has a cost"
        self._ledger.register_prices(prices)
        entry = bypass_entry(
            job,
            usage,
            check.due,
            customer,
            entry_id=self._new_id(),
            prices_id=prices.id,
            now=self._clock.now(),
            counts=self._bypass_counts,
        )
        if await self._ledger.book(entry) is not Booking.BOOKED:
            return True, None
        self._telemetry.count("bypass_jobs_total", customer=entry.customer)
        self._telemetry.count("bypass_nanos_total", entry.cost_nanos, customer=entry.customer)
        return True, entry

    async def _with_children(self, jobs: Sequence[Job]) -> dict[JobRef, Job]:
        """Jobs by their references, scripts with what their statements used; without those to be asked for again."""
        whole = {job.ref: job for job in jobs}
        scripts = [job for job in jobs if _has_children(job)]
        for first in range(0, len(scripts), _LISTS_AT_ONCE):
            some = scripts[first : first + _LISTS_AT_ONCE]
            for job, children in zip(some, await asyncio.gather(*map(self._children, some)), strict=True):
                if children is None:
                    del whole[job.ref]
                elif job.usage is not None:
                    whole[job.ref] = replace(job, usage=replace(job.usage, children=children))
        return whole

    async def _children(self, job: Job) -> tuple[Usage, ...] | None:
        """What a script's statements used; None: BigQuery does not say now. One that it never says costs the most."""
        usage = job.usage
        assert usage is not None, "only what has ended has all of its statements"
        try:
            return await self._bigquery.fetch_children(usage.job or job.ref, credential=None)
        except UpstreamUnavailable:
            self._telemetry.count("failures_total", system="bigquery", step="sweep")
            ended_at = usage.ended_at or job.created_at
            is_lost = ended_at is not None and ended_at < self._clock.now() - _CHILDREN_WITHIN
            return () if is_lost else None

    def _with_deployment(self, accounts: set[str]) -> set[str]:
        has_deployment = self._policies.customer_registry.deployment is not None
        return accounts | {DEPLOYMENT_ACCOUNT} if accounts and has_deployment else accounts

    def _note_running(self, jobs: Sequence[Job]) -> None:
        """Remember of those that bear one label the first: its hold is not another's who has copied it."""
        for job in jobs:
            if job.hold_id is None or job.created_at is None:
                continue
            first = self._running.get(job.hold_id)
            if first is None or first.created_at is None or job.created_at < first.created_at:
                self._running[job.hold_id] = job
        while len(self._running) > _RUNNING_MAX:
            self._running.popitem(last=False)

    def _is_known(self, job: Job) -> bool:
        return job.ref in self._known and self._known[job.ref] == job.usage

    def _remember(self, job: Job) -> None:
        first = self._running.get(job.hold_id or "")
        if first is not None and first.ref == job.ref:
            del self._running[job.hold_id or ""]
        self._known[job.ref] = job.usage  # the last alone: figures may change back
        self._known.move_to_end(job.ref)
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _count(self, state: str, amount: int = 1) -> None:
        if amount:
            self._telemetry.count("sweep_jobs_total", amount, state=state)


def _has_children(job: Job) -> bool:
    return job.usage is not None and is_multi_statement(job.usage.statement_type) and job.usage.is_billable


def _named(entry: Entry) -> dict[str, object]:
    """What a log line tells of an entry."""
    job = entry.job
    return {
        "customer": entry.customer,
        "project_id": entry.project_id,
        "job_id": None if job is None else job.job_id,
        "cost_nanos": entry.cost_nanos,
    }
