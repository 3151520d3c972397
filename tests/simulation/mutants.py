"""Gates that are wrong in one place each: what simulations must find.

Each is the product's class with one of its promises broken. `MUTANTS` has the parts of a gate by what is wrong.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from bqgate.admission.hold_service import HoldService
from bqgate.budgets.memory_account import Account
from bqgate.budgets.refill import Snapshot
from bqgate.domain.budget import Window
from bqgate.domain.entry import Booking, Entry, EntryKind
from bqgate.domain.hold import Attempts, Hold, HoldState, Placement, RecordedHold, VoidOutcome
from bqgate.domain.job import Job, Usage
from bqgate.domain.tier import Customer
from bqgate.gate.holds import Holds, OpenHold
from bqgate.ports import JobReader, JobsRead, Ledger, SweepStore
from bqgate.settlement.evidence import NotSent, Unknown
from bqgate.settlement.poller import Poller
from bqgate.settlement.reconcile import Reconciler
from bqgate.settlement.settlement import Settlement
from bqgate.settlement.sweep.job_booking import JobBooking
from bqgate.settlement.sweep.sweep import Sweep
from bqgate.settlement.watched import Patience
from tests.simulation.gate import Parts


class CapturesBeforeItBooks(Settlement):
    async def settle(self, hold: Hold, usage: Usage) -> Entry | None:
        entry = self._entry_for(hold, usage, await self._held_prices.prices_of(hold))
        await self._capture(hold, entry.cost_nanos)
        return await super().settle(hold, usage)


class VoidsWithoutAskingForAttempts(Settlement):
    async def void(self, hold: Hold, *, attempts: int | None) -> bool:
        return await super().void(hold, attempts=None)


class TakesAnotherHoldsJobForItsOwn(Settlement):
    """Books a job's cost again under a second hold: as if a job were no key of the ledger."""

    async def settle(self, hold: Hold, usage: Usage) -> Entry | None:
        return await super().settle(hold, replace(usage, job=None))


class ChargesAJobAgain(Settlement):
    """A job that another hold's entry covers is captured under both."""

    async def _end_as_booked(self, hold: Hold) -> Entry | None:
        await self._capture(hold, hold.amount_nanos)
        return None


class AddsWhenItFills(Account):
    def fill(self, snapshot: Snapshot, now: datetime, leased_until: datetime) -> None:
        known = {window: stand.captured_nanos for window, stand in self.stands.items()}
        super().fill(snapshot, now, leased_until)
        for window in snapshot.windows:
            if window.id in known:
                self.stands[window.id].captured_nanos += snapshot.captured_in(window)


class FillsWithoutHolds(Account):
    def fill(self, snapshot: Snapshot, now: datetime, leased_until: datetime) -> None:
        super().fill(replace(snapshot, open_holds=()), now, leased_until)


class CountsNoAttempts(Account):
    def join(self, hold: Hold, windows: tuple[Window, ...], leased_until: datetime) -> Placement | None:
        before = dict(self.attempts)
        joined = super().join(hold, windows, leased_until)
        self.attempts = before
        return joined


class EndsNoOrphans(Reconciler):
    async def _end_orphan(self, hold: Hold, before: Attempts | None) -> None:
        """Leaves it."""


class EndsOrphansAtOnce(Reconciler):
    """Neither age nor lease of a hold that no ledger knows is looked at."""

    async def _void_orphan(self, hold: Hold, before: Attempts | None) -> bool:
        return await self._budgets.void(hold, attempts=None) is VoidOutcome.VOIDED


class AsksForNoJobs(Reconciler):
    """What a crash left open is never asked after."""

    async def _reconcile_jobs(self) -> None:
        """Nothing."""


class ComparesNoSpend(Reconciler):
    async def reconcile(self) -> None:
        self._spend = NoComparison()  # type: ignore[assignment]  # all that a round asks of it
        await super().reconcile()


class NoComparison:
    async def compare(self) -> None:
        """Nothing."""


class TakesSilenceForNothing(Poller):
    """A job that is absent once never ran."""

    def watch(self, hold: Hold, credential: object, **options: object) -> None:
        super().watch(hold, credential, **options)  # type: ignore[arg-type]  # handed on as they came
        watched = self._watched.get(hold.id)
        if watched is not None:
            watched.absences = 5
            watched.absent_since = datetime.min.replace(tzinfo=hold.placed_at.tzinfo)


class RecordsNothing(HoldService):
    """A query is sent before its hold is in the ledger."""

    async def record(self, hold: Hold, placement: Placement, customer: Customer) -> Hold:
        self._unrecorded[hold.id] = hold
        return replace(hold, id=placement.hold_id or hold.id)


class GivesBackWhatOthersHaveJoined(HoldService):
    async def give_back(self, hold: Hold, placement: Placement) -> None:
        await super().give_back(hold, placement)
        await self._budgets.void(hold, attempts=None)


class KeepsNoLeases(HoldService):
    async def keep_alive(self) -> None:
        """Nothing."""


class TakesAFailureForNothingSent(Holds):
    """Whatever has no answer has not been sent."""

    def _end(self, open_hold: OpenHold) -> object:  # type: ignore[override]  # handed on as it came
        open_hold.evidence = [NotSent() if isinstance(each, Unknown) else each for each in open_hold.evidence]
        return super()._end(open_hold)


class OverLedger(JobBooking):
    """A JobBooking before whose ledger stands another."""

    ledger: type

    def __init__(self, *, ledger: Ledger, **parts: Any) -> None:
        super().__init__(ledger=self.ledger(ledger), **parts)


class Beside:
    """A ledger, or a sweep's store, as it is."""

    def __init__(self, books: Any) -> None:
        self._books = books

    def __getattr__(self, name: str) -> Any:
        return getattr(self._books, name)


class AdjustsUnderAnyId(Beside):
    async def book(self, entry: Entry) -> Booking:
        if entry.kind is EntryKind.ADJUSTMENT:
            entry = replace(entry, id=f"{entry.id}-{id(entry)}")
        return await self._books.book(entry)  # type: ignore[no-any-return]  # as the ledger has it


class HasNoHolds(Beside):
    async def fetch_holds(self, hold_ids: Sequence[str]) -> tuple[RecordedHold, ...]:
        return ()

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        return ()


class AdjustsTwice(OverLedger):
    """Two who correct one charge write two ids."""

    ledger = AdjustsUnderAnyId


class LooksAtNoHolds(OverLedger):
    """What is not booked yet came past the gates."""

    ledger = HasNoHolds

    async def book(self, jobs: Sequence[Job]) -> Any:
        return await super().book([replace(job, hold_id=None) for job in jobs])


class TakesALabelForProof(JobBooking):
    """Whoever bears a hold's label is paid by it."""

    async def book(self, jobs: Sequence[Job]) -> Any:
        for job in jobs:
            for recorded in await self._ledger.fetch_holds([job.hold_id or ""]):
                if job.usage is not None and recorded.state is HoldState.HELD:
                    await self._settlement.settle(recorded.hold, job.usage)
        return await super().book(jobs)


class NotesNothing(Beside):
    async def advance(self, place: Any, *, swept_until: datetime, pending: Any) -> None:
        await self._books.advance(place, swept_until=swept_until, pending=())


class ForgetsWhatRuns(Sweep):
    """The mark moves, and nobody remembers jobs that ran on."""

    def __init__(self, *, store: SweepStore, **parts: Any) -> None:
        super().__init__(store=cast("SweepStore", NotesNothing(store)), **parts)


class MarksAhead(JobReader):
    """The mark moves before what was read is booked."""

    def __init__(self, reader: JobReader, store: SweepStore) -> None:
        self._reader, self._store = reader, store

    async def read_jobs(self, place: Any, *, since: datetime, until: datetime) -> JobsRead:
        read = await self._reader.read_jobs(place, since=since, until=until)
        if read.is_whole:
            await self._store.advance(place, swept_until=until, pending=())
        return read


class MarksBeforeItBooks(Sweep):
    def __init__(self, *, reader: JobReader, store: SweepStore, **parts: Any) -> None:
        super().__init__(reader=MarksAhead(reader, store), store=store, **parts)


MUTANTS: dict[str, Parts] = {
    "captures before it books": Parts(settlement=CapturesBeforeItBooks),
    "voids without asking for attempts": Parts(settlement=VoidsWithoutAskingForAttempts),
    "books a job under every hold": Parts(settlement=TakesAnotherHoldsJobForItsOwn),
    "charges a job again": Parts(settlement=ChargesAJobAgain),
    "adds when it fills": Parts(account=AddsWhenItFills),
    "fills without holds": Parts(account=FillsWithoutHolds),
    "counts no attempts": Parts(account=CountsNoAttempts),
    "ends no orphans": Parts(reconciler=EndsNoOrphans),
    "ends orphans at once": Parts(reconciler=EndsOrphansAtOnce),
    "asks for no jobs": Parts(reconciler=AsksForNoJobs),
    "compares no spend": Parts(reconciler=ComparesNoSpend),
    "takes silence for nothing": Parts(poller=TakesSilenceForNothing),
    "is impatient": Parts(patience=Patience(absent_for_s=1)),
    "records nothing": Parts(service=RecordsNothing),
    "gives back what others have joined": Parts(service=GivesBackWhatOthersHaveJoined),
    "keeps no leases": Parts(service=KeepsNoLeases),
    "takes a failure for nothing sent": Parts(holds=TakesAFailureForNothingSent),
    "adjusts twice": Parts(booking=AdjustsTwice),
    "looks at no holds": Parts(booking=LooksAtNoHolds),
    "takes a label for proof": Parts(booking=TakesALabelForProof),
    "forgets what runs": Parts(sweep=ForgetsWhatRuns),
    "marks before it books": Parts(sweep=MarksBeforeItBooks),
}
