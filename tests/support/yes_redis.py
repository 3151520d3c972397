"""Stand for a Redis over TLS that answers OK to everything, behind a wire that can fall silent.

A real Redis is often built without TLS. This one is enough to be connected to, and to be left.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.certificates import make_pair, write_pair
from tests.support.tcp_fault_proxy import TcpFaultProxy


@asynccontextmanager
async def yes_redis(folder: Path) -> AsyncIterator[tuple[str, TcpFaultProxy]]:
    """Its rediss:// URL, certificate unchecked, and the wire."""
    cert_file, key_file = folder / "redis.crt", folder / "redis.key"
    write_pair(make_pair("a redis"), cert_file, key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    server = await asyncio.start_server(_agree, "127.0.0.1", 0, ssl=context)
    try:
        async with TcpFaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as wire:
            yield f"rediss://127.0.0.1:{wire.port}/0?ssl_cert_reqs=none&ssl_check_hostname=false", wire
    finally:
        server.close()


async def _agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say OK to each command, which begins with an asterisk."""
    try:
        while commands := await reader.read(65536):
            writer.write(b"+OK\r\n" * commands.count(b"*"))
            await writer.drain()
    finally:
        writer.transport.abort()  # over TLS, close() would wait for a client that may be cut off
