import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bqgate.observe.causes import cause_of
from tests.support.certificates import make_pair, write_pair

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def say_nothing(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def say_half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "9"})
    await response.prepare(request)
    await response.write(b"half")
    return await hang_up(request)


@asynccontextmanager
async def server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback that treats every request so; its port."""
    app = web.Application()
    app.add_routes([web.get("/", serve)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def failure(url: str) -> str:
    """The cause of a call's failure."""
    timeout = aiohttp.ClientTimeout(sock_connect=2, sock_read=1)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises((aiohttp.ClientError, OSError, TimeoutError)) as caught:
            async with session.get(url) as answer:
                await answer.read()
    return cause_of(caught.value)


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        (hang_up, "it closed the connection without an answer"),
        (say_nothing, "no answer in time"),
        (say_half, "its answer broke off"),
    ],
)
async def test_a_server_that_fails_to_answer_is_told_by_how(serve: Serve, cause: str) -> None:
    """It hangs up, is silent, or stops in the middle of its answer."""
    async with server(serve) as port:
        assert await failure(f"http://127.0.0.1:{port}/") == cause


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_that_nobody_serves_is_told_as_refused(host: str) -> None:
    """By one address, or by a name of several."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert await failure(f"http://{host}:{port}/") == "connection refused"


async def test_a_name_that_dns_does_not_know_is_told_so() -> None:
    """Of an upstream that is misspelt."""
    assert await failure("http://no-such-host.invalid/") == "DNS does not know its name"


async def test_tls_failures_say_what_openssl_says(tmp_path: Path) -> None:
    """A certificate that nobody vouches for, and a port that speaks no TLS."""
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(make_pair("gate"), cert_file, key_file)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert_file, key_file)
    async with server(say_nothing, tls) as port:
        assert await failure(f"https://localhost:{port}/") == "TLS: self-signed certificate"
    async with server(say_half) as port:
        assert (await failure(f"https://localhost:{port}/")).startswith("TLS: ")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (aiohttp.ConnectionTimeoutError(), "no connection in time"),
        (TimeoutError(), "no answer in time"),
        (OSError(113, "whatever"), "no route to host"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9)"), "connection refused"),
        (OSError(), "OSError"),
        (aiohttp.InvalidURL("http://secret"), "InvalidURL"),
    ],
)
def test_other_failures_tell_no_more_than_their_kind(error: Exception, cause: str) -> None:
    """No host, no address, no URL."""
    assert cause_of(error) == cause
