"""Send scripts to one Redis over one connection, any number at a time: answers come in the order of the calls.

Used by redis_store where Redis is one server or behind Sentinels. redis-py makes the connection (address, TLS, user,
database; redis_client.py), then its bytes are read and written here: redis-py itself takes several times as long for a
call as Redis. A call costs no task, and what is called in one step of the event loop is sent in one write.

A connection that has not answered its oldest call in time is given up, and every call on it with it. Nothing is sent
twice. The next call connects anew, and so it is after a READONLY, for Sentinels may know another master by then.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bqgate.budgets.redis_client import redis_call

# Calls without an answer on one connection. Each is a query under way, of which there are fewer.
_UNANSWERED_MAX = 10_000


class Dropped(RedisConnectionError):
    """The connection ended under a call because of another call. It says nothing more about Redis than that one."""


class RedisLine:
    """The connection of a pool's address. `timeout_s` bounds each answer where the address's own options do not."""

    def __init__(self, pool: ConnectionPool, *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None

    async def evalsha(self, sha: str, keys_count: int, *words: str | int) -> Any:
        """Run a script that Redis knows.

        Raises:
            redis.exceptions.NoScriptError: it does not know it.
            redis.exceptions.RedisError: no answer, or one that says no.
        """
        return await self._call(("EVALSHA", sha, keys_count, *words))

    async def eval(self, text: str, keys_count: int, *words: str | int) -> Any:
        """Run a script by its text.

        Raises:
            redis.exceptions.RedisError: no answer, or one that says no.
        """
        return await self._call(("EVAL", text, keys_count, *words))

    async def close(self) -> None:
        """Close the connection, once it is made where it is being made. Calls without an answer get none."""
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._wire is not None:
            self._wire.give_up(RedisConnectionError("the store was closed"))

    def _call(self, command: tuple[str | int, ...]) -> Awaitable[Any]:
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # it takes any number of words
        wire = self._wire
        return self._connect_and_ask(packed) if wire is None or wire.is_closed else wire.ask(packed)

    async def _connect_and_ask(self, packed: bytes) -> Any:
        return await (await self._connected()).ask(packed)

    async def _connected(self) -> "_Wire":
        """A connection, made once for all who wait for it."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._note_connected)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Wire":
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        try:
            with redis_call():
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
            raise
        return _Wire(connection, timeout_s=connection.socket_timeout or self._timeout_s)

    def _note_connected(self, done: "asyncio.Task[_Wire]") -> None:
        self._connecting = None
        if not done.cancelled() and done.exception() is None:
            self._wire = done.result()


class _Wire(asyncio.Protocol):
    """One connection that was made, and the calls on it without an answer, oldest first."""

    def __init__(self, connection: AbstractConnection, *, timeout_s: float) -> None:
        writer = connection._writer  # noqa: SLF001 - redis-py has no other way to hand over what it has connected
        assert writer is not None, "it is connected"
        connection._writer = connection._reader = None  # noqa: SLF001 - from here on it is not redis-py's
        self._writer = writer  # kept, because a stream that is forgotten closes its connection
        self._transport = writer.transport
        self._transport.set_protocol(self)
        self._answers = hiredis.Reader(
            protocolError=InvalidResponse, replyError=_error_of, encoding="utf-8", errors="surrogatepass"
        )
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()  # with the moment until which each waits
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._transport.is_closing()

    def ask(self, command: bytes) -> "asyncio.Future[Any]":
        """Send a call; its answer, or what went wrong, comes with the future. Who waits may leave it at any time."""
        if len(self._waiting) >= _UNANSWERED_MAX:
            raise RedisConnectionError("too many calls wait for an answer")
        answer = self._loop.create_future()
        self._waiting.append((answer, self._loop.time() + self._timeout_s))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look_at_the_time)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(command)
        return answer

    def data_received(self, data: bytes) -> None:
        """Hand answers to whom they belong."""
        self._answers.feed(data)
        try:
            while self._waiting and (answer := self._answers.gets()) is not False:
                self._hand_over(answer)
        except InvalidResponse as error:
            self.give_up(RedisConnectionError(f"no answer of Redis's: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait."""
        self.give_up(RedisConnectionError(f"the connection was closed{'' if exc is None else f': {exc}'}"))

    def give_up(self, why: RedisError) -> None:
        """Close it at once. The oldest call failed of this; the others with it."""
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(why)
                why = Dropped(str(why))

    def _send(self) -> None:
        """Send what was called in this step of the event loop: each write is a call of the operating system."""
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _hand_over(self, answer: Any) -> None:
        waiting, _ = self._waiting.popleft()
        is_error = isinstance(answer, Exception)
        if not waiting.done():  # else its caller has left
            if is_error:
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
        if is_error and isinstance(answer, ReadOnlyError):
            self.give_up(Dropped("this server is a replica by now"))

    def _look_at_the_time(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        left_s = self._waiting[0][1] - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look_at_the_time)
        else:
            self.give_up(RedisTimeoutError("Redis did not answer in time"))


def _error_of(text: str) -> RedisError:
    """What Redis answered instead of an answer, as redis-py calls it."""
    code, _, detail = text.partition(" ")
    match code:
        case "NOSCRIPT":
            return NoScriptError(detail)
        case "READONLY":
            return ReadOnlyError(detail)
        case _:
            return ResponseError(text)
