"""Tell all gates of a Redis that an admin changed a policy or a key, or that a query wrote to tables.

Made by app, beside the budget store and on the same Redis; used by policies and admission through ports.ChangeFeed.
Words go by PUBLISH (https://redis.io/docs/latest/develop/pubsub/), which keeps nothing: a gate that is not listening
misses them, and finds out by looking. Nothing is raised when Redis is away; failures are counted, and noted once per
outage.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bqgate.budgets.change_feed import told_within
from bqgate.budgets.redis_client import close_client, open_single_clients, redis_call
from bqgate.budgets.write_message import decode_writes, encode_writes
from bqgate.domain.touched import EVERYTHING, Writes
from bqgate.ports import Clock, Telemetry

# Channels know no database numbers: all gates of a Redis hear one another.
CHANNEL = "bqgate:changes"
WRITES_CHANNEL = "bqgate:writes"

_RECONNECT_S = 1
_CONNECTIONS_MAX = 10

# After so long without a word the listener says something itself, so that a connection which is gone shows.
_QUIET_S = 15

# How many names are kept of what other gates wrote until somebody takes them; more become their datasets.
_NAMES_MAX = 1_000


class RedisChangeFeed:
    """ChangeFeed over Redis. One task waits for changes, and one for writes.

    `clients` decode answers; they are closed with the feed. Each hears all words: where one is gone the next is taken.

    Listens from the first wait on. Where listening was interrupted, a wait returns True once it works again, because
    words may have been missed; for the same reason anything may have been written then.
    """

    def __init__(self, clients: Sequence[Redis], clock: Clock, telemetry: Telemetry) -> None:
        self._clients = deque(clients)
        self._clock = clock
        self._telemetry = telemetry
        self._told = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._is_interrupted = False
        self._name = uuid.uuid4().hex
        self._written = Writes()
        self._someone_wrote = asyncio.Event()

    @classmethod
    def open(cls, url: str, clock: Clock, telemetry: Telemetry, *, timeout_s: float = 1.0) -> Self:
        """Make a feed by the URL of a budget store; a cluster passes words on between all its nodes.

        Raises:
            ValueError: the URL is of no Redis.
        """
        clients = open_single_clients(url, timeout_s=timeout_s, connections_max=_CONNECTIONS_MAX)
        return cls(clients, clock, telemetry)

    async def announce(self) -> None:
        """Tell all gates that listen: one round trip. Nothing is raised."""
        await self._publish(CHANNEL, "changed")

    async def wait(self, timeout_s: float) -> bool:
        """Return True when somebody announced a change since the last wait, False after `timeout_s`."""
        self._keep_listening()
        return await told_within(self._told, self._clock, timeout_s)

    async def announce_writes(self, writes: Writes) -> None:
        """Tell all other gates that listen: one round trip. Nothing is raised."""
        await self._publish(WRITES_CHANNEL, encode_writes(self._name, writes))

    async def hear_writes(self) -> Writes:
        """Return what other gates wrote since the last call, as soon as there is something."""
        self._keep_listening()
        await self._someone_wrote.wait()
        self._someone_wrote.clear()
        written, self._written = self._written, Writes()
        return written

    async def close(self) -> None:
        """Stop listening and close connections."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        for client in self._clients:
            await close_client(client)

    async def _publish(self, channel: str, message: str) -> None:
        try:
            with redis_call():
                await self._clients[0].publish(channel, message)
        except (RedisError, OSError):
            self._telemetry.count("failures_total", system="budgets", step="announce")

    def _keep_listening(self) -> None:
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        elif self._listener.done():  # a bug: say so to whoever waits, and begin anew with the next wait
            ended, self._listener = self._listener, None
            ended.result()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                self._telemetry.count("failures_total", system="budgets", step="change_feed")
                if not self._is_interrupted:
                    self._telemetry.log("change_feed_interrupted", error=f"{type(error).__name__}: {error}")
                self._is_interrupted = True
                self._clients.rotate(-1)
            await self._clock.sleep(_RECONNECT_S)

    async def _hear(self) -> None:
        """Hear words until the connection breaks."""
        async with self._clients[0].pubsub() as channel:
            with redis_call():
                await channel.subscribe(CHANNEL, WRITES_CHANNEL)
            while True:
                with redis_call():
                    message = await channel.get_message(timeout=_QUIET_S)
                if message is None:
                    with redis_call():
                        await channel.ping()
                else:
                    self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        is_of_writes = message["channel"] == WRITES_CHANNEL
        if message["type"] == "message" and is_of_writes:
            sender, writes = decode_writes(message["data"])
            if sender != self._name:
                self._note_written(writes)
        elif message["type"] == "message":
            self._told.set()
        elif message["type"] == "subscribe" and is_of_writes and self._is_interrupted:
            # The second of the two channels: both are heard again.
            self._is_interrupted = False
            self._telemetry.log("change_feed_back")
            self._told.set()
            self._note_written(Writes(EVERYTHING))

    def _note_written(self, writes: Writes) -> None:
        self._written = (self._written | writes).within(_NAMES_MAX)
        self._someone_wrote.set()
