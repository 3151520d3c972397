"""Do everything with a Redis that a gate does, for tests of what is left in it and of what it takes."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from bqgate.admin.operation import RateClass
from bqgate.admin.rate_limits import RateLimiter, RateLimits
from bqgate.budgets.rate_storage import close_storage, open_storage
from bqgate.budgets.redis_breaker_state import RedisBreakerState
from bqgate.budgets.redis_change_feed import RedisChangeFeed
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.budget import Window
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.cost_breaker import GracePolicy
from bqgate.domain.hold import Hold
from bqgate.domain.money import parse_usd
from bqgate.domain.touched import EVERYTHING, Writes
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from tests.support.budget_scene import hold_on, windows_of
from tests.support.manual_clock import START, ManualClock
from tests.support.spend_book import SpendBook

OWN = windows_of()
NIGHTLY = tuple(replace(window, scope=BudgetScope(ScopeKind.WORKLOAD, "nightly"), limit_nanos=None) for window in OWN)
ABOVE = windows_of(DEPLOYMENT_ACCOUNT, day_usd=None, month_usd=None)
GRACE = GracePolicy(grace_s=60, emergency_nanos=parse_usd("400"), cooldown_s=1)


async def use_every_call(url: str, book: SpendBook) -> None:
    """Place, join, refuse, trip, probe, keep, restore, end, fill: whatever writes, for several customers."""
    clock = ManualClock(START)
    store = RedisBudgetStore.open(url, book, clock, timeout_s=5, has_deployment_budget=lambda: True)
    try:
        await _use_store(store, book, clock)
    finally:
        await store.close()


async def _use_store(store: RedisBudgetStore, book: SpendBook, clock: ManualClock) -> None:
    async def place(hold: Hold, windows: tuple[Window, ...]) -> Hold:
        await store.place_hold(hold, windows, GRACE)
        return hold

    await place(hold_on(OWN, "301", idempotency_key="job:p:j"), (*OWN, *ABOVE))
    await place(hold_on(OWN, idempotency_key="job:p:j"), OWN)
    await place(hold_on(OWN, "301"), OWN)
    clock.advance(2)
    await place(hold_on(OWN, "0", placed_at=clock.now()), OWN)
    await place(ended := hold_on((*OWN, *NIGHTLY)), (*OWN, *NIGHTLY, *ABOVE))
    await store.capture(ended, 1)
    await store.fetch_balances((*OWN, *NIGHTLY))
    await store.void(hold_on(OWN))
    await store.void(await place(hold_on(OWN), OWN), attempts=1)
    other = windows_of("globex")
    await place(kept := hold_on(other), other)
    await store.keep_holds([kept, hold_on(other)])
    await store.restore_hold(hold_on(windows_of("initech")))
    book.open_hold(hold_on(windows_of("umbrella"), idempotency_key="job:p:u"))
    await store.fetch_status(windows_of("umbrella"))
    await store.forget_windows("umbrella")
    await store.fetch_balances(windows_of("umbrella", now=START - timedelta(days=400)))
    assert await store.fetch_customers()
    await store.fetch_hold_ids("acme")
    await store.fetch_attempts(ended)
    await store.fetch_breakers()
    await store.reset_breaker("nobody")
    await store.check()


async def use_everything(url: str) -> None:
    """All of a gate's calls. What is refused is raised, also where a gate only counts it.

    Raises:
        BudgetStoreUnavailable, AssertionError: something was refused.
    """
    metrics = Metrics()
    telemetry = PrometheusTelemetry(metrics, make_logger(io.StringIO(), ManualClock(START)))

    def failures(step: str) -> float:
        return metrics.value("bqgate_failures_total", system="budgets", step=step)

    await use_every_call(url, SpendBook())
    await use_the_feed(url, failures, telemetry)
    await use_the_rest(url, telemetry)
    for step in ("announce", "change_feed", "rate_limit"):
        assert not failures(step), step


async def use_the_feed(url: str, failures: Callable[[str], float], telemetry: PrometheusTelemetry) -> None:
    """Hear what another gate says, and have nobody say anything for a while."""
    clock = ManualClock(START)
    feeds = [RedisChangeFeed.open(url, clock, telemetry, timeout_s=5) for _ in range(2)]
    try:
        async with asyncio.timeout(5):
            hearing = asyncio.create_task(feeds[0].hear_writes())
            while not hearing.done():
                await feeds[1].announce_writes(Writes(EVERYTHING))
                await asyncio.wait({hearing}, timeout=0.05)
                if any(map(failures, ("announce", "change_feed"))):
                    break
            await feeds[1].announce()
            hearing.cancel()
            silence = asyncio.create_task(feeds[0].hear_writes())
            await asyncio.wait({silence}, timeout=0.05)
            silence.cancel()
    finally:
        for feed in feeds:
            await feed.close()


async def use_the_rest(url: str, telemetry: PrometheusTelemetry) -> None:
    """The breakers, the rates."""
    breakers = RedisBreakerState.open(url, timeout_s=5)
    try:
        await breakers.write("bigquery.googleapis.com", is_open=True, for_s=30)
        assert await breakers.read("bigquery.googleapis.com") is not None
    finally:
        await breakers.close()
    storage = open_storage(url, timeout_s=5, connections_max=2)
    limiter = RateLimiter(RateLimits(3, 3, 3), storage, telemetry)
    for rate_class in RateClass:
        await limiter.take("key:a b", rate_class)
    await close_storage(storage)
