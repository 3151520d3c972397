"""Wire the control plane over the outside systems.

Called by root. What leaves: a ControlPlane, which root mounts on the port that the settings say.
"""

from contextlib import AsyncExitStack

from aiohttp import web
from limits.aio.storage import MemoryStorage, Storage

from bqgate.admin import ControlPlane
from bqgate.admin.audit import AuditViews
from bqgate.admin.breakers import BreakerViews
from bqgate.admin.events import EventMaker
from bqgate.admin.graduation import GraduationViews
from bqgate.admin.holds_void import HoldVoidViews
from bqgate.admin.key_changes import KeyChanges
from bqgate.admin.keys import KeyViews
from bqgate.admin.logins import FailedLogins, LoginViews
from bqgate.admin.operation import Views
from bqgate.admin.policies import PolicyViews
from bqgate.admin.raises import RaiseViews
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.app.callers import Identities
from bqgate.app.outside import Outside
from bqgate.domain.policy import PolicyKind
from bqgate.domain.units import MS_PER_S
from bqgate.gate.door import REQUEST_ID
from bqgate.policies.editor import PolicyEditor
from bqgate.settings import Settings
from bqgate.settlement.settlement import Settlement


def wire_control_plane(
    outside: Outside,
    identities: Identities,
    settlement: Settlement,
    logins: LoginViews | None,
    stack: AsyncExitStack,
) -> ControlPlane:
    """Everything below /v1 and /admin/v1; `logins` are mounted beside it, and told of in its document."""
    settings, clock = outside.settings, outside.clock
    events = EventMaker(clock, request_id_of)
    limiter = RateLimiter(_rate_limits(settings), _rate_storage(outside, stack), outside.journal)

    def follow_rates(new: Settings) -> None:
        limiter.limits = _rate_limits(new)

    outside.followers.append(follow_rates)
    return ControlPlane(
        ledger=outside.ledger,
        budgets=outside.budgets,
        policies=outside.policies,
        clock=clock,
        metrics=outside.metrics,
        authenticator=identities.authenticator,
        trail=outside.trail,
        limiter=limiter,
        events=events,
        views=_views(outside, settlement, events),
        described=() if logins is None else (logins,),
        has_open_metrics=settings.identity.open_metrics,
        degradation=settings.degraded.degradation,
        is_draining=lambda: outside.drain.is_begun,
    )


def login_views(outside: Outside, identities: Identities) -> LoginViews | None:
    """The token endpoint; None before a gate that is open."""
    if identities.logins is None:
        return None
    per_minute = outside.settings.identity.failed_logins_per_minute
    return LoginViews(
        logins=identities.logins,
        failures=FailedLogins(outside.clock, per_minute=per_minute),
        trail=outside.trail,
        events=EventMaker(outside.clock, request_id_of),
        journal=outside.journal,
    )


def request_id_of(request: web.Request) -> str:
    """What the middleware calls this request."""
    request_id: str = request.get(REQUEST_ID, "")
    return request_id


def _views(outside: Outside, settlement: Settlement, events: EventMaker) -> tuple[Views, ...]:
    clock = outside.clock
    changes = KeyChanges(
        registry=outside.registry,
        book=outside.policies,
        feed=outside.feed,
        trail=outside.trail,
        events=events,
        clock=clock,
    )
    editor = PolicyEditor(outside.policies, outside.registry, outside.feed)
    return (
        *(PolicyViews(kind, editor=editor, events=events) for kind in PolicyKind),
        RaiseViews(editor, outside.policies, events, outside.clock),
        KeyViews(
            registry=outside.registry,
            policies=outside.policies,
            changes=changes,
            clock=clock,
            public_url=outside.settings.identity.public_url,
        ),
        AuditViews(registry=outside.registry, clock=clock, journal=outside.journal),
        GraduationViews(source=outside.ledger, clock=clock),
        BreakerViews(
            budgets=outside.budgets,
            ledger=outside.ledger,
            registry=outside.registry,
            policies=outside.policies,
            events=events,
            clock=clock,
        ),
        HoldVoidViews(
            ledger=outside.ledger,
            registry=outside.registry,
            settlement=settlement,
            events=events,
            clock=clock,
        ),
    )


def _rate_limits(settings: Settings) -> RateLimits:
    return RateLimits(**settings.rate_limits.model_dump())


def _rate_storage(outside: Outside, stack: AsyncExitStack) -> Storage:
    """Rates are counted where budgets are kept: in Redis for replicas, in memory for one process."""
    section = outside.settings.budgets
    if section.url.scheme == "memory":
        return MemoryStorage(wrap_exceptions=True)
    from bqgate.admin.rate_storage import close_storage, open_storage  # noqa: PLC0415 - redis is an extra

    storage = open_storage(
        section.url.reveal(), timeout_s=section.timeout_ms / MS_PER_S, connections_max=section.connections_max
    )
    stack.push_async_callback(close_storage, storage)
    return storage
