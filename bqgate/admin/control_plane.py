"""Put the control plane together: its views, behind its guard and its rate limits, on an application.

Called by app: on the data plane's application, before its catch-all, or on one with a port of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from bqgate.admin.bookings import BookingViews
from bqgate.admin.budget import BudgetViews
from bqgate.admin.budget_list import BudgetListViews
from bqgate.admin.events import EventMaker
from bqgate.admin.guard import Guard
from bqgate.admin.health import HealthViews
from bqgate.admin.jobs import JobViews
from bqgate.admin.openapi import OpenApiViews
from bqgate.admin.operation import Operation, Views, operations_of
from bqgate.admin.permissions import METRICS, PUBLIC
from bqgate.admin.rate_limits import RateLimiter
from bqgate.admin.routes import Mounting
from bqgate.admin.spend import SpendViews
from bqgate.domain.degradation import Degradation
from bqgate.observe.metrics import Metrics
from bqgate.ports import AuditLog, Authenticator, BudgetStore, Clock, Ledger, LedgerReports, PolicySource


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What the control plane works with.

    `reports` is what people look at, which may come from a replica of the ledger. `views` are those that need more than
    is here; their operations are mounted with the others. `described` are mounted by somebody else, without a guard,
    and told of in the document. `has_open_metrics`: anybody may read /metrics.
    """

    ledger: Ledger
    reports: LedgerReports
    budgets: BudgetStore
    policies: PolicySource
    clock: Clock
    metrics: Metrics
    authenticator: Authenticator
    audit_log: AuditLog
    limiter: RateLimiter
    events: EventMaker
    views: Sequence[Views] = ()
    described: Sequence[Views] = ()
    has_open_metrics: bool = False
    is_draining: Callable[[], bool] = lambda: False
    is_journaled: bool = False
    are_workers_up: Callable[[], bool] = lambda: True
    degradation: Degradation = field(default_factory=lambda: Degradation({}, allowance_nanos=0))


def add_control_plane(app: web.Application, plane: ControlPlane) -> tuple[Operation, ...]:
    """Mount every operation; returns them."""
    own: Sequence[Views] = (
        BudgetViews(budgets=plane.budgets, policies=plane.policies, clock=plane.clock),
        BudgetListViews(budgets=plane.budgets, policies=plane.policies, clock=plane.clock),
        JobViews(ledger=plane.ledger, reports=plane.reports, clock=plane.clock),
        BookingViews(ledger=plane.ledger, reports=plane.reports, clock=plane.clock),
        SpendViews(reports=plane.reports, clock=plane.clock),
        HealthViews(
            ledger=plane.ledger,
            budgets=plane.budgets,
            metrics=plane.metrics,
            degradation=plane.degradation,
            is_draining=plane.is_draining,
            is_journaled=plane.is_journaled,
            are_workers_up=plane.are_workers_up,
        ),
    )
    operations = operations_of((*own, *plane.views))
    public = PUBLIC | {METRICS} if plane.has_open_metrics else PUBLIC
    guard = Guard(authenticator=plane.authenticator, audit_log=plane.audit_log, events=plane.events, public=public)
    document = OpenApiViews((*operations, *operations_of(plane.described)), public)
    mounted = (*operations, *document.operations())
    Mounting(guard, plane.limiter).mount(app, mounted)
    return mounted
