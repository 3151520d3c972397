from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from limits.aio.storage import MemoryStorage

from bqgate.admin import ControlPlane, add_control_plane
from bqgate.admin.events import EventMaker
from bqgate.admin.openapi import openapi_document
from bqgate.admin.permissions import PUBLIC
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.domain.budget_scope import BudgetScope, ScopeKind
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.tier import Budget, Customer, CustomerRegistry, Mode, Tier
from bqgate.identity.open_access import OpenAuthenticator
from tests.support.conformance import Conformance
from tests.support.list_audit_log import ListAuditLog
from tests.support.settlement_stand import PRICES, Gate, Stand, settlement_stand

STANDARD = Tier(
    name="standard",
    daily_nanos=10 * NANOS_PER_USD,
    monthly_nanos=300 * NANOS_PER_USD,
    emergency_nanos=50 * NANOS_PER_USD,
    query_nanos=8 * NANOS_PER_USD,
)


def part(
    name: str, kind: ScopeKind, value: str, usd: int, mode: Mode = Mode.ENFORCE, *, customer: str = "globex"
) -> Budget:
    """A budget of a day of a part of a customer's queries."""
    return Budget(name, customer, BudgetScope(kind, value), LimitPlan(Limits(daily_nanos=usd * NANOS_PER_USD)), mode)


GLOBEX = Customer(
    "globex",
    STANDARD,
    budgets=(
        part("nightly", ScopeKind.WORKLOAD, "nightly", 3),
        part("each", ScopeKind.PRINCIPAL, "*", 4),
        part("bob", ScopeKind.PRINCIPAL, "bob", 7),
        part("ml", ScopeKind.LABEL, "team=ml", 2, Mode.OBSERVE),
    ),
)
INITECH = Customer(
    "initech",
    STANDARD,
    Mode.OBSERVE,
    budgets=(
        part("strict", ScopeKind.WORKLOAD, "strict", 3, customer="initech"),
        part("lax", ScopeKind.WORKLOAD, "lax", 3, Mode.OBSERVE, customer="initech"),
    ),
)
CUSTOMER_REGISTRY = CustomerRegistry(
    customers={
        "acme": Customer("acme", STANDARD),
        "globex": GLOBEX,
        "initech": INITECH,
        "looker": Customer("looker", STANDARD, Mode.OBSERVE),
        "free": Customer("free", STANDARD, Mode.OFF),
        "büro 7": Customer("büro 7", STANDARD),
    },
    customer_by_project={},
    default_tier=STANDARD,
)
POLICIES = PolicySnapshot(CUSTOMER_REGISTRY, PRICES)


@dataclass
class Plane:
    """A control plane on real sockets, and the money below it."""

    stand: Stand
    gate: Gate
    client: TestClient[web.Request, web.Application]

    async def get(self, path: str, status: int = 200) -> dict[str, Any]:
        """GET a JSON document."""
        async with self.client.get(path) as answer:
            document: dict[str, Any] = await answer.json(content_type=None)
            assert answer.status == status, document
            expected = "application/json" if status == 200 else "application/problem+json"
            assert answer.content_type == expected
            assert answer.headers["Cache-Control"] == "no-store"
            return document

    async def check(self, customer: str, body: Any, status: int = 200) -> dict[str, Any]:
        """POST a budget:check."""
        async with self.client.post(f"/v1/customers/{customer}/budget:check", json=body) as answer:
            document: dict[str, Any] = await answer.json(content_type=None)
            assert answer.status == status, document
            return document


Serve = Callable[[Stand], Awaitable[Plane]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Open a control plane over a stand; no answer differs from its document when the test ends."""
    clients: list[TestClient[web.Request, web.Application]] = []
    conformances: list[Conformance] = []

    async def open_plane(stand: Stand) -> Plane:
        gate = stand.gate()
        app = web.Application()
        operations = add_control_plane(
            app,
            ControlPlane(
                ledger=stand.ledger,
                reports=stand.ledger,
                budgets=gate.budgets,
                policies=POLICIES,
                clock=stand.clock,
                metrics=stand.metrics,
                authenticator=OpenAuthenticator(),
                audit_log=ListAuditLog(),
                limiter=RateLimiter(RateLimits(), MemoryStorage(), stand.telemetry),
                events=EventMaker(stand.clock, lambda _request: "request-1"),
            ),
        )
        conformance = Conformance(openapi_document(operations, PUBLIC))
        conformance.install(app)
        conformances.append(conformance)
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return Plane(stand, gate, client)

    yield open_plane
    for client in clients:
        await client.close()
    faults = [fault for each in conformances for fault in each.faults]
    assert not faults, "\n".join(faults)


@pytest.fixture
async def plane(tmp_path: Path, serve: Serve) -> AsyncIterator[Plane]:
    """A control plane with budgets in memory."""
    async with settlement_stand(tmp_path) as stand:
        yield await serve(stand)
