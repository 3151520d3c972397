import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from bqgate.admission.estimates.write_broadcast import NAMES_MAX, PAUSE_S, WriteBroadcast
from bqgate.budgets.redis_change_feed import WRITES_CHANNEL, RedisChangeFeed
from bqgate.domain.touched import Writes, touched_names
from tests.support.hold_services import CountingTelemetry
from tests.support.manual_clock import ManualClock

LIMIT_S = 20


@asynccontextmanager
async def gate(redis_url: str, clock: ManualClock, heard: "asyncio.Queue[Writes]") -> AsyncIterator[WriteBroadcast]:
    """A gate's exchange, which tells and hears."""
    feed = RedisChangeFeed.open(redis_url, clock, CountingTelemetry(), timeout_s=5)
    exchange = WriteBroadcast(feed, clock)
    tasks = [asyncio.create_task(exchange.send()), asyncio.create_task(exchange.hear(heard.put_nowait))]
    try:
        yield exchange
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await feed.close()


async def all_listen(redis_url: str, count: int) -> None:
    """Return when so many gates hear what is written."""
    async with asyncio.timeout(LIMIT_S), Redis.from_url(redis_url, decode_responses=True) as client:
        while (await client.pubsub_numsub(WRITES_CHANNEL))[0][1] < count:
            await client.ping()


def writes_to(*names: str) -> Writes:
    return Writes(touched_names(names))


async def test_other_gates_hear_what_is_written_in_few_messages(redis_url: str) -> None:
    """What comes in quick succession goes as one, and whoever wrote does not hear itself."""
    clock = ManualClock()
    mine: asyncio.Queue[Writes] = asyncio.Queue()
    others: asyncio.Queue[Writes] = asyncio.Queue()
    async with gate(redis_url, clock, mine) as here, gate(redis_url, clock, others), asyncio.timeout(LIMIT_S):
        await all_listen(redis_url, 2)
        first = Writes(touched_names(["p.d.first"]), frozenset({"p:job"}))
        here.tell(first)
        assert await others.get() == first
        await clock.wait_for_sleepers()
        for number in range(100):
            here.tell(writes_to(f"p.d.t{number}"))
        clock.advance(PAUSE_S)
        assert await others.get() == writes_to(*(f"p.d.t{number}" for number in range(100)))
        await clock.wait_for_sleepers()
        for number in range(1_000):
            here.tell(writes_to(f"p.d.t{number}"))
        clock.advance(PAUSE_S)
        many = (await others.get()).touched
        assert (many.datasets, many.name_count <= NAMES_MAX) == (frozenset({"p.d"}), True)
        assert (mine.empty(), others.empty()) == (True, True)
