"""Wire the control plane over the outside systems.

Called by root. What leaves: a ControlPlane, which root mounts on the port that the settings say.
"""

from contextlib import AsyncExitStack

from aiohttp import web
from limits.aio.storage import MemoryStorage, Storage

from bqgate.admin import ControlPlane
from bqgate.admin.audit import AuditViews
from bqgate.admin.breakers import BreakerViews
from bqgate.admin.enforcement_readiness import EnforcementReadinessViews
from bqgate.admin.events import EventMaker
from bqgate.admin.holds_void import HoldVoidViews
from bqgate.admin.increases import IncreaseViews
from bqgate.admin.key_changes import KeyChanges
from bqgate.admin.keys import KeyViews
from bqgate.admin.logins import FailedLogins, LoginViews
from bqgate.admin.operation import Views
from bqgate.admin.policies import PolicyViews
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.app.authentication import Identities
from bqgate.app.dependencies import Dependencies
from bqgate.app.shares import failed_logins_per_minute
from bqgate.domain.policy import PolicyKind
from bqgate.domain.units import MS_PER_S
from bqgate.gate.http.call_notes import notes_of
from bqgate.policies.editor import PolicyEditor
from bqgate.settings import Settings
from bqgate.settlement.settlement import Settlement


def wire_control_plane(
    deps: Dependencies,
    identities: Identities,
    settlement: Settlement,
    logins: LoginViews | None,
    stack: AsyncExitStack,
) -> ControlPlane:
    """Everything below /v1 and /admin/v1; `logins` are mounted beside it, and told of in its document."""
    settings, clock = deps.settings, deps.clock
    events = EventMaker(clock, request_id_of)
    limiter = RateLimiter(_rate_limits(settings), _rate_storage(deps, stack), deps.telemetry)

    def follow_rates(new: Settings) -> None:
        limiter.limits = _rate_limits(new)

    deps.reload_hooks.append(follow_rates)
    return ControlPlane(
        ledger=deps.ledger,
        reports=deps.reports,
        budgets=deps.budgets,
        policies=deps.policies,
        clock=clock,
        metrics=deps.metrics,
        authenticator=identities.authenticator,
        audit_log=deps.audit_log,
        limiter=limiter,
        events=events,
        views=_views(deps, settlement, events),
        described=() if logins is None else (logins,),
        has_open_metrics=settings.identity.open_metrics,
        degradation=deps.degradation,
        is_draining=lambda: deps.drain.is_begun,
        is_journaled=deps.ledger.journal is not None,
        are_workers_up=lambda: deps.worker is None or deps.worker.are_all_up,
    )


def login_views(deps: Dependencies, identities: Identities) -> LoginViews | None:
    """The token endpoint; None before a gate that is open."""
    if identities.logins is None:
        return None
    return LoginViews(
        logins=identities.logins,
        failures=FailedLogins(deps.clock, per_minute=failed_logins_per_minute(deps.settings)),
        audit_log=deps.audit_log,
        events=EventMaker(deps.clock, request_id_of),
        telemetry=deps.telemetry,
    )


def request_id_of(request: web.Request) -> str:
    """What the middleware calls this request."""
    return notes_of(request).request_id


def _views(deps: Dependencies, settlement: Settlement, events: EventMaker) -> tuple[Views, ...]:
    clock = deps.clock
    changes = KeyChanges(
        registry=deps.registry,
        book=deps.policies,
        feed=deps.feed,
        audit_log=deps.audit_log,
        events=events,
        clock=clock,
    )
    editor = PolicyEditor(deps.policies, deps.registry, deps.feed)
    return (
        *(PolicyViews(kind, editor=editor, events=events) for kind in PolicyKind),
        IncreaseViews(editor, deps.policies, events, deps.clock),
        KeyViews(
            registry=deps.registry,
            policies=deps.policies,
            changes=changes,
            clock=clock,
            public_url=deps.settings.identity.public_url,
        ),
        AuditViews(registry=deps.registry, clock=clock, telemetry=deps.telemetry),
        EnforcementReadinessViews(source=deps.reports, clock=clock),
        BreakerViews(
            budgets=deps.budgets,
            ledger=deps.ledger,
            registry=deps.registry,
            policies=deps.policies,
            events=events,
            clock=clock,
        ),
        HoldVoidViews(
            ledger=deps.ledger,
            registry=deps.registry,
            settlement=settlement,
            events=events,
            clock=clock,
        ),
    )


def _rate_limits(settings: Settings) -> RateLimits:
    return RateLimits(**settings.rate_limits.model_dump())


def _rate_storage(deps: Dependencies, stack: AsyncExitStack) -> Storage:
    """Rates are counted where budgets are kept: in Redis for replicas, in memory for one process."""
    section = deps.settings.budgets
    if section.url.scheme == "memory":
        return MemoryStorage(wrap_exceptions=True)
    from bqgate.budgets.rate_storage import close_storage, open_storage  # noqa: PLC0415 - redis is an extra

    storage = open_storage(
        section.url.reveal(), timeout_s=section.timeout_ms / MS_PER_S, connections_max=section.connections_max
    )
    stack.push_async_callback(close_storage, storage)
    return storage
