"""The contract of ports.ChangeFeed, in one process, over Redis and Redis Cluster; and Redis going and coming back."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.budgets.redis_change_feed import CHANNEL, WRITES_CHANNEL, RedisChangeFeed
from bqgate.domain.touched import EVERYTHING, Writes, touched_names
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.ports import ChangeFeed
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import running_redis
from tests.support.tcp_fault_proxy import TcpFaultProxy

LIMIT_S = 20
T = Writes(touched_names(["p.d.t"]), frozenset({"p:job"}))
U = Writes(touched_names(["p.d.u"]))
ANYTHING = Writes(EVERYTHING)


def redis_feed(url: str, clock: ManualClock, metrics: Metrics | None = None) -> RedisChangeFeed:
    """A feed on a Redis; its failures are counted in `metrics`."""
    telemetry = PrometheusTelemetry(metrics or Metrics(), make_logger(io.StringIO(), clock))
    return RedisChangeFeed.open(url, clock, telemetry, timeout_s=5)


async def listening(feed: ChangeFeed, clock: ManualClock) -> None:
    """Return when the feed hears what is announced from now on."""
    await hears(feed, clock, feed.announce)


async def hears(feed: ChangeFeed, clock: ManualClock, announce: Callable[[], Awaitable[None]]) -> None:
    """Return when the feed has heard something; announce until then, because the first words may go unheard."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            waiting = asyncio.create_task(feed.wait(1))
            await clock.wait_for_sleepers()
            await announce()
            await asyncio.wait({waiting}, timeout=0.05)
            clock.advance(1)
            if await waiting:
                return


@pytest.fixture(params=["local", "redis_url", "redis_cluster_url", "redis_sentinel_url"])
async def feed(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[ChangeFeed]:
    """A feed that listens already."""
    opened: ChangeFeed
    if request.param == "local":
        opened = LocalChangeFeed(clock)
    else:
        opened = redis_feed(request.getfixturevalue(request.param), clock)
    await listening(opened, clock)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """The feed's clock."""
    return ManualClock()


async def quiet(feed: ChangeFeed, clock: ManualClock, timeout_s: float = 1) -> bool:
    """Wait while nothing is announced; the clock passes the timeout as soon as the feed waits."""
    waiting = asyncio.create_task(feed.wait(timeout_s))
    await clock.wait_for_sleepers()
    clock.advance(timeout_s)
    return await waiting


async def test_a_word_wakes_whoever_waits(feed: ChangeFeed, clock: ManualClock) -> None:
    """No time passes between the word and the waking."""
    waiting = asyncio.create_task(feed.wait(3600))
    await clock.wait_for_sleepers()
    await feed.announce()
    async with asyncio.timeout(LIMIT_S):
        assert await waiting is True


async def test_without_a_word_a_wait_ends_in_time(feed: ChangeFeed, clock: ManualClock) -> None:
    """Nobody announced: False, after exactly the time that was given."""
    waiting = asyncio.create_task(feed.wait(5))
    await clock.wait_for_sleepers()
    clock.advance(4.999)
    await asyncio.wait({waiting}, timeout=0.01)
    assert not waiting.done()
    clock.advance(0.001)
    assert await waiting is False
    assert clock.sleeper_count == 0


async def test_a_word_is_heard_once(feed: ChangeFeed, clock: ManualClock) -> None:
    """The next wait is not woken by it again, and a wait that is given up leaves nothing behind."""
    waiting = asyncio.create_task(feed.wait(3600))
    await clock.wait_for_sleepers()
    await feed.announce()
    assert await waiting is True
    assert await quiet(feed, clock) is False
    given_up = asyncio.create_task(feed.wait(3600))
    await clock.wait_for_sleepers()
    given_up.cancel()
    await asyncio.wait({given_up})
    assert clock.sleeper_count == 0


async def test_a_word_between_two_waits_is_not_lost() -> None:
    """A change that is announced while the gate loads the one before is loaded too."""
    local = LocalChangeFeed(ManualClock())
    await local.announce()
    await local.announce()
    async with asyncio.timeout(LIMIT_S):
        assert await local.wait(3600) is True


async def test_gates_of_one_redis_hear_one_another(redis_url: str, clock: ManualClock) -> None:
    """A word of one feed wakes another, and the one that said it."""
    async with AsyncExitStack() as stack:
        feeds = [redis_feed(redis_url, clock) for _ in range(2)]
        for each in feeds:
            stack.push_async_callback(each.close)
            await listening(each, clock)
        for each in feeds:
            await quiet(each, clock)
        waiting = [asyncio.create_task(each.wait(3600)) for each in feeds]
        await clock.wait_for_sleepers(2)
        await feeds[0].announce()
        async with asyncio.timeout(LIMIT_S):
            assert await asyncio.gather(*waiting) == [True, True]


async def test_words_of_other_channels_are_not_for_gates(redis_url: str, clock: ManualClock) -> None:
    """Somebody else's messages in the same Redis wake nobody."""
    opened = redis_feed(redis_url, clock)
    await listening(opened, clock)
    async with Redis.from_url(redis_url) as other:
        assert await other.publish("bqgate:other", "x") == 0
        assert await other.publish(CHANNEL, "x") == 1
        assert await opened.wait(3600) is True
    await opened.close()


async def test_an_outage_of_redis_is_survived(clock: ManualClock) -> None:
    """While Redis is away waits only time out and announcing raises nothing; when it is back, a word is owed."""
    metrics = Metrics()
    with running_redis() as port:
        async with TcpFaultProxy("127.0.0.1", port) as proxy:
            opened = redis_feed(f"redis://127.0.0.1:{proxy.port}/0", clock, metrics)
            await listening(opened, clock)
            proxy.refuse()
            await clock.wait_for_sleepers()  # the listener, before it connects again
            await opened.announce()
            assert metrics.value("bqgate_failures_total", system="budgets", step="announce") == 1
            for _ in range(3):
                waiting = asyncio.create_task(opened.wait(1))
                await clock.wait_for_sleepers(2)
                clock.advance(1)
                assert await waiting is False
            await clock.wait_for_sleepers()
            assert metrics.value("bqgate_failures_total", system="budgets", step="change_feed") >= 1
            await proxy.heal()
            waiting = asyncio.create_task(opened.wait(3600))
            await clock.wait_for_sleepers(2)
            clock.advance(1)
            async with asyncio.timeout(LIMIT_S):
                assert await waiting is True, "what was said during the outage may concern this gate"
            await hears(opened, clock, opened.announce)
            await opened.close()


async def test_a_feed_without_redis_at_its_start_begins_when_it_comes(clock: ManualClock) -> None:
    """A gate may start before its Redis does."""
    with running_redis() as port:
        async with TcpFaultProxy("127.0.0.1", port) as proxy:
            proxy.refuse()
            opened = redis_feed(f"redis://127.0.0.1:{proxy.port}/0", clock)
            waiting = asyncio.create_task(opened.wait(1))
            await clock.wait_for_sleepers(2)
            clock.advance(1)
            assert await waiting is False
            await proxy.heal()
            await hears(opened, clock, opened.announce)
            await opened.close()


def test_a_feed_is_not_opened_on_something_else(clock: ManualClock) -> None:
    """memory:// has no feed between processes."""
    with pytest.raises(ValueError, match="redis"):
        redis_feed("memory://", clock)


async def test_what_is_written_wakes_others_and_no_follower_of_policies(redis_url: str, clock: ManualClock) -> None:
    """Words about writes and words about policies do not meet; what came meanwhile comes together."""
    async with AsyncExitStack() as stack:
        here, there = (redis_feed(redis_url, clock) for _ in range(2))
        for each in (here, there):
            stack.push_async_callback(each.close)
            await listening(each, clock)
        for each in (here, there):
            await quiet(each, clock)
        await here.announce_writes(T)
        async with asyncio.timeout(LIMIT_S):
            heard = await there.hear_writes()
            assert heard == T
            own = asyncio.create_task(here.hear_writes())
            await there.announce_writes(U)
            assert await own == U, "and not its own"
        assert await quiet(there, clock) is False
        async with Redis.from_url(redis_url) as stranger:
            await stranger.publish(WRITES_CHANNEL, "not what a gate says")
        async with asyncio.timeout(LIMIT_S):
            assert await there.hear_writes() == ANYTHING


async def test_after_an_outage_anything_may_have_been_written(clock: ManualClock) -> None:
    """Words that were missed are made up for; announcing into the outage raises nothing."""
    metrics = Metrics()
    with running_redis() as port:
        async with TcpFaultProxy("127.0.0.1", port) as proxy:
            opened = redis_feed(f"redis://127.0.0.1:{proxy.port}/0", clock, metrics)
            await listening(opened, clock)
            hearing = asyncio.create_task(opened.hear_writes())
            proxy.refuse()
            await clock.wait_for_sleepers()
            await opened.announce_writes(T)
            assert metrics.value("bqgate_failures_total", system="budgets", step="announce") == 1
            await proxy.heal()
            clock.advance(1)
            async with asyncio.timeout(LIMIT_S):
                assert await hearing == ANYTHING
            await opened.close()


async def test_alone_nothing_is_ever_heard() -> None:
    """A gate in memory has no other; its own writes are dropped where they are made."""
    local = LocalChangeFeed(ManualClock())
    hearing = asyncio.create_task(local.hear_writes())
    await local.announce_writes(ANYTHING)
    await asyncio.wait({hearing}, timeout=0.01)
    assert not hearing.done()
    hearing.cancel()
    await asyncio.wait({hearing})
