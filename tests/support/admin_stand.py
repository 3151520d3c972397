"""Put the views of keys, logins and the audit log on real sockets, over a real registry and real identity.

A Replica is one process of the gate as an admin meets it. Several may share a registry; each has a shelf of keys of its
own, which is as old as its last refresh.
"""

import io
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from limits.aio.storage import MemoryStorage

from bqgate.admin import ControlPlane, add_control_plane
from bqgate.admin.audit import AuditViews
from bqgate.admin.events import EventMaker
from bqgate.admin.key_changes import KeyChanges
from bqgate.admin.keys import KeyViews
from bqgate.admin.logins import FailedLogins, LoginViews
from bqgate.admin.openapi import openapi_document
from bqgate.admin.permissions import PUBLIC
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.principal import Role
from bqgate.domain.tier import Customer, CustomerRegistry, Tier
from bqgate.domain.touched import Writes
from bqgate.identity.access_tokens import AccessTokens
from bqgate.identity.assertions import Assertions
from bqgate.identity.authenticator import CallerAuthenticator
from bqgate.identity.key_files import new_key
from bqgate.identity.keyring import Keyring
from bqgate.identity.logins import Logins
from bqgate.ledger import SqlLedger, SqlRegistry
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.conformance import Conformance
from tests.support.list_audit_log import ListAuditLog
from tests.support.manual_clock import ManualClock
from tests.support.registries import make_event
from tests.support.settlement_stand import PRICES

FAILED_PER_MINUTE = 30
REQUEST_ID = "request-1"
_TIER = Tier("standard", daily_nanos=10**10, monthly_nanos=10**11, emergency_nanos=10**11)
CUSTOMER_REGISTRY = CustomerRegistry(
    customers={
        "acme": Customer("acme", _TIER, projects=("acme-prod", "acme-dev")),
        "globex": Customer("globex", _TIER),
    },
    customer_by_project={},
    default_tier=_TIER,
)
PLENTY = RateLimits(
    costs_per_minute=10_000, analytics_per_minute=10_000, reports_per_minute=10_000, other_per_minute=10_000
)


class Shelf:
    """The keys of a registry as one process last saw them."""

    def __init__(self, registry: SqlRegistry) -> None:
        self._registry = registry
        self._keys: dict[str, Key] = {}
        self.is_ledger_away = False

    def key(self, key_id: str) -> Key | None:
        return self._keys.get(key_id)

    async def refresh(self) -> None:
        if self.is_ledger_away:
            message = "away"
            raise LedgerUnavailable(message)
        self._keys = {key.id: key for key in await self._registry.fetch_keys()}


class CountedFeed:
    """A ChangeFeed that nobody listens to, and which counts what it was told."""

    def __init__(self) -> None:
        self.announced = 0

    async def announce(self) -> None:
        self.announced += 1

    async def wait(self, timeout_s: float) -> bool:
        raise AssertionError("nobody here waits for changes")

    async def announce_writes(self, writes: Writes) -> None:
        raise AssertionError("nobody here writes to BigQuery")

    async def hear_writes(self) -> Writes:
        raise AssertionError("nobody here waits for writes")

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Replica:
    """One gate's control plane."""

    url: str
    http: aiohttp.ClientSession
    shelf: Shelf
    seen: list[str] = field(default_factory=list)

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        status: int = 200,
        **options: Any,
    ) -> Any:
        """Send a request; the answer's JSON (text where it is none), which must have the status."""
        headers: dict[str, str] = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.request(method, self.url + path, headers=headers, **options) as answer:
            text = await answer.text()
            self.seen.append(f"{answer.headers} {text}")
            assert answer.status == status, f"{answer.status} {text}"
            if status < 500:
                assert answer.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in answer.headers
            is_document = answer.content_type in {"application/json", "application/problem+json"}
            return await answer.json(content_type=None) if is_document else text


@dataclass
class AdminStand:
    """What replicas share: the registry, the time, and what they told."""

    registry: SqlRegistry
    ledger: SqlLedger
    path: Path
    clock: ManualClock
    stack: AsyncExitStack
    audit_log: ListAuditLog = field(default_factory=ListAuditLog)
    feed: CountedFeed = field(default_factory=CountedFeed)
    log: io.StringIO = field(default_factory=io.StringIO)
    metrics: Metrics = field(default_factory=Metrics)
    conformances: list[Conformance] = field(default_factory=list)

    async def replica(self, *, registry: SqlRegistry | None = None, public_url: str | None = None) -> Replica:
        """Open a gate's control plane. `registry` is what the audit log is read from, where it is another."""
        telemetry = PrometheusTelemetry(self.metrics, make_logger(self.log, self.clock))
        shelf = Shelf(self.registry)
        keyring = Keyring(shelf, self.clock)
        tokens = AccessTokens("s" * 43, previous_secret=None, ttl_s=900, clock=self.clock, leeway_s=60)
        assertions = Assertions(keyring, self.clock, audiences=(), leeway_s=60)
        events = EventMaker(self.clock, lambda _request: REQUEST_ID)
        policies = PolicySnapshot(CUSTOMER_REGISTRY, PRICES)
        changes = KeyChanges(
            registry=self.registry,
            book=shelf,
            feed=self.feed,
            audit_log=self.audit_log,
            events=events,
            clock=self.clock,
        )
        logins = Logins(access_tokens=tokens, assertions=assertions, keyring=keyring)
        failures = FailedLogins(self.clock, per_minute=FAILED_PER_MINUTE)
        plane = ControlPlane(
            ledger=self.ledger,
            reports=self.ledger,
            budgets=MemoryBudgetStore(self.ledger, self.clock),
            policies=policies,
            clock=self.clock,
            metrics=self.metrics,
            authenticator=CallerAuthenticator(access_tokens=tokens, assertions=assertions, keyring=keyring),
            audit_log=self.audit_log,
            limiter=RateLimiter(PLENTY, MemoryStorage(), telemetry),
            events=events,
            views=(
                KeyViews(
                    registry=self.registry,
                    policies=policies,
                    changes=changes,
                    clock=self.clock,
                    public_url=public_url,
                ),
                AuditViews(registry=registry or self.registry, clock=self.clock, telemetry=telemetry),
                LoginViews(
                    logins=logins, failures=failures, audit_log=self.audit_log, events=events, telemetry=telemetry
                ),
            ),
        )
        app = web.Application()
        conformance = Conformance(openapi_document(add_control_plane(app, plane), PUBLIC))
        conformance.install(app)
        self.conformances.append(conformance)
        server = TestServer(app)
        self.stack.push_async_callback(server.close)
        await server.start_server()
        http = await self.stack.enter_async_context(aiohttp.ClientSession())
        await shelf.refresh()
        return Replica(str(server.make_url("")), http, shelf)

    async def token(self, role: Role, *, customer: str | None = None) -> str:
        """A static token of a new key, as who can write the database makes one."""
        new = await new_key(
            KeyKind.TOKEN,
            principal=f"the {role.value}",
            role=role,
            customer=customer,
            created_by="test",
            now=self.clock.now(),
        )
        await self.registry.add_key(new.key, make_event("key.created", target=f"keys/{new.key.id}"))
        return new.secret

    async def audit(self) -> list[AuditEvent]:
        """What the views wrote into the audit log, oldest first."""
        records = (await self.registry.fetch_audit(AuditFilter(page_size=1_000))).records
        return [each.event for each in reversed(records) if each.event.request_id == REQUEST_ID]

    @contextmanager
    def audit_away(self) -> Iterator[None]:
        """Let the database fail: the audit log's table is gone, and comes back as it was."""
        self._run("ALTER TABLE audit RENAME TO audit_away")
        try:
            yield
        finally:
            self._run("ALTER TABLE audit_away RENAME TO audit")

    def _run(self, statement: str) -> None:
        database = sqlite3.connect(self.path)
        database.execute(statement)
        database.commit()
        database.close()


@asynccontextmanager
async def admin_stand(folder: Path, clock: ManualClock | None = None) -> AsyncIterator[AdminStand]:
    """A stand on a new registry; no answer differs from the OpenAPI document when it ends."""
    clock = clock or ManualClock()
    path = folder / "ledger.db"
    async with AsyncExitStack() as stack:
        registry = await SqlRegistry.open(f"sqlite:///{path}")
        stack.push_async_callback(registry.close)
        ledger = await SqlLedger.open(f"sqlite:///{path}", clock)
        stack.push_async_callback(ledger.close)
        stand = AdminStand(registry, ledger, path, clock, stack)
        yield stand
        faults = [fault for each in stand.conformances for fault in each.faults]
        assert not faults, "\n".join(faults)
