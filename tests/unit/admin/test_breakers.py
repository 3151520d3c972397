"""How a customer stands past its limits, which breakers are open, and an admin's reset."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from limits.aio.storage import MemoryStorage

from bqgate.admin.breakers import BreakerViews
from bqgate.admin.budget import BudgetViews
from bqgate.admin.events import EventMaker
from bqgate.admin.guard import Guard
from bqgate.admin.openapi import openapi_document
from bqgate.admin.operation import operations_of
from bqgate.admin.permissions import PUBLIC
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.admin.routes import Mounting
from bqgate.domain.audit import AuditFilter
from bqgate.domain.budget import Period
from bqgate.domain.cost_breaker import (
    BreakerEvent,
    BreakerEventKind,
)
from bqgate.domain.hold import Placement, PlacementOutcome
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.domain.reject_reason import RejectReason
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.ledger import SqlRegistry
from tests.support.conformance import Conformance
from tests.support.list_audit_log import ListAuditLog
from tests.support.settlement_stand import PRICES, Gate, Stand, settlement_stand

USD = NANOS_PER_USD
TIER = Tier(
    "standard", 10 * USD, 300 * USD, emergency_nanos=20 * USD, query_nanos=10 * USD, grace_s=900, breaker_cooldown_s=600
)
ACME = Customer("acme", TIER)
POLICIES = PolicySnapshot(CustomerRegistry({"acme": ACME}, {}, TIER), PRICES)
CLOSED = {"state": "closed", "opened_at": None, "until": None, "reason": None}
OPEN = {
    "state": "open",
    "opened_at": "2026-11-24T12:00:00Z",
    "until": "2026-11-25T00:00:00Z",
    "reason": "emergency",
}
BODY = {"reason": "the loop is fixed"}


class Known:
    """Takes the credential for the role."""

    async def authenticate(self, credential: Credential, *, project_id: str | None, source: str = "") -> Identity:
        role = Role((credential.authorization or "").removeprefix("Bearer "))
        return Identity(f"the {role.value}", f"key:{role.value}", role, "acme")


@dataclass
class Scene:
    """The views on real sockets, over a real ledger, real budgets and a registry in the same database."""

    stand: Stand
    gate: Gate
    registry: SqlRegistry
    client: TestClient[web.Request, web.Application]

    async def call(self, method: str, path: str, *, status: int = 200, role: str = "admin", body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {role}"}
        async with self.client.request(method, path, json=body, headers=headers) as answer:
            document = await answer.json(content_type=None)
            assert answer.status == status, document
            return document

    async def reset(self, *, status: int = 200, role: str = "admin", customer: str = "acme", body: Any = None) -> Any:
        path = f"/admin/v1/breakers/{customer}:reset"
        return await self.call("POST", path, status=status, role=role, body=BODY if body is None else body)

    async def budget(self) -> Any:
        return await self.call("GET", "/v1/customers/acme/budget")

    async def attempt(self, usd: int) -> Placement:
        now = self.stand.clock.now()
        windows = ACME.windows(now)
        keys = {window.period: window.key for window in windows}
        hold = replace(self.stand.make_hold(usd=usd), window_keys=keys, placed_at=now)
        return await self.gate.budgets.place_hold(hold, windows, ACME.grace_at(now))

    async def trip(self) -> None:
        """Open acme's breaker, and let the ledger know, as admission does."""
        assert (await self.attempt(10)).outcome is PlacementOutcome.PLACED
        assert (await self.attempt(11)).refusal is RejectReason.EMERGENCY
        day, now = ACME.windows(self.stand.clock.now())[0], self.stand.clock.now()
        event = BreakerEvent("acme", Period.DAY, day.key, now, BreakerEventKind.TRIPPED, "ada@acme.example")
        await self.stand.ledger.record_breaker_event(event)

    async def tripped_days(self) -> set[str]:
        return set((await self.stand.ledger.fetch_spend(ACME.windows(self.stand.clock.now()))).tripped_at)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """No answer differs from its document when it ends."""
    async with settlement_stand(tmp_path) as stand:
        gate = stand.gate()
        registry = await SqlRegistry.open(f"sqlite:///{stand.path}")
        events = EventMaker(stand.clock, lambda _request: "request-1")
        views = (
            BudgetViews(budgets=gate.budgets, policies=POLICIES, clock=stand.clock),
            BreakerViews(
                budgets=gate.budgets,
                ledger=stand.ledger,
                registry=registry,
                policies=POLICIES,
                events=events,
                clock=stand.clock,
            ),
        )
        app, operations = web.Application(), operations_of(views)
        guard = Guard(authenticator=Known(), audit_log=ListAuditLog(), events=events, public=PUBLIC)
        Mounting(guard, RateLimiter(RateLimits(), MemoryStorage(), stand.telemetry)).mount(app, operations)
        conformance = Conformance(openapi_document(operations, PUBLIC))
        conformance.install(app)
        client = TestClient(TestServer(app))
        await client.start_server()
        yield Scene(stand, gate, registry, client)
        await client.close()
        await registry.close()
        assert not conformance.faults, "\n".join(conformance.faults)


async def test_the_budget_shows_grace_from_its_start_to_its_end(scene: Scene) -> None:
    """unused, running since and until, over."""
    unused = {"state": "unused", "period": None, "started_at": None, "ends_at": None}
    await scene.attempt(10)
    assert (await scene.budget())["grace"] == unused
    await scene.attempt(1)
    running = {
        "state": "running",
        "period": "day",
        "started_at": "2026-11-24T12:00:00Z",
        "ends_at": "2026-11-24T12:15:00Z",
    }
    document = await scene.budget()
    assert (document["grace"], document["emergency"]) == (running, {"limit_usd": "20.00", "used_usd": "11.00"})
    scene.stand.clock.advance(900)
    assert (await scene.budget())["grace"] == {**running, "state": "over"}


async def test_the_budget_shows_the_breaker(scene: Scene) -> None:
    """Closed, open, and half-open once a probe may come."""
    assert (await scene.budget())["breaker"] == CLOSED
    await scene.trip()
    assert (await scene.budget())["breaker"] == OPEN
    scene.stand.clock.advance(600)
    assert (await scene.budget())["breaker"] == {**OPEN, "state": "half_open"}


async def test_a_check_foresees_grace_emergency_and_breaker(scene: Scene) -> None:
    """The decision is admission's own, and changes nothing."""

    async def check(usd: str) -> tuple[str, str | None]:
        answer = await scene.call("POST", "/v1/customers/acme/budget:check", body={"cost_usd": usd})
        return answer["decision"], answer.get("reason")

    await scene.attempt(10)
    await scene.attempt(1)
    assert await check("9") == ("throttle", None)
    assert await check("9.5") == ("reject", "emergency")
    assert (await scene.budget())["breaker"] == CLOSED
    scene.stand.clock.advance(900)
    assert await check("9") == ("reject", "grace_over")
    assert (await scene.attempt(10)).has_tripped
    assert await check("0") == ("reject", "breaker_open")


async def test_open_breakers_are_listed(scene: Scene) -> None:
    """Those in the store, with their state."""
    assert (await scene.call("GET", "/admin/v1/breakers"))["breakers"] == []
    await scene.trip()
    document = await scene.call("GET", "/admin/v1/breakers", role="open")
    assert document == {"breakers": [{"customer": "acme", "breaker": OPEN}], "as_of": "2026-11-24T12:00:00Z"}


async def test_an_admin_closes_a_breaker_and_it_stays_closed(scene: Scene) -> None:
    """Queries are judged by the limits again, the audit log says who and why, the ledger remembers."""
    await scene.trip()
    scene.stand.clock.advance(60)
    assert await scene.reset() == {
        "customer": "acme",
        "breaker": CLOSED,
        "reset_at": "2026-11-24T12:01:00Z",
        "reason": "the loop is fixed",
    }
    assert (await scene.attempt(1)).outcome is PlacementOutcome.PLACED
    assert await scene.tripped_days() == set()
    (record,) = (await scene.registry.fetch_audit(AuditFilter())).records
    event = record.event
    assert (event.action, event.target, event.customer) == ("breaker.reset", "breakers/acme", "acme")
    assert (event.actor, event.detail, event.before, event.after) == ("the admin", "the loop is fixed", OPEN, CLOSED)


async def test_a_breaker_that_is_not_open_cannot_be_reset(scene: Scene) -> None:
    """404, and no record of anything."""
    assert (await scene.reset(status=404))["field"] == "customer"
    assert (await scene.reset(status=404, customer="nobody"))["field"] == "customer"
    assert (await scene.reset(status=400, customer="a%20b"))["field"] == "customer"
    assert (await scene.registry.fetch_audit(AuditFilter())).records == ()


async def test_a_breaker_that_the_store_lost_is_reset_too(scene: Scene) -> None:
    """It comes back from the ledger before it is looked at."""
    await scene.trip()
    await scene.gate.budgets.forget_windows("acme")
    await scene.gate.budgets.reset_breaker("acme")
    await scene.reset()
    assert await scene.tripped_days() == set()


@pytest.mark.parametrize("role", ["open", "user", "analyst"])
async def test_who_is_no_admin_resets_nothing(scene: Scene, role: str) -> None:
    """403, and the breaker is open as before."""
    await scene.trip()
    await scene.reset(status=403, role=role)
    assert (await scene.budget())["breaker"] == OPEN


async def test_a_reset_says_why(scene: Scene) -> None:
    """A body without a reason is refused, and nothing is done."""
    await scene.trip()
    assert (await scene.reset(status=400, body={}))["field"] == "reason"
    assert (await scene.attempt(0)).refusal is RejectReason.BREAKER_OPEN


async def test_without_the_ledger_nothing_is_reset(scene: Scene) -> None:
    """503, the breaker is still open; once the ledger is back the same reset works."""
    await scene.trip()
    with scene.stand.ledger_away():
        await scene.reset(status=503)
    assert (await scene.budget())["breaker"] == OPEN
    await scene.reset()
    assert (await scene.budget())["breaker"] == CLOSED
