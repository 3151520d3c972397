"""Create the circuit breakers and what else stands around calls, and share BigQuery's between gates on one Redis.

Called by dependencies and adapters. One breaker per outside system and process, used by every call to that system.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from bqgate.app.background import Background
from bqgate.bigquery.retrying import Retries
from bqgate.bigquery.timeouts import Timeouts
from bqgate.bigquery.upstream import Guards
from bqgate.breakers.circuit_breaker import BreakerRules, CircuitBreaker
from bqgate.breakers.shared_state import SharedBreaker
from bqgate.domain.units import MS_PER_S
from bqgate.observe.metrics import Metrics
from bqgate.ports import Clock, Telemetry
from bqgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Breakers:
    """The breaker of each outside system."""

    upstream: CircuitBreaker
    budgets: CircuitBreaker
    ledger: CircuitBreaker
    ledger_replica: CircuitBreaker


def make_breakers(settings: Settings, clock: Clock, telemetry: Telemetry, metrics: Metrics) -> Breakers:
    """Closed breakers, shown in the metrics."""
    section = settings.breakers
    to_bigquery = BreakerRules(section.failures_to_open, section.upstream_cooldown_s)
    to_stores = BreakerRules(section.failures_to_open, section.stores_cooldown_s)
    made = Breakers(
        upstream=CircuitBreaker("upstream", to_bigquery, clock, telemetry),
        budgets=CircuitBreaker("budgets", to_stores, clock, telemetry),
        ledger=CircuitBreaker("ledger", to_stores, clock, telemetry),
        ledger_replica=CircuitBreaker("ledger_replica", to_stores, clock, telemetry),
    )
    for breaker in (made.upstream, made.budgets, made.ledger, made.ledger_replica):
        metrics.read_gauge_from("system_breaker_state", partial(_state_of, breaker), system=breaker.system)
    return made


def guards_of(settings: Settings, breaker: CircuitBreaker, clock: Clock, telemetry: Telemetry) -> Guards:
    """What stands around every call to BigQuery."""
    section = settings.upstream
    timeouts = Timeouts(
        longest_s=section.read_timeout_s,
        slack_s=section.poll_slack_s,
        upload_s=section.upload_timeout_s,
        control_s=section.control_timeout_s,
    )
    return Guards(timeouts, telemetry, Retries(clock, telemetry), breaker)


def share_breaker_state(
    settings: Settings,
    breaker: CircuitBreaker,
    clock: Clock,
    telemetry: Telemetry,
    background: Background,
    stack: AsyncExitStack,
) -> None:
    """Tell other gates when BigQuery is left alone, and hear it from them. In memory there are none."""
    section = settings.budgets
    if section.url.scheme == "memory":
        return
    from bqgate.budgets.redis_breaker_state import RedisBreakerState  # noqa: PLC0415 - redis is an extra

    shared_state = RedisBreakerState.open(section.url.reveal(), timeout_s=section.timeout_ms / MS_PER_S)
    stack.push_async_callback(shared_state.close)
    host = urlsplit(settings.upstream.url).netloc
    background.start("breaker exchange", SharedBreaker(breaker, shared_state, host, clock, telemetry).run)


def _state_of(breaker: CircuitBreaker) -> int:
    return breaker.state_number
