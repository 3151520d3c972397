"""One connection for all scripts: one write for what is called together, and answers that find their callers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from bqgate.breakers.circuit_breaker import BreakerRules, CircuitBreaker
from bqgate.budgets import redis_line
from bqgate.budgets.redis_line import Dropped, RedisLine
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable
from tests.support.budget_scene import hold_on, windows_of
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import redis_servers
from tests.support.spend_book import SpendBook
from tests.support.tcp_fault_proxy import TcpFaultProxy

ECHO = "return {ARGV[1]}"


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[TcpFaultProxy]:
    """A network to Redis that can be broken, and counts."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    async with TcpFaultProxy("127.0.0.1", port) as opened:
        yield opened


@pytest.fixture
async def line(proxy: TcpFaultProxy) -> AsyncIterator[RedisLine]:
    """A line over that network, connected."""
    pool = ConnectionPool.from_url(f"redis://127.0.0.1:{proxy.port}/0", socket_timeout=0.3)
    opened = RedisLine(pool, timeout_s=5)
    await opened.eval(ECHO, 0, "hello")
    yield opened
    await opened.close()


async def test_calls_of_one_step_are_one_write_and_each_gets_its_answer(line: RedisLine, proxy: TcpFaultProxy) -> None:
    """A hundred callers at once cost one connection and one call of the operating system."""
    seen = proxy.requests.chunk_count
    answers = await asyncio.gather(*(line.eval(ECHO, 0, f"caller {number}") for number in range(100)))
    assert answers == [[f"caller {number}"] for number in range(100)]
    assert (proxy.connection_count, proxy.requests.chunk_count - seen) == (1, 1)


async def test_a_caller_that_leaves_takes_nobodys_answer(line: RedisLine) -> None:
    """Its answer comes all the same, and is dropped; the next one's is the next one's."""
    leaving, staying = (asyncio.create_task(line.eval(ECHO, 0, name)) for name in ("leaving", "staying"))
    await asyncio.sleep(0)  # noqa: TID251 - one step of the loop, no time
    leaving.cancel()
    assert await staying == ["staying"]
    assert leaving.cancelled()


async def test_what_redis_refuses_is_told_to_its_caller_alone(line: RedisLine, proxy: TcpFaultProxy) -> None:
    """An unknown script, a script that fails, and a good one, together: each is told its own, and the line stays."""
    answers = await asyncio.gather(
        line.evalsha("0" * 40, 0), line.eval("no Lua", 0), line.eval(ECHO, 0, "good"), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [NoScriptError, ResponseError, list]
    assert proxy.connection_count == 1


async def test_a_line_without_an_answer_is_given_up_and_made_anew(line: RedisLine, proxy: TcpFaultProxy) -> None:
    """The option of the URL says how long one waits; the oldest call timed out, the others went with it."""
    proxy.answers.stall()
    answers = await asyncio.gather(*(line.eval(ECHO, 0, "?") for _ in range(3)), return_exceptions=True)
    assert ["in time" in str(answer) for answer in answers] == [True] * 3
    assert [isinstance(answer, Dropped) for answer in answers] == [False, True, True]
    await proxy.heal()
    assert await line.eval(ECHO, 0, "again") == ["again"]
    assert proxy.connection_count == 2


async def test_idle_time_counts_for_nobody(line: RedisLine, proxy: TcpFaultProxy) -> None:
    """A line is given up for an answer that is late, however long it has been there and idle."""
    for _ in range(4):
        await asyncio.sleep(0.1)  # noqa: TID251 - in real time, by which the line waits
        assert await line.eval(ECHO, 0, "still here") == ["still here"]
    assert proxy.connection_count == 1


async def test_so_many_calls_wait_and_no_more(
    line: RedisLine, proxy: TcpFaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 9: what a silent Redis leaves waiting is bounded; one more is told at once."""
    monkeypatch.setattr(redis_line, "_UNANSWERED_MAX", 2)
    proxy.answers.stall()
    answers = await asyncio.gather(*(line.eval(ECHO, 0, "?") for _ in range(3)), return_exceptions=True)
    assert isinstance(answers[2], RedisConnectionError)
    assert "too many" in str(answers[2])


async def test_a_connection_that_breaks_is_one_failure_however_many_calls_it_took_along(redis_url: str) -> None:
    """One reset under thirty calls says no more than one under one: the breaker stays closed."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    breaker = CircuitBreaker("budgets", BreakerRules(failures_to_open=2, cooldown_s=5), ManualClock(), ListTelemetry())
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=5, breaker=breaker)
        await store.check()
        proxy.answers.cut_after(0)
        answers = await asyncio.gather(*(store.check() for _ in range(30)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {BudgetStoreUnavailable}
        assert breaker.state_number == 0
        await proxy.heal()
        await store.check()
        await store.close()


async def test_a_server_that_has_become_a_replica_is_left_for_whoever_is_master_now() -> None:
    """READONLY ends the connection, so that the next call asks Sentinels, or the name server, anew."""
    windows = windows_of()
    with redis_servers() as make:
        server, master = make(), make()
        async with TcpFaultProxy("127.0.0.1", server.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            store = RedisBudgetStore.open(url, SpendBook(), ManualClock(), timeout_s=5)
            await store.place_hold(hold_on(windows), windows)
            with server.client() as client:
                client.replicaof("127.0.0.1", str(master.port))
            with pytest.raises(BudgetStoreUnavailable, match=r"(?i)replica"):
                await store.place_hold(hold_on(windows), windows)
            with server.client() as client:
                client.replicaof("no", "one")
            connections = proxy.connection_count
            await store.place_hold(hold_on(windows), windows)
            assert proxy.connection_count == connections + 1
            await store.close()
