"""A change at one gate holds at another: at once by Redis, and within a second of looking when the feed is dead."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis

from bqgate.budgets.redis_change_feed import CHANNEL, RedisChangeFeed
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.policies.book import PolicyBook
from bqgate.policies.editor import PolicyEditor
from bqgate.policies.models import TierPolicy
from tests.support.manual_clock import START, ManualClock
from tests.support.policy_scene import STANDARD, event_of, make_base

LIMIT_S = 20
TIER = PolicyKind.TIER

# A port that answers nobody.
NOBODY = "redis://127.0.0.1:1/0"


class Gate:
    """One gate's book and editor, with connections of its own."""

    def __init__(self, registry: SqlRegistry, feed: RedisChangeFeed, clock: ManualClock) -> None:
        telemetry = PrometheusTelemetry(Metrics(), make_logger(io.StringIO(), clock))
        self.clock = clock
        self.registry = registry
        self.book = PolicyBook(make_base(), registry, feed, clock, telemetry)
        self.editor = PolicyEditor(self.book, registry, feed)

    @property
    def daily_nanos(self) -> int:
        """What the standard tier may spend in a day."""
        return self.book.customer_registry.default_tier.daily_nanos

    async def set_daily(self, usd: str) -> None:
        """Change the standard tier."""
        seen = self.editor.view_one(TIER, "standard")
        assert seen is not None
        document = TierPolicy.model_validate(STANDARD | {"daily_usd": usd})
        await self.editor.put(TIER, "standard", document, etag=seen.etag, event=event_of)


@asynccontextmanager
async def running_gate(ledger_url: str, redis_url: str) -> AsyncIterator[Gate]:
    """A gate whose book follows the registry, by a clock of its own that stands still."""
    clock = ManualClock()
    registry = await SqlRegistry.open(ledger_url)
    telemetry = PrometheusTelemetry(Metrics(), make_logger(io.StringIO(), clock))
    feed = RedisChangeFeed.open(redis_url, clock, telemetry, timeout_s=5)
    gate = Gate(registry, feed, clock)
    await gate.book.load()
    following = asyncio.create_task(gate.book.run())
    yield gate
    following.cancel()
    await asyncio.wait({following})
    await feed.close()
    await registry.close()


async def holds_at(gate: Gate, usd: str) -> None:
    """Return when a limit holds at a gate; questions to the database let it work meanwhile."""
    async with asyncio.timeout(LIMIT_S):
        while gate.daily_nanos != parse_usd(usd):
            await gate.registry.fetch_revision()


async def test_a_change_holds_at_once_where_redis_tells_of_it(ledger_url: str, redis_url: str) -> None:
    """No second passes at the other gate, whose clock stands still, between the change and the new limit."""
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(running_gate(ledger_url, redis_url)) for _ in range(2)]
        redis = await stack.enter_async_context(Redis.from_url(redis_url))
        async with asyncio.timeout(LIMIT_S):
            while dict(await redis.pubsub_numsub(CHANNEL)) != {CHANNEL.encode(): 2}:
                await other.clock.wait_for_sleepers()
        await one.set_daily("20")
        assert one.daily_nanos == parse_usd("20")
        await holds_at(other, "20")
        await other.set_daily("30")
        await holds_at(one, "30")
        assert one.clock.now() == other.clock.now() == START


async def test_a_change_holds_within_a_second_where_nothing_tells_of_it(ledger_url: str) -> None:
    """Without any Redis the other gate finds out at its next look."""
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(running_gate(ledger_url, NOBODY)) for _ in range(2)]
        await other.clock.wait_for_sleepers(2)  # the book, and its feed before it tries again
        await one.set_daily("20")
        assert other.daily_nanos == parse_usd("10")
        other.clock.advance(1)
        await holds_at(other, "20")
        assert other.clock.now() - START == timedelta(seconds=1)
