"""Make the breakers of a gate and what else stands around its calls, and tell other gates of BigQuery's breaker.

Called by outside. One breaker per outside system and process; all that runs over a system shares it.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from bqgate.app.background import Background
from bqgate.bigquery.retrying import Retries
from bqgate.bigquery.timeouts import Timeouts
from bqgate.bigquery.upstream import Guards
from bqgate.breakers.breaker import Breaker, BreakerRules
from bqgate.breakers.exchange import BreakerExchange
from bqgate.domain.units import MS_PER_S
from bqgate.observe.metrics import Metrics
from bqgate.ports import Clock, Journal
from bqgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Breakers:
    """The breaker of each outside system."""

    upstream: Breaker
    budgets: Breaker
    ledger: Breaker


def make_breakers(settings: Settings, clock: Clock, journal: Journal, metrics: Metrics) -> Breakers:
    """Closed breakers, shown in the metrics."""
    section = settings.breakers
    to_bigquery = BreakerRules(section.failures_to_open, section.upstream_cooldown_s)
    to_stores = BreakerRules(section.failures_to_open, section.stores_cooldown_s)
    made = Breakers(
        upstream=Breaker("upstream", to_bigquery, clock, journal),
        budgets=Breaker("budgets", to_stores, clock, journal),
        ledger=Breaker("ledger", to_stores, clock, journal),
    )
    for breaker in (made.upstream, made.budgets, made.ledger):
        metrics.read_gauge_from("system_breaker_state", partial(_state_of, breaker), system=breaker.system)
    return made


def guards_of(settings: Settings, breaker: Breaker, clock: Clock, journal: Journal) -> Guards:
    """What stands around every call to BigQuery."""
    section = settings.upstream
    timeouts = Timeouts(
        longest_s=section.read_timeout_s,
        slack_s=section.poll_slack_s,
        upload_s=section.upload_timeout_s,
        control_s=section.control_timeout_s,
    )
    return Guards(timeouts, journal, Retries(clock, journal), breaker)


def exchange_breaker(
    settings: Settings, breaker: Breaker, clock: Clock, journal: Journal, background: Background, stack: AsyncExitStack
) -> None:
    """Tell other gates when BigQuery is left alone, and hear it from them. In memory there are none."""
    section = settings.budgets
    if section.url.scheme == "memory":
        return
    from bqgate.budgets.redis_breaker_board import RedisBreakerBoard  # noqa: PLC0415 - redis is an extra

    board = RedisBreakerBoard.open(section.url.reveal(), timeout_s=section.timeout_ms / MS_PER_S)
    stack.push_async_callback(board.close)
    host = urlsplit(settings.upstream.url).netloc
    background.start("breaker exchange", BreakerExchange(breaker, board, host, clock, journal).run)


def _state_of(breaker: Breaker) -> int:
    return breaker.state_number
