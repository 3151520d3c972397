"""Ask BigQuery about jobs until their cost is known, then have it booked. Callers may leave; this goes on.

Told by gate/holds.py how the attempts at a hold ended (settle, give_back, watch), and by reconcile what a crash left
open; calls inquiry, settlement, the BudgetStore and the Ledger. Nothing is given up: whatever does not answer is asked
again. Bounded: at most `workers` questions at once, at most `capacity` holds in memory; a hold beyond that stays open
in the ledger, and reconcile brings it back when there is room.
"""

import asyncio
from collections.abc import Callable

from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import ENDED_ATTEMPTS, Attempts, Hold
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.principal import Credential
from bqgate.domain.units import MS_PER_S
from bqgate.ports import BigQuery, BudgetStore, Clock, Ledger, Telemetry
from bqgate.settlement.evidence import Inquiry
from bqgate.settlement.inquiry import LOOK_BACK, News, inquire
from bqgate.settlement.late_jobs import LateJobs
from bqgate.settlement.schedule import Schedule
from bqgate.settlement.settlement import Settlement
from bqgate.settlement.watched import Patience, Watched

DEFAULT_PATIENCE = Patience()
# Of a hold that is known from the ledger only.
ANY_HOLD = Inquiry()


class Poller:
    """A schedule of holds to ask after, and the workers that do. `run` it in one task; start it again after a bug."""

    def __init__(
        self,
        *,
        settlement: Settlement,
        budgets: BudgetStore,
        bigquery: BigQuery,
        ledger: Ledger,
        clock: Clock,
        telemetry: Telemetry,
        patience: Patience = DEFAULT_PATIENCE,
        workers: int = 8,
        capacity: int = 100_000,
        on_end: Callable[[str], None] | None = None,
        late_jobs: LateJobs | None = None,
    ) -> None:
        """Watch nothing yet.

        Args:
            settlement: books what is learnt.
            budgets: counts attempts at a hold, at other gates too.
            bigquery: where jobs run.
            ledger: where a job's id is recorded once it is known.
            clock: the time.
            telemetry: where failures are counted.
            patience: how often to ask, and when to stop.
            workers: how many questions may be under way.
            capacity: how many holds may be watched.
            on_end: called with the id of each hold whose job has ended, or about which nobody here can ask any
                more; perhaps more than once.
            late_jobs: told of holds that were given back although not every attempt had an answer, or although only
                a list of jobs, which may be late, said that there is no job.
        """
        self._settlement = settlement
        self._budgets = budgets
        self._bigquery = bigquery
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._patience = patience
        self._workers = workers
        self._capacity = capacity
        self._on_end = on_end
        self._late_jobs = late_jobs
        self._watched: dict[str, Watched] = {}
        self._schedule = Schedule(clock)

    async def settle(self, hold: Hold, usage: Usage) -> None:
        """Book what a job used, now or as soon as the ledger answers."""
        try:
            await self._settlement.settle(hold, usage)
        except LedgerUnavailable as error:
            self._report_deferred(hold, "ledger", error)
            self.watch(hold, None, usage=usage)
        else:
            if hold.id in self._watched:
                self.forget(hold.id)

    async def give_back(self, hold: Hold, credential: Credential, *, attempts: int) -> None:
        """End a hold of whose attempts at this gate none sent anything. Where others have joined it, ask BigQuery."""
        inquiry: Inquiry = Inquiry(is_answered=True, is_free=True)
        known: int | None = attempts
        try:
            if await self._settlement.void(hold, attempts=attempts):
                self.forget(hold.id)
                return
        except BudgetStoreUnavailable as error:
            self._report_deferred(hold, "budgets", error)
        except LedgerUnavailable as error:
            self._report_deferred(hold, "ledger", error)
        else:
            inquiry, known = ANY_HOLD, None
        self.watch(hold, credential, inquiry=inquiry, attempts=known)

    def watch(
        self,
        hold: Hold,
        credential: Credential | None,
        *,
        inquiry: Inquiry = ANY_HOLD,
        attempts: int | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Ask after a hold's job until it is booked. Again for the same hold: what is new is added.

        Args:
            hold: open in the ledger.
            credential: the caller's, kept in memory only; None: the gate's own.
            inquiry: what its attempts have shown.
            attempts: how many of them this gate made; None: it cannot answer for all of them.
            usage: what the job used, where that is known and only the booking failed.
        """
        watched = self._watched.get(hold.id)
        if watched is not None:
            watched.add(inquiry, attempts)
        elif len(self._watched) >= self._capacity:
            self._telemetry.count("shed_total", where="poller")
            self._notify_end(hold.id)
            return
        else:
            watched = self._watched[hold.id] = Watched(
                hold,
                attempts=attempts,
                is_made=inquiry.is_made or hold.is_job_told,
                is_answered=inquiry.is_answered,
                is_free=inquiry.is_free,
            )
            watched.learn_job(inquiry.job)
        watched.credential = credential or watched.credential
        watched.usage = usage or watched.usage
        # Where every attempt was answered without a job, asking once ends it.
        is_ended = inquiry.is_answered and not inquiry.is_made
        self._look_after(hold.id, 0 if is_ended else watched.delay_ms(self._patience))

    def credential_of(self, hold_id: str) -> Credential | None:
        """The credential used to poll a hold's job; None: the gate's own, or it is not polled here."""
        watched = self._watched.get(hold_id)
        return None if watched is None else watched.credential

    def forget(self, hold_id: str) -> None:
        """Stop polling: the hold has ended otherwise."""
        self._watched.pop(hold_id, None)
        self._schedule.drop(hold_id)
        self._notify_end(hold_id)

    def watches(self, hold_id: str) -> bool:
        """Whether a hold is polled here."""
        return hold_id in self._watched

    @property
    def depth(self) -> int:
        """How many holds are polled."""
        return len(self._watched)

    @property
    def watched_ids(self) -> frozenset[str]:
        """The ids of the holds that are polled."""
        return frozenset(self._watched)

    async def run(self) -> None:
        """Look at each hold when it is due, until cancelled. What is under way then is left as a crash leaves it."""
        turns = asyncio.Semaphore(self._workers)

        async def take_turn(hold_id: str) -> None:
            try:
                await self.look(hold_id)
            finally:
                turns.release()

        async with asyncio.TaskGroup() as looks:
            while True:
                await turns.acquire()
                hold_id = await self._schedule.next_due()
                # Due again after the longest delay, whatever happens: a bug in one look does not lose the hold.
                self._look_after(hold_id, self._patience.longest_delay_ms)
                looks.create_task(take_turn(hold_id))

    async def look(self, hold_id: str) -> None:
        """Ask after one hold now, and book it if its end is known."""
        watched = self._watched.get(hold_id)
        if watched is None or watched.is_under_way:
            return
        watched.is_under_way = True
        try:
            is_over = await self._end_or_ask(watched)
        except LedgerUnavailable:
            self._telemetry.count("failures_total", system="ledger", step="poll")
            is_over = False
        finally:
            watched.is_under_way = False
            watched.looks += 1
        if self._watched.get(hold_id) is not watched:
            return
        if is_over:
            self.forget(hold_id)
            return
        if watched.is_refused or watched.usage is not None:
            # Nobody may ask, or only the booking is late: no reason to keep its concurrency slot.
            self._notify_end(hold_id)
        self._look_after(hold_id, watched.delay_ms(self._patience))

    def _report_deferred(self, hold: Hold, system: str, error: Exception) -> None:
        self._telemetry.count("failures_total", system=system, step="settle")
        self._telemetry.log("settle_deferred", hold_id=hold.id, error=str(error))

    def _notify_end(self, hold_id: str) -> None:
        if self._on_end is not None:
            self._on_end(hold_id)

    async def _end_or_ask(self, watched: Watched) -> bool:
        """One look. True: the hold has ended.

        Raises:
            LedgerUnavailable: it has not, or that is unknown.
        """
        usage, is_absent = watched.usage, False
        if usage is None:
            if watched.attempts is None:
                watched.count_attempts(await self._count_attempts(watched.hold))  # before BigQuery is asked
            finding = await inquire(self._bigquery, watched.hold, watched.credential)
            if finding.news is News.REFUSED and not watched.is_made and await self._is_ended(watched):
                return watched.usage is None  # a gate that may ask has ended it; nothing can be learned here
            # An answer to another attempt may have told the usage meanwhile; it is better than this finding.
            usage = watched.usage or watched.conclude(finding, self._clock.now(), self._patience)
            is_absent = finding.news is News.ABSENT
        if usage is None:
            await self._record_job(watched)
            return False
        if usage.outcome is Outcome.NEVER_RAN or (is_absent and await self._is_repeat(watched.hold)):
            return await self._void(watched) and watched.usage is None  # else it was told meanwhile
        await self._settlement.settle(watched.hold, usage)
        return True

    async def _count_attempts(self, hold: Hold) -> Attempts | None:
        """The attempts that there were at a hold, when none is under way anywhere; None: one is, or may be."""
        try:
            attempts = await self._budgets.fetch_attempts(hold)
            if attempts is None and await self._ledger.fetch_open_hold(hold.id) is None:
                return ENDED_ATTEMPTS
            if attempts is None:  # the store lost it: lease it anew, so that an attempt under way shows
                await self._budgets.keep_holds((hold,))
        except BudgetStoreUnavailable:
            return None
        if attempts is None or attempts.leased_until > self._clock.now():
            return None
        return attempts

    async def _void(self, watched: Watched) -> bool:
        """Give a hold back. False: others made an attempt at it meanwhile, or nobody can say."""
        if await self._is_ended(watched):
            return True
        known = watched.attempts if watched.counted is None else watched.counted.count
        try:
            is_void = known is not None and await self._settlement.void(watched.hold, attempts=known)
        except BudgetStoreUnavailable:
            return False
        if not is_void:
            watched.attempts = None
            watched.count_attempts(None)
        elif self._late_jobs is not None and (not watched.is_answered or watched.hold.job is None):
            self._late_jobs.expect(watched.hold, watched.credential)
        return is_void

    async def _is_ended(self, watched: Watched) -> bool:
        """Whether a hold has ended in the budgets and in the ledger."""
        if watched.counted != ENDED_ATTEMPTS:
            return False
        return await self._ledger.fetch_open_hold(watched.hold.id) is None

    async def _is_repeat(self, hold: Hold) -> bool:
        """Whether BigQuery answered a repeated requestId with the job of an earlier hold, which is booked there.

        The answer broke off before it named the job, and no job bears this hold's label.
        """
        if hold.job is not None or hold.request_prefix is None:
            return False
        since = hold.placed_at - LOOK_BACK
        return await self._ledger.is_booked_already(hold, key_prefix=hold.request_prefix, since=since)

    async def _record_job(self, watched: Watched) -> None:
        """Write down a job that was learned on the way, so that a restart need not look for it."""
        if watched.is_job_unrecorded and watched.hold.job is not None:
            await self._ledger.attach_job(watched.hold.id, watched.hold.job)
            watched.is_job_unrecorded = False

    def _look_after(self, hold_id: str, delay_ms: int) -> None:
        self._schedule.plan(hold_id, after_s=delay_ms / MS_PER_S)
