"""Put the whole control plane on real sockets: every view, real stores, callers by name, each answer held to OpenAPI.

The settlement stand is below it, for tests that need money; `operations` is what is mounted.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from limits.aio.storage import MemoryStorage, Storage

from bqgate.admin import ControlPlane, add_control_plane
from bqgate.admin.audit import AuditViews
from bqgate.admin.breakers import BreakerViews
from bqgate.admin.enforcement_readiness import EnforcementReadinessViews
from bqgate.admin.events import EventMaker
from bqgate.admin.holds_void import HoldVoidViews
from bqgate.admin.increases import IncreaseViews
from bqgate.admin.key_changes import KeyChanges
from bqgate.admin.keys import KeyViews
from bqgate.admin.logins import FailedLogins, LoginViews
from bqgate.admin.openapi import openapi_document
from bqgate.admin.operation import Operation, Views
from bqgate.admin.permissions import PUBLIC
from bqgate.admin.policies import PolicyViews
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.audit import AuditEvent
from bqgate.domain.policy import PolicyKind
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.keyring import Keyring
from bqgate.identity.logins import Logins
from bqgate.ledger import SqlRegistry
from bqgate.policies.book import PolicyBook
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.compose import SettingsPolicies
from bqgate.policies.editor import PolicyEditor
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy, PricingPolicy, TierPolicy
from bqgate.policies.prices import PriceTables
from bqgate.ports import BudgetStore, SpendSource
from tests.support.conformance import Conformance
from tests.support.list_audit_log import ListAuditLog
from tests.support.manual_clock import ManualClock
from tests.support.named_callers import NamedCallers, bearing
from tests.support.settlement_stand import Gate, Stand, settlement_stand

REQUEST_ID = "request-1"
PLENTY = RateLimits(
    costs_per_minute=10_000,
    budget_checks_per_minute=10_000,
    analytics_per_minute=10_000,
    reports_per_minute=10_000,
    other_per_minute=10_000,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ControlStand:
    """A control plane, and what is below it."""

    stand: Stand
    gate: Gate
    registry: SqlRegistry
    audit_log: ListAuditLog
    app: web.Application
    client: TestClient[web.Request, web.Application]
    operations: tuple[Operation, ...]
    conformance: Conformance

    async def call(self, method: str, path: str, caller: str = "admin", **options: Any) -> Answer:
        """Send a request as one of named_callers."""
        headers = bearing(caller) | dict(options.pop("headers", {}))
        async with self.client.request(method, path, headers=headers, **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    def told(self, action: str) -> list[AuditEvent]:
        """The events of an action on the trail."""
        return [event for event in self.audit_log.events if event.action == action]


@asynccontextmanager
async def control_stand(
    folder: Path,
    *,
    limits: RateLimits = PLENTY,
    storage: Storage | None = None,
    has_open_metrics: bool = False,
    budgets: Mapping[str, BudgetPolicy] | None = None,
) -> AsyncIterator[ControlStand]:
    """A control plane over a new ledger; no answer differs from its document when it ends.

    `budgets` are those of the settings file.
    """

    def make_store(source: SpendSource, clock: ManualClock) -> BudgetStore:
        return MemoryBudgetStore(
            source, clock, has_deployment_budget=lambda: book.customer_registry.deployment is not None
        )

    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(settlement_stand(folder, make_store))
        registry = await SqlRegistry.open(f"sqlite:///{stand.path}", timeout_s=30)
        stack.push_async_callback(registry.close)
        gate, audit_log, app = stand.gate(), ListAuditLog(), web.Application()
        events = EventMaker(stand.clock, lambda _request: REQUEST_ID)
        book = PolicyBook(_base(budgets or {}), registry, LocalChangeFeed(stand.clock), stand.clock, stand.telemetry)
        await book.load()
        plane = ControlPlane(
            ledger=stand.ledger,
            reports=stand.ledger,
            budgets=gate.budgets,
            policies=book,
            clock=stand.clock,
            metrics=stand.metrics,
            authenticator=NamedCallers(),
            audit_log=audit_log,
            limiter=RateLimiter(limits, storage or MemoryStorage(), stand.telemetry),
            events=events,
            views=_views(stand, gate, registry, book, audit_log, events),
            has_open_metrics=has_open_metrics,
        )
        operations = add_control_plane(app, plane)
        client = TestClient(TestServer(app))
        conformance = Conformance(openapi_document(operations, PUBLIC))
        conformance.install(app)
        stack.push_async_callback(client.close)
        await client.start_server()
        yield ControlStand(stand, gate, registry, audit_log, app, client, operations, conformance)
        assert not conformance.faults, "\n".join(conformance.faults)


def _views(
    stand: Stand, gate: Gate, registry: SqlRegistry, book: PolicyBook, audit_log: ListAuditLog, events: EventMaker
) -> tuple[Views, ...]:
    clock, feed = stand.clock, LocalChangeFeed(stand.clock)
    keyring = Keyring(book, clock)
    logins = Logins(
        access_tokens=AccessTokens("s" * 43, previous_secret=None, ttl_s=900, clock=clock, leeway_s=60),
        assertions=Assertions(keyring, clock, audiences=(), leeway_s=60),
        keyring=keyring,
    )
    changes = KeyChanges(registry=registry, book=book, feed=feed, audit_log=audit_log, events=events, clock=clock)
    failures = FailedLogins(clock, per_minute=10_000)
    editor = PolicyEditor(book, registry, feed)
    return (
        *(PolicyViews(kind, editor=editor, events=events) for kind in PolicyKind),
        IncreaseViews(editor, book, events, stand.clock),
        KeyViews(registry=registry, policies=book, changes=changes, clock=clock, public_url=None),
        AuditViews(registry=registry, clock=clock, telemetry=stand.telemetry),
        EnforcementReadinessViews(source=stand.ledger, clock=clock),
        BreakerViews(
            budgets=gate.budgets, ledger=stand.ledger, registry=registry, policies=book, events=events, clock=clock
        ),
        LoginViews(logins=logins, failures=failures, audit_log=audit_log, events=events, telemetry=stand.telemetry),
        HoldVoidViews(ledger=stand.ledger, registry=registry, settlement=gate.settlement, events=events, clock=clock),
    )


def _base(budgets: Mapping[str, BudgetPolicy]) -> SettingsPolicies:
    """What the settings say: two tiers, two customers."""
    return SettingsPolicies(
        budgets=budgets,
        tiers={
            "standard": TierPolicy.model_validate({"daily_usd": "10", "monthly_usd": "300", "emergency_usd": "50"}),
            "premium": TierPolicy.model_validate({"daily_usd": "50", "monthly_usd": "1500", "emergency_usd": "200"}),
        },
        customers={
            "acme": CustomerPolicy.model_validate({"projects": ["acme-prod"]}),
            "globex": CustomerPolicy.model_validate({}),
        },
        pricing=PricingPolicy.model_validate({}),
        defaults=DefaultsPolicy.model_validate({}),
        price_tables=PriceTables(by_location={}, by_edition={}),
    )
