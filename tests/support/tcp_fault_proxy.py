"""Stand between a client and a server on 127.0.0.1 and break the connection in the way a test asks for.

    async with TcpFaultProxy("127.0.0.1", redis_port) as proxy:
        client = connect(proxy.port)
        proxy.answers.cut_after(10)

A fault holds until `heal`, for connections that are open and for new ones. Works for Redis, PostgreSQL, HTTP; for a
server that listens at a Unix socket too (`before_socket`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from tests.support.free_ports import free_port

_CHUNK_BYTES = 65536
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Direction:
    """What happens to bytes that flow one way."""

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._bytes_left: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.chunk_count = 0

    def delay(self, delay_s: float) -> None:
        """Hold each chunk back for so many real seconds."""
        self._delay_s = delay_s

    def stall(self) -> None:
        """Hold everything back until healed; connections stay open."""
        self._flowing.clear()

    def cut_after(self, count_bytes: int) -> None:
        """Let so many bytes through from now on, then reset the connection.

        0 for answers: the server does the work and nobody hears of it; for requests: the server hears nothing.
        """
        self._bytes_left = count_bytes

    def heal(self) -> None:
        """Let everything through."""
        self._delay_s = 0.0
        self._bytes_left = None
        self._flowing.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until the end; ConnectionResetError where they are cut."""
        while chunk := await reader.read(_CHUNK_BYTES):
            self.chunk_count += 1
            if self._delay_s:
                await asyncio.sleep(self._delay_s)  # noqa: TID251 - being slow in real time is its business
            await self._flowing.wait()
            passed = chunk if self._bytes_left is None else chunk[: self._bytes_left]
            if self._bytes_left is not None:
                self._bytes_left -= len(passed)
            writer.write(passed)
            await writer.drain()
            if len(passed) < len(chunk):
                raise ConnectionResetError
        with suppress(OSError):
            writer.write_eof()


class TcpFaultProxy:
    """A TCP proxy that can refuse, delay, stall and cut. Listens on 127.0.0.1 at `port`."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._connect: Callable[[], Awaitable[_Streams]] = partial(asyncio.open_connection, target_host, target_port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = Direction()
        self.answers = Direction()
        self.port = free_port()  # it comes back there once healed
        self.connection_count = 0

    @classmethod
    def before_socket(cls, path: Path) -> Self:
        """One before a server that listens at a Unix socket."""
        proxy = cls("", 0)
        proxy._connect = partial(asyncio.open_unix_connection, path)
        return proxy

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def refuse(self) -> None:
        """Drop what is connected and refuse new connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()

    def drop_connections(self) -> None:
        """Reset every open connection; new ones are accepted."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def heal(self) -> None:
        """Work as if nothing had happened, on the same port."""
        self.requests.heal()
        self.answers.heal()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also where the task is cancelled before its first step, and so before anything in it.
        task.add_done_callback(lambda _task: self._drop(writer))

    async def _serve(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
            self._writers.add(server_writer)
            carriers = {
                asyncio.ensure_future(self.requests.carry(client_reader, server_writer)),
                asyncio.ensure_future(self.answers.carry(server_reader, client_writer)),
            }
            try:
                await asyncio.gather(*carriers)
            finally:
                for carrier in carriers:
                    carrier.cancel()
                await asyncio.gather(*carriers, return_exceptions=True)
                self._drop(server_writer)
        except OSError:
            pass  # one side went away, or was cut

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
