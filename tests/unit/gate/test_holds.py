"""The life of a hold at one gate, step by step: who joins, leaves and is gone in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bqgate.admission.hold_service import HoldService
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.hold import Hold
from bqgate.domain.job import Estimate
from bqgate.domain.principal import Principal
from bqgate.domain.units import MIB
from bqgate.gate.holds import Attempt, Holds
from bqgate.gate.request_context import RequestContext
from bqgate.gate.routes import Kind, Route
from bqgate.gate.stopwatch import Stopwatch
from bqgate.ledger import SqlLedger
from bqgate.settlement.poller import Poller
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.query_request import parse_insert
from tests.support.gate_holds import gate_holds
from tests.support.hold_services import CountingTelemetry, hold_service_over
from tests.support.manual_clock import ManualClock
from tests.support.scripted_bigquery import ScriptedBigQuery
from tests.support.settlement_stand import ACME, POLICIES

ANN = Principal("acme", "ann@acme.example")


class HearingTelemetry(CountingTelemetry):
    """Says at once when a repeat is recorded, in the middle of its admission."""

    def __init__(self) -> None:
        super().__init__()
        self.on_repeat: Callable[[], None] = lambda: None

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        super().count(name, amount, **labels)
        if labels.get("event") == "replayed":
            self.on_repeat()


class WaitingLedger:
    """One that records a hold when the test says so."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def open_hold(self, hold: Hold) -> None:
        self.asked.set()
        await self.answers.wait()
        await self._ledger.open_hold(hold)


@dataclass
class Scene:
    """A gate as far as holds go, on real stores."""

    clock: ManualClock
    ledger: WaitingLedger
    budgets: MemoryBudgetStore
    service: HoldService
    poller: Poller
    holds: Holds
    telemetry: HearingTelemetry

    def ask(self, job_id: str) -> RequestContext:
        """A caller's jobs.insert, estimated already."""
        call = HttpRequest("POST", "/bigquery/v2/projects/p/jobs")
        route = Route(Kind.SUBMIT, "jobs.insert", call.path, "p")
        ctx = RequestContext(call, route, ANN, Stopwatch(self.clock, self.telemetry))
        document = {"jobReference": {"jobId": job_id}, "configuration": {"query": {"query": "SELECT a FROM d.t"}}}
        query = parse_insert("p", document)
        assert query is not None
        ctx.customer, ctx.query, ctx.estimate = ACME, query, Estimate(5 * MIB, "SELECT", 1)
        return ctx

    async def held_nanos(self) -> int:
        return (await self.budgets.fetch_balances(ACME.windows(self.clock.now())))[0].held_nanos

    async def pass_seconds(self, seconds: int) -> None:
        """Let time pass while the gate keeps its holds."""
        for _ in range(seconds):
            self.clock.advance(1)
            await self.service.keep_alive()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock, telemetry, bigquery = ManualClock(), HearingTelemetry(), ScriptedBigQuery()
    opened = await SqlLedger.open(f"sqlite:///{tmp_path}/ledger.db", clock)
    ledger: Any = WaitingLedger(opened)
    budgets = MemoryBudgetStore(ledger, clock)
    service = hold_service_over(budgets, ledger, clock, telemetry=telemetry)
    wired = gate_holds(
        service, budgets, bigquery=bigquery, ledger=ledger, clock=clock, telemetry=telemetry, policies=POLICIES
    )
    yield Scene(clock, ledger, budgets, service, wired.poller, wired.holds, telemetry)
    await opened.close()


async def test_a_repeat_keeps_its_hold_when_the_first_leaves_as_it_comes(scene: Scene) -> None:
    """The first attempt ends when the repeat is recorded and has not begun: the hold is kept as long as that waits."""
    first = await scene.holds.open(scene.ask("job"))
    assert isinstance(first, Attempt)
    with first:
        scene.telemetry.on_repeat = first.end
        repeat = await scene.holds.open(scene.ask("job"))
        assert isinstance(repeat, Attempt)
        with repeat:
            assert repeat.hold.id == first.hold.id
            await scene.pass_seconds(40)
            attempts = await scene.budgets.fetch_attempts(repeat.hold)
            assert attempts is not None
            assert attempts.leased_until > scene.clock.now()
            repeat.begin_to_send()
    await scene.holds.drain()
    assert scene.poller.watches(first.hold.id)


async def test_a_stop_waits_for_holds_whose_callers_left_while_they_were_recorded(scene: Scene) -> None:
    """Their admission runs to its end, and then gives back what nobody will use."""

    async def ask() -> None:
        await scene.holds.open(scene.ask("job"))
        raise AssertionError("its caller leaves before")

    scene.ledger.answers.clear()
    leaving = asyncio.create_task(ask())
    await scene.ledger.asked.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    draining = asyncio.create_task(scene.holds.drain(limit_s=30))
    await scene.clock.sleep(0)
    scene.ledger.answers.set()
    await draining
    assert await scene.held_nanos() == 0
    assert await scene.ledger.fetch_open_holds() == ()
