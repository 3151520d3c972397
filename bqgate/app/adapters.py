"""Choose the adapters that the settings name: where budgets are kept, and whose credentials go to BigQuery.

Called by root. Nothing else knows which store or which credential a gate runs on.
"""

from collections.abc import Callable, Sequence

from bqgate.app.background import Background
from bqgate.bigquery.credentials import AnonymousCredentials, CallerCredentials, UpstreamCredentials
from bqgate.bigquery.upstream import Guards, HttpUpstream
from bqgate.breakers.circuit_breaker import CircuitBreaker
from bqgate.budgets.accounts import AccountSource
from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.budgets.memory_store import MemoryBudgetStore
from bqgate.budgets.wipes import PUT_BACK_S
from bqgate.domain.hold import Hold
from bqgate.domain.units import MS_PER_S
from bqgate.ledger import SqlLedger
from bqgate.ports import BudgetStore, ChangeFeed, Clock, PolicySource, Telemetry
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials


def open_budgets(
    settings: Settings,
    ledger: SqlLedger,
    policies: PolicySource,
    clock: Clock,
    breaker: CircuitBreaker,
    kept: Callable[[], Sequence[Hold]],
) -> BudgetStore:
    """Budgets in memory, or in Redis behind its breaker, filled from the ledger and what this gate keeps."""
    source = AccountSource(ledger, policies, kept)
    lease_s = settings.settlement.lease_s
    url = settings.budgets.url
    if url.scheme == "memory":
        return MemoryBudgetStore(
            source,
            clock,
            has_deployment_budget=lambda: policies.customer_registry.deployment is not None,
            lease_s=lease_s,
        )
    from bqgate.budgets.redis_store import RedisBudgetStore  # noqa: PLC0415 - redis is an extra

    return RedisBudgetStore.open(
        url.reveal(),
        source,
        clock,
        timeout_s=settings.budgets.timeout_ms / MS_PER_S,
        connections_max=settings.budgets.connections_max,
        has_deployment_budget=lambda: policies.customer_registry.deployment is not None,
        breaker=breaker,
        lease_s=lease_s,
        put_back_s=PUT_BACK_S,
    )


def open_feed(settings: Settings, clock: Clock, telemetry: Telemetry) -> ChangeFeed:
    """How replicas tell one another of changes: by Redis where they share one."""
    section = settings.budgets
    if section.url.scheme == "memory":
        return LocalChangeFeed(clock)
    from bqgate.budgets.redis_change_feed import RedisChangeFeed  # noqa: PLC0415 - redis is an extra

    return RedisChangeFeed.open(section.url.reveal(), clock, telemetry, timeout_s=section.timeout_ms / MS_PER_S)


async def open_upstreams(
    settings: Settings, guards: Guards, clock: Clock, telemetry: Telemetry, background: Background
) -> tuple[HttpUpstream, HttpUpstream | None]:
    """The callers' way to BigQuery, and the gate's own where it has credentials beside theirs."""
    match settings.upstream.credentials:
        case Credentials.CALLER:
            own = None
            if settings.upstream.service_account_file is not None:
                own = upstream_to(settings, await _own_credentials(settings, clock, telemetry, background), guards)
            return upstream_to(settings, CallerCredentials(), guards), own
        case Credentials.ANONYMOUS:
            return upstream_to(settings, AnonymousCredentials(), guards), None
        case Credentials.SERVICE_ACCOUNT:
            own_credentials = await _own_credentials(settings, clock, telemetry, background)
            return upstream_to(settings, own_credentials, guards), None


async def _own_credentials(
    settings: Settings, clock: Clock, telemetry: Telemetry, background: Background
) -> UpstreamCredentials:
    """The gate's own account, and those of the customers that have one."""
    # google-auth, requests and urllib3 are a tenth of a second and 6 MiB.
    from bqgate.bigquery.impersonation import ImpersonatedAccounts, sources_from  # noqa: PLC0415 - see above
    from bqgate.bigquery.service_account import ServiceAccountCredentials  # noqa: PLC0415 - the same
    from bqgate.bigquery.token_source import load_token_source  # noqa: PLC0415 - the same

    key_file = settings.upstream.service_account_file
    source = load_token_source(str(key_file) if key_file else None)
    own = ServiceAccountCredentials(source, clock, telemetry)
    await own.renew()
    background.start("token", own.keep_fresh)
    accounts = ImpersonatedAccounts(own, sources_from(source), clock, telemetry)
    background.start("accounts", accounts.keep_fresh)
    return accounts


def upstream_to(settings: Settings, credentials: UpstreamCredentials, guards: Guards | None = None) -> HttpUpstream:
    """BigQuery, or what stands in for it, called with these credentials; without guards as a tool calls it."""
    return HttpUpstream(
        settings.upstream.url,
        credentials,
        guards,
        connect_timeout_s=settings.upstream.connect_timeout_s,
        read_timeout_s=settings.upstream.read_timeout_s,
    )
