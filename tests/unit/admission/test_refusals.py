import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bqgate.admission.refusals import COUNT_LABEL, Refusals, Refused
from bqgate.domain.decision import (
    Reject,
)
from bqgate.domain.entry import Entry, EntryFilter, EntryKind
from bqgate.domain.job import QueryRequest
from bqgate.domain.principal import Credential, Principal
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Customer, Tier
from bqgate.ledger import SqlLedger
from bqgate.wire.query_request import parse_insert
from tests.support.hold_services import CountingTelemetry
from tests.support.manual_clock import ManualClock

USD = 10**9
ACME = Customer("acme", Tier("standard", daily_nanos=USD, monthly_nanos=USD, emergency_nanos=2 * USD))
ANN = Principal("acme", "ann", credential=Credential(subject="ann"))
NO = Refused(Reject(RejectReason.BUDGET_USED_UP, 100, suggestion=""), "", bytes_at_most=7, cap_bytes=0, balances=())


def query(sql: str = "SELECT 1", **labels: str) -> QueryRequest:
    request = parse_insert("p", {"configuration": {"query": {"query": sql}, "labels": labels}})
    assert request is not None
    return request


class Scene:
    """Refusals over a real ledger."""

    def __init__(self, ledger: SqlLedger, clock: ManualClock) -> None:
        self.ledger, self.clock, self.telemetry = ledger, clock, CountingTelemetry()
        self.numbers = itertools.count(1)
        self.refusals = self.opened()

    def opened(self, *, ttl_s: int = 5, kept_max: int = 100) -> Refusals:
        return Refusals(self.ledger, self.clock, self.telemetry, new_id=self.new_id, ttl_s=ttl_s, kept_max=kept_max)

    def new_id(self) -> str:
        return f"id{next(self.numbers)}"

    async def refuse(self, request: QueryRequest | None = None, principal: Principal = ANN, **changed: object) -> str:
        """Refuse a query, as admission does; returns the id that the caller is told."""
        refused = replace(NO, decision_id=self.new_id(), **changed)  # type: ignore[arg-type]  # per test
        request = request or query()
        again = self.refusals.recall(refused, request, principal, ACME)
        return (again or await self.refusals.book(refused, request, principal, ACME)).decision_id

    async def booked(self) -> list[Entry]:
        """All refusals in the ledger, oldest first."""
        page = await self.ledger.fetch_entries(EntryFilter(kind=EntryKind.REFUSAL))
        return sorted(page.entries, key=lambda entry: (entry.booked_at, entry.id))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    ledger = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", clock)
    yield Scene(ledger, clock)
    await ledger.close()


async def test_a_loop_of_refusals_is_booked_once_and_added_up(scene: Scene) -> None:
    """The first at once; the other 99 as one entry with their number, when the moment is over."""
    told = {await scene.refuse() for _ in range(100)}
    assert told == {"id1"}, "each caller is told an id that the ledger knows"
    assert [entry.id for entry in await scene.booked()] == ["id1"]
    scene.clock.advance(4)
    await scene.refuse()
    scene.clock.advance(1)
    await scene.refusals.book_ended()
    first, rest = await scene.booked()
    assert (first.labels, rest.labels) == ({}, {COUNT_LABEL: "100"})
    assert (rest.kind, rest.reason, rest.cost_nanos) == (EntryKind.REFUSAL, "budget_used_up", 0)
    assert (rest.booked_at - first.booked_at).total_seconds() == 4, "when the last of them was"
    assert await scene.refuse() not in told, "another moment begins"
    await scene.refusals.book_ended()
    assert len(await scene.booked()) == 3


async def test_a_refusal_that_is_not_repeated_stays_one_entry(scene: Scene) -> None:
    """Nothing is added up where there is nothing."""
    await scene.refuse()
    scene.clock.advance(5)
    await scene.refusals.book_ended()
    await scene.refusals.flush()
    assert len(await scene.booked()) == 1


async def test_what_differs_is_booked_by_itself(scene: Scene) -> None:
    """Another query, principal, workload, reason or token; labels do not tell two refusals apart."""
    await scene.refuse()
    await scene.refuse(query("SELECT 2"))
    await scene.refuse(principal=replace(ANN, name="bob"))
    await scene.refuse(principal=replace(ANN, workload="dbt"))
    await scene.refuse(principal=replace(ANN, credential=Credential(subject="bob")))
    await scene.refuse(reject=Reject(RejectReason.QUERY_TOO_BIG, 1, suggestion=""))
    assert len(await scene.booked()) == 6
    await scene.refuse(query(run="2"))
    assert len(await scene.booked()) == 6


async def test_a_recalled_refusal_has_the_numbers_of_now(scene: Scene) -> None:
    """Only its id is the old one."""
    await scene.refuse()
    now = replace(NO, decision_id="new", cap_bytes=5)
    assert scene.refusals.recall(now, query(), ANN, ACME) == replace(now, decision_id="id1")


async def test_without_a_moment_each_is_booked(scene: Scene) -> None:
    """The setting 0 turns it off."""
    scene.refusals = scene.opened(ttl_s=0)
    assert len({await scene.refuse() for _ in range(3)}) == 3
    assert len(await scene.booked()) == 3


async def test_memory_is_bounded_and_what_goes_is_booked(scene: Scene) -> None:
    """The oldest make room early; their repeats are not lost."""
    scene.refusals = scene.opened(kept_max=2)
    for number in (1, 1, 2, 3, 4):
        await scene.refuse(query(f"SELECT {number}"))
    await scene.refusals.book_ended()
    assert sorted(entry.labels.get(COUNT_LABEL, "") for entry in await scene.booked()) == ["", "", "", "", "1"]


async def test_repeats_are_booked_at_the_end(scene: Scene) -> None:
    """An orderly stop writes down what was added up."""
    await scene.refuse()
    await scene.refuse()
    await scene.refusals.flush()
    assert [entry.labels for entry in await scene.booked()] == [{}, {COUNT_LABEL: "1"}]


async def test_a_ledger_that_is_away_changes_no_answer(scene: Scene) -> None:
    """No money depends on these lines: what cannot be booked is counted."""
    await scene.ledger.close()
    assert await scene.refuse() == await scene.refuse()
    await scene.refusals.flush()
    assert scene.telemetry.counted == [("failures_total", {"system": "ledger", "step": "refusal"})] * 2
