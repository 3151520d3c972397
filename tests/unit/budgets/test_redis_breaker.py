"""A Redis that does not answer is left alone by every call of the store, and what it answers counts as an answer."""

import pytest
import redis as blocking_redis

from bqgate.breakers.circuit_breaker import BreakerRules, CircuitBreaker
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable
from bqgate.domain.hold import PlacementOutcome
from tests.support.budget_scene import hold_on, windows_of
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.spend_book import SpendBook
from tests.support.tcp_fault_proxy import TcpFaultProxy

RULES = BreakerRules(failures_to_open=2, cooldown_s=5)


async def test_redis_that_stalls_costs_one_timeout_and_not_one_for_each_caller(redis_url: str) -> None:
    """Two calls wait for Redis, the next hundred are told at once, and when Redis is back one call finds out."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    clock = ManualClock()
    breaker = CircuitBreaker("budgets", RULES, clock, ListTelemetry())
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        store = RedisBudgetStore.open(url, SpendBook(), clock, timeout_s=1, breaker=breaker)
        await store.check()
        proxy.requests.stall()
        for _ in range(2):
            with pytest.raises(BudgetStoreUnavailable):
                await store.check()
        seen = proxy.connection_count, proxy.requests.chunk_count
        for _ in range(100):
            with pytest.raises(BudgetStoreUnavailable, match="left alone"):
                await store.check()
        assert (proxy.connection_count, proxy.requests.chunk_count) == seen
        await proxy.heal()
        with pytest.raises(BudgetStoreUnavailable, match="left alone"):
            await store.check()
        clock.advance(5)
        await store.check()
        assert breaker.state_number == 0
        await store.close()


async def test_a_redis_that_comes_back_empty_has_answered(redis_url: str) -> None:
    """The probe is told that its windows are unknown: that closes the breaker, and they are filled."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    clock = ManualClock()
    breaker = CircuitBreaker("budgets", RULES, clock, ListTelemetry())
    windows, book = windows_of(), SpendBook()
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        store = RedisBudgetStore.open(url, book, clock, timeout_s=1, breaker=breaker)
        await store.fetch_balances(windows)
        proxy.refuse()
        for _ in range(2):
            with pytest.raises(BudgetStoreUnavailable):
                await store.fetch_balances(windows)
        await proxy.heal()
        with blocking_redis.Redis.from_url(redis_url) as raw:
            raw.flushall()
        clock.advance(5)
        states = []

        async def look_at_the_breaker() -> None:
            states.append(breaker.state_number)

        book.before_spend = look_at_the_breaker
        assert (await store.place_hold(hold_on(windows), windows)).outcome is PlacementOutcome.PLACED
        assert states == [0]
        await store.close()


async def test_a_ledger_that_is_away_says_nothing_about_redis(redis_url: str) -> None:
    """Windows cannot be filled, again and again: Redis is still asked."""
    clock, book = ManualClock(), SpendBook()
    breaker = CircuitBreaker("budgets", RULES, clock, ListTelemetry())
    store = RedisBudgetStore.open(redis_url, book, clock, timeout_s=5, breaker=breaker)
    book.is_down = True
    for _ in range(4):
        with pytest.raises(LedgerUnavailable):
            await store.fetch_balances(windows_of())
    await store.check()
    assert breaker.state_number == 0
    await store.close()
