from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from limits.aio.storage import MemoryStorage

from bqgate.admin.events import EventMaker
from bqgate.admin.guard import Guard
from bqgate.admin.holds_void import HoldVoidViews
from bqgate.admin.permissions import PUBLIC
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.admin.routes import Mounting
from bqgate.domain.audit import AuditFilter, AuditRecord
from bqgate.domain.hold import Hold
from bqgate.domain.job import Outcome, Usage
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.ledger import SqlRegistry
from tests.support.list_audit_log import ListAuditLog
from tests.support.settlement_stand import ACME, Gate, Stand, settlement_stand, usd

MIB = 2**20
BODY = {"reason": "the query was never sent"}


class Known:
    """Takes the credential for the role."""

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        assert project_id is None
        role = Role((credential.authorization or "").removeprefix("Bearer "))
        return Identity(f"the {role.value}", f"key:{role.value}", role, "acme")


@dataclass
class Voiding:
    """The view on real sockets, over a real ledger, real budgets and a registry in the same database."""

    stand: Stand
    gate: Gate
    registry: SqlRegistry
    client: TestClient[web.Request, web.Application]

    async def void(self, hold_id: str, *, status: int = 200, role: str = "admin", body: Any = None) -> dict[str, Any]:
        """POST :void."""
        headers = {"Authorization": f"Bearer {role}"}
        path = f"/v1/holds/{hold_id}:void"
        async with self.client.post(path, json=BODY if body is None else body, headers=headers) as answer:
            document: dict[str, Any] = await answer.json(content_type=None)
            assert answer.status == status, document
            assert answer.headers["Cache-Control"] == "no-store"
            return document

    async def held(self, *, age_s: int = 120) -> Hold:
        """An open hold of 20 dollars."""
        hold = await self.stand.place(self.gate, self.stand.make_hold())
        self.stand.clock.advance(age_s)
        return hold

    async def records(self) -> tuple[AuditRecord, ...]:
        return (await self.registry.fetch_audit(AuditFilter())).records


@pytest.fixture
async def voiding(tmp_path: Path) -> AsyncIterator[Voiding]:
    """An admin's view of a gate."""
    async with settlement_stand(tmp_path) as stand:
        gate = stand.gate()
        registry = await SqlRegistry.open(f"sqlite:///{stand.path}")
        events = EventMaker(stand.clock, lambda _request: "request-1")
        views = HoldVoidViews(
            ledger=stand.ledger, registry=registry, settlement=gate.settlement, events=events, clock=stand.clock
        )
        app = web.Application()
        guard = Guard(authenticator=Known(), audit_log=ListAuditLog(), events=events, public=PUBLIC)
        Mounting(guard, RateLimiter(RateLimits(), MemoryStorage(), stand.telemetry)).mount(app, views.operations())
        client = TestClient(TestServer(app))
        await client.start_server()
        yield Voiding(stand, gate, registry, client)
        await client.close()
        await registry.close()


async def test_a_voided_hold_frees_its_budget(voiding: Voiding) -> None:
    """Closed in the ledger, void in the budgets, and the audit log says by whom, how much and why."""
    hold = await voiding.held()
    assert usd(await voiding.stand.balance(voiding.gate)) == (0, 20)
    answer = await voiding.void(hold.id)
    assert answer == {
        "id": hold.id,
        "customer": "acme",
        "principal": "ada@acme.example",
        "amount_usd": "20.00",
        "voided_at": "2026-11-24T12:02:00Z",
        "reason": "the query was never sent",
    }
    assert await voiding.stand.ledger.fetch_open_holds() == ()
    assert usd(await voiding.stand.balance(voiding.gate)) == (0, 0)
    assert voiding.stand.metrics.value("bqgate_holds_total", event="voided") == 1
    (record,) = await voiding.records()
    event = record.event
    assert (event.action, event.target, event.customer) == ("hold.voided", f"holds/{hold.id}", "acme")
    assert (event.actor, event.role, event.detail) == ("the admin", "admin", "the query was never sent")
    assert event.before is not None
    assert (event.before["amount_usd"], event.before["age_s"]) == ("20.00", 120)


async def test_voiding_again_finds_nothing_to_void(voiding: Voiding) -> None:
    """404, as for a hold that was booked or never was; nothing is written."""
    hold = await voiding.held()
    booked = await voiding.held()
    await voiding.gate.settlement.settle(booked, Usage(booked.job, Outcome.DONE, bytes_billed=MIB))
    await voiding.void(hold.id)
    for hold_id in (hold.id, booked.id, "nobody", "%00"):
        assert (await voiding.void(hold_id, status=404))["field"] == "hold_id"
    assert len(await voiding.records()) == 1
    assert usd(await voiding.stand.balance(voiding.gate)) == (1, 0)


async def test_a_young_hold_is_left_alone(voiding: Voiding) -> None:
    """Its query may be about to be sent: 409, and when to come back."""
    hold = await voiding.held(age_s=119)
    path, headers = f"/v1/holds/{hold.id}:void", {"Authorization": "Bearer admin"}
    async with voiding.client.post(path, json=BODY, headers=headers) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (409, "1")
    assert await voiding.stand.ledger.fetch_open_holds() != ()
    assert await voiding.records() == ()
    voiding.stand.clock.advance(1)
    await voiding.void(hold.id)


async def test_a_job_that_ran_after_all_is_booked(voiding: Voiding) -> None:
    """Whoever still asks after a voided hold books what its job cost, once, as a charge of that hold.

    The ledger has it, and so has every window that is filled from the ledger.
    """
    hold = await voiding.held()
    voiding.gate.poller.watch(hold, None)
    await voiding.void(hold.id)
    job = voiding.stand.run_job(hold)
    await voiding.gate.reconciler.reconcile()
    voiding.stand.bigquery.end(job, bytes_billed=7 * MIB)
    await voiding.gate.look_at_all()
    (entry,) = await voiding.stand.entries()
    assert (entry.hold_id, entry.cost_nanos, entry.outcome) == (hold.id, 7 * 10**9, Outcome.DONE)
    assert await voiding.stand.ledger.fetch_open_holds() == ()
    spend = await voiding.stand.ledger.fetch_spend(ACME.windows(voiding.stand.clock.now()))
    assert set(spend.captured_nanos.values()) == {7 * 10**9}
    assert usd(await voiding.stand.balance(voiding.stand.gate())) == (7, 0)
    await voiding.gate.reconciler.reconcile()
    assert len(await voiding.stand.entries()) == 1


async def test_a_job_that_never_ran_stays_void(voiding: Voiding) -> None:
    """Whoever still asks finds no job, and ends nothing twice."""
    hold = await voiding.held()
    voiding.gate.poller.watch(hold, None)
    await voiding.void(hold.id)
    for _ in range(4):
        await voiding.gate.look_at_all()
        voiding.stand.clock.advance(30)
    await voiding.gate.reconciler.reconcile()
    assert voiding.gate.poller.depth == 0
    assert await voiding.stand.entries() == ()
    assert usd(await voiding.stand.balance(voiding.gate)) == (0, 0)
    assert voiding.stand.metrics.value("bqgate_holds_total", event="voided") == 1


async def test_no_money_is_let_go_without_a_record(voiding: Voiding) -> None:
    """With the ledger away: 503; when it is back, asking again voids, and both tries may be in the audit log."""
    hold = await voiding.held()
    with voiding.stand.ledger_away():
        await voiding.void(hold.id, status=503)
    assert usd(await voiding.stand.balance(voiding.gate)) == (0, 20)
    await voiding.void(hold.id)
    assert {record.event.action for record in await voiding.records()} == {"hold.voided"}


@pytest.mark.parametrize("role", ["open", "user", "analyst"])
async def test_customers_void_nothing(voiding: Voiding, role: str) -> None:
    """Not even what is held against themselves."""
    hold = await voiding.held()
    await voiding.void(hold.id, role=role, status=403)
    assert usd(await voiding.stand.balance(voiding.gate)) == (0, 20)


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": " x"}, {"reason": "a\nb"}, {"reason": "x" * 501}, {"reason": 1}, []]
)
async def test_a_reason_is_wanted(voiding: Voiding, body: Any) -> None:
    """Without a word that can be kept nothing is voided."""
    hold = await voiding.held()
    await voiding.void(hold.id, body=body, status=400)
    assert await voiding.stand.ledger.fetch_open_holds() != ()
