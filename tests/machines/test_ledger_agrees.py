"""Random lives of holds, on SQLite and PostgreSQL, against a model that is too simple to be wrong."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bqgate.domain.budget import Period, Window
from bqgate.domain.entry import Booking, Entry, EntryFilter, EntryKind
from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.ledger import SqlLedger
from tests.support.ledgers import make_entry, make_hold
from tests.support.manual_clock import START

HOLDS = st.integers(0, 3)
JOBS = st.builds(JobRef, st.just("p"), st.sampled_from(["j", "k"]), st.sampled_from([None, "US", "EU", "asia-east1"]))
KINDS = st.sampled_from([EntryKind.CHARGE, EntryKind.CHARGE, EntryKind.REFUSAL])
STEPS = st.one_of(
    st.tuples(st.just("open"), HOLDS),
    st.tuples(st.just("attach"), HOLDS, JOBS),
    st.tuples(st.just("close"), HOLDS),
    st.tuples(st.just("book"), HOLDS, st.none() | JOBS, KINDS, st.integers(0, 9)),
)


@dataclass
class Model:
    """The ledger as lists and loops."""

    open_holds: dict[str, Hold] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    entries: list[Entry] = field(default_factory=list)

    def open_hold(self, hold: Hold) -> None:
        if hold.id not in self.ended:
            self.open_holds.setdefault(hold.id, hold)

    def attach_job(self, hold_id: str, job: JobRef) -> None:
        if hold_id in self.open_holds:
            self.open_holds[hold_id] = replace(self.open_holds[hold_id], job=job)

    def close_hold(self, hold_id: str) -> None:
        if hold_id in self.open_holds:
            self.end(hold_id)

    def end(self, hold_id: str) -> None:
        self.open_holds.pop(hold_id, None)
        self.ended.add(hold_id)

    def book(self, entry: Entry) -> Booking:
        assert entry.hold_id is not None
        if any(entry.hold_id == other.hold_id for other in self.entries):
            return Booking.HOLD_ALREADY_BOOKED
        self.end(entry.hold_id)
        if entry.kind is EntryKind.CHARGE and any(is_same_job(entry, other) for other in self.entries):
            return Booking.JOB_ALREADY_BOOKED
        self.entries.append(entry)
        return Booking.BOOKED


def is_same_job(entry: Entry, other: Entry) -> bool:
    if entry.job is None or other.job is None or other.kind is not EntryKind.CHARGE:
        return False
    ours, theirs = ({"US", "EU"} if job.location is None else {job.location} for job in (entry.job, other.job))
    return entry.job.job_id == other.job.job_id and bool(ours & theirs)


# Each example lives under names of its own, so that one database serves all of them.
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=25))
async def test_the_ledger_does_what_the_model_does(
    ledger: SqlLedger, ledger_kind: str, steps: Sequence[tuple[object, ...]]
) -> None:
    """After any steps both know the same open holds, entries and spend, and every booking had the same outcome."""
    example, model = uuid.uuid4().hex, Model()
    for number, step in enumerate(steps):
        hold_id = f"{example}-{step[1]}"
        match step:
            case ("open", _):
                hold = make_hold(hold_id, customer=example, amount_nanos=number)
                model.open_hold(hold)
                await ledger.open_hold(hold)
            case ("attach", _, JobRef() as job):
                model.attach_job(hold_id, job)
                await ledger.attach_job(hold_id, job)
            case ("close", _):
                model.close_hold(hold_id)
                await ledger.close_hold(hold_id)
            case ("book", _, job, EntryKind() as kind, int(cost_nanos)):
                own_job = replace(job, project_id=example) if isinstance(job, JobRef) else None
                entry = make_entry(
                    hold_id,
                    id=f"{example}-e{number:02}",
                    customer=example,
                    job=own_job,
                    kind=kind,
                    cost_nanos=cost_nanos,
                )
                booking, expected = await ledger.book(entry), model.book(entry)
                # What becomes of a refusal is not waited for where there is a journal.
                is_told = entry.kind is not EntryKind.REFUSAL or ledger_kind != "journaled"
                assert booking is expected or not is_told
    assert {hold.id: hold for hold in await ledger.fetch_open_holds(example)} == model.open_holds
    page = await ledger.fetch_entries(EntryFilter(customer=example, page_size=99))
    assert list(page.entries) == sorted(model.entries, key=lambda entry: entry.id, reverse=True)
    window = Window(example, Period.DAY, "2026-11-24", None, START)
    spend = (await ledger.fetch_spend((window,))).captured_nanos.get(window.id, 0)
    assert spend == sum(entry.cost_nanos for entry in model.entries if entry.kind is EntryKind.CHARGE)
