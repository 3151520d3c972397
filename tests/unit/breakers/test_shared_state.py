"""Two breakers, each with an exchange of its own, over one real Redis and Redis Cluster."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bqgate.breakers.circuit_breaker import BreakerRules, CircuitBreaker
from bqgate.breakers.shared_state import LOOK_S, SharedBreaker
from bqgate.budgets.redis_breaker_state import RedisBreakerState
from bqgate.domain.errors import BudgetStoreUnavailable
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.tcp_fault_proxy import TcpFaultProxy

HOST = "bigquery.googleapis.com"
RULES = BreakerRules(failures_to_open=2, cooldown_s=30)


class Replica:
    """One gate's breaker and what it exchanges."""

    def __init__(self, url: str, clock: ManualClock, *, name: str = HOST) -> None:
        self.breaker = CircuitBreaker("upstream", RULES, clock, ListTelemetry())
        self.shared_state = RedisBreakerState.open(url, timeout_s=1)
        self.shared = SharedBreaker(self.breaker, self.shared_state, name, clock, ListTelemetry())

    def fail(self) -> None:
        while (permit := self.breaker.take()) is not None:
            permit.fail()

    def succeed(self) -> None:
        permit = self.breaker.take()
        assert permit is not None
        permit.succeed()


class Scene:
    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.one, self.other = Replica(url, self.clock), Replica(url, self.clock)

    async def look(self) -> None:
        await self.one.shared.look()
        await self.other.shared.look()


@pytest.fixture(params=["redis_url", "redis_cluster_url", "redis_sentinel_url"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    made = Scene(request.getfixturevalue(request.param))
    yield made
    await made.one.shared_state.close()
    await made.other.shared_state.close()


async def test_a_replica_that_hears_open_opens_too(scene: Scene) -> None:
    """One gate's failures keep the other from trying, for no longer than the one."""
    scene.one.fail()
    await scene.look()
    assert scene.other.breaker.take() is None
    assert 29 < scene.other.breaker.open_for_s <= 30


async def test_a_replica_whose_probe_succeeds_frees_those_that_heard_it(scene: Scene) -> None:
    """The word "closed" closes what the word "open" had opened, without a probe."""
    scene.one.fail()
    await scene.look()
    # The other's cool-down is over later, as if it had heard of it a moment ago.
    scene.clock.advance(30)
    scene.one.succeed()
    scene.other.breaker.on_remote_open(30)
    await scene.look()
    assert (scene.one.breaker.state_number, scene.other.breaker.state_number) == (0, 0)


async def test_what_failed_here_waits_for_its_own_probe(scene: Scene) -> None:
    """Another gate's success does not overrule what this one saw."""
    scene.one.fail()
    scene.other.fail()
    await scene.look()
    scene.clock.advance(30)
    scene.one.succeed()
    await scene.look()
    await scene.look()
    assert (scene.one.breaker.state_number, scene.other.breaker.state_number) == (0, 2)


async def test_what_was_only_heard_is_not_said_again(scene: Scene) -> None:
    """A word ends with the cool-down of the gate that saw the failures; nobody prolongs it by repeating it."""
    scene.one.fail()
    await scene.look()
    state = await scene.one.shared_state.read(HOST)
    assert state is not None
    await scene.one.shared_state.write(HOST, is_open=True, for_s=2.5)
    for _ in range(5):
        await scene.other.shared.look()
    state = await scene.one.shared_state.read(HOST)
    assert state is not None
    assert state[1] <= 2.5


async def test_hosts_are_kept_apart(redis_url: str) -> None:
    """A gate before another BigQuery hears nothing of this one."""
    clock = ManualClock()
    one, other = Replica(redis_url, clock), Replica(redis_url, clock, name="127.0.0.1:9050")
    one.fail()
    await one.shared.look()
    await other.shared.look()
    assert other.breaker.state_number == 0
    await one.shared_state.close()
    await other.shared_state.close()


async def test_without_redis_each_goes_by_what_it_sees(redis_url: str) -> None:
    """The breaker opens and closes as before; what could not be said is said once Redis is back."""
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    clock = ManualClock()
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        cut_off, other = Replica(f"redis://127.0.0.1:{proxy.port}/0", clock), Replica(redis_url, clock)
        proxy.refuse()
        cut_off.fail()
        assert cut_off.breaker.state_number == 2
        with pytest.raises(BudgetStoreUnavailable):
            await cut_off.shared.look()
        await proxy.heal()
        await cut_off.shared.look()
        await other.shared.look()
        assert other.breaker.state_number == 2
        await cut_off.shared_state.close()
        await other.shared_state.close()


async def test_it_looks_again_and_again_though_redis_is_away(redis_url: str) -> None:
    """A look that fails is followed by the next one."""
    clock = ManualClock()
    other = Replica(redis_url, clock)
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])
    async with TcpFaultProxy("127.0.0.1", port) as proxy:
        cut_off = Replica(f"redis://127.0.0.1:{proxy.port}/0", clock)
        proxy.refuse()
        running = asyncio.create_task(cut_off.shared.run())
        await clock.wait_for_sleepers()
        await proxy.heal()
        other.fail()
        await other.shared.look()
        clock.advance(LOOK_S)
        await clock.wait_for_sleepers()
        assert cut_off.breaker.state_number == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await cut_off.shared_state.close()
        await other.shared_state.close()
