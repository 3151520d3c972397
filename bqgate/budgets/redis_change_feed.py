"""Tell all gates of a Redis that an admin changed a policy or a key.

Made by app, beside the budget store and on the same Redis; used by policies through ports.ChangeFeed. Words go by
PUBLISH (https://redis.io/docs/latest/develop/pubsub/), which keeps nothing: a gate that is not listening misses them,
and finds out by looking. Nothing is raised when Redis is away; failures are counted, and noted once per outage.
"""

import asyncio
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bqgate.budgets.change_feed import told_within
from bqgate.budgets.redis_client import close_client, keeping_cancellation, open_single_client
from bqgate.ports import Clock, Journal

# Channels know no database numbers: all gates of a Redis hear one another.
CHANNEL = "bqgate:changes"

_RECONNECT_S = 1
_CONNECTIONS_MAX = 10

# After so long without a word the listener says something itself, so that a connection which is gone shows.
_QUIET_S = 15


class RedisChangeFeed:
    """ChangeFeed over Redis. One task waits. `client` decodes answers; it is closed with the feed.

    Listens from the first wait on. Where listening was interrupted, a wait returns True once it works again, because
    words may have been missed.
    """

    def __init__(self, client: Redis, clock: Clock, journal: Journal) -> None:
        self._client = client
        self._clock = clock
        self._journal = journal
        self._told = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._is_interrupted = False

    @classmethod
    def open(cls, url: str, clock: Clock, journal: Journal, *, timeout_s: float = 1.0) -> Self:
        """Make a feed by the URL of a budget store; a cluster passes words on between its nodes.

        Raises:
            ValueError: the URL is of no Redis.
        """
        client = open_single_client(url, timeout_s=timeout_s, connections_max=_CONNECTIONS_MAX)
        return cls(client, clock, journal)

    async def announce(self) -> None:
        """Tell all gates that listen: one round trip. Nothing is raised."""
        try:
            with keeping_cancellation():
                await self._client.publish(CHANNEL, "changed")
        except (RedisError, OSError):
            self._journal.count("failures_total", system="budgets", step="announce")

    async def wait(self, timeout_s: float) -> bool:
        """Return True when somebody announced a change since the last wait, False after `timeout_s`."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        elif self._listener.done():  # a bug: say so to whoever waits, and begin anew with the next wait
            ended, self._listener = self._listener, None
            ended.result()
        return await told_within(self._told, self._clock, timeout_s)

    async def close(self) -> None:
        """Stop listening and close connections."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await close_client(self._client)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                self._journal.count("failures_total", system="budgets", step="change_feed")
                if not self._is_interrupted:
                    self._journal.note("change_feed_interrupted", error=f"{type(error).__name__}: {error}")
                self._is_interrupted = True
            await self._clock.sleep(_RECONNECT_S)

    async def _hear(self) -> None:
        """Hear words until the connection breaks."""
        async with self._client.pubsub() as channel:
            with keeping_cancellation():
                await channel.subscribe(CHANNEL)
            while True:
                with keeping_cancellation():
                    message = await channel.get_message(timeout=_QUIET_S)
                if message is None:
                    with keeping_cancellation():
                        await channel.ping()
                elif message["type"] == "message":
                    self._told.set()
                elif message["type"] == "subscribe" and self._is_interrupted:
                    self._is_interrupted = False
                    self._journal.note("change_feed_back")
                    self._told.set()
