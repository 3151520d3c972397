import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from bqgate.bigquery.bodies import ResponseBody
from bqgate.bigquery.credentials import AnonymousCredentials, CallerCredentials
from bqgate.bigquery.upstream import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, HttpUpstream
from bqgate.domain.errors import MalformedRequest, UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.gate.body import read_bounded
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.recording_upstream import RecordingUpstream, replying

NOBODY = Credential()


async def _text(answer: HttpResponse) -> bytes:
    return await read_bounded(answer.body, bytes_max=2**24)


async def test_a_call_goes_out_as_it_is(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """Target, header order and body arrive unchanged, and nothing is added but Host and a length."""
    headers = (("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("Host", "gate"), ("Expect", "100-continue"))
    await upstream.send(HttpRequest("POST", "/a%2Fb//c%7e", "x=%2f&y=a+b&&", headers, b"body"), credential=NOBODY)
    assert recorder.last.target == "/a%2Fb//c%7e?x=%2f&y=a+b&&"
    assert recorder.last.body == b"body"
    sent = [(key, value) for key, value in recorder.last.headers if key != "Host"]
    assert sent == [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("Content-Length", "4")]


async def test_a_base_url_may_have_a_path(recorder: RecordingUpstream) -> None:
    """An upstream below a prefix, with or without a slash at its end, is reached there."""
    upstream = HttpUpstream(f"{recorder.url}/emulator/", AnonymousCredentials())
    await upstream.send(HttpRequest("GET", "/bigquery/v2/projects"), credential=NOBODY)
    await upstream.close()
    assert recorder.last.target == "/emulator/bigquery/v2/projects"


async def test_a_large_body_has_its_length(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """Bytes are sent with their own length, whatever the caller had said, and not chunked."""
    await upstream.send(HttpRequest("POST", "/", "", (("content-length", "3"),), bytes(900_000)), credential=NOBODY)
    assert recorder.last.body == bytes(900_000)
    assert recorder.last.header("content-length") == "900000"
    assert recorder.last.header("transfer-encoding") is None


@pytest.mark.parametrize(("length", "framing"), [("10", "content-length"), (None, "transfer-encoding")])
async def test_a_stream_keeps_its_framing(
    upstream: HttpUpstream, recorder: RecordingUpstream, length: str | None, framing: str
) -> None:
    """A stream of known length goes out with it, another one in chunks."""

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        yield b" half"

    headers = () if length is None else (("Content-Length", length),)
    await upstream.send(HttpRequest("POST", "/", "", headers, body()), credential=NOBODY)
    assert recorder.last.body == b"first half"
    assert recorder.last.header(framing) is not None


async def test_answers_come_compressed_unfollowed_and_without_cookies(
    upstream: HttpUpstream, recorder: RecordingUpstream
) -> None:
    """Gzip is left alone, a redirect is an answer, and a cookie is not kept for the next caller."""
    packed = gzip.compress(b"text")
    recorder.reply = replying(200, packed, {"Content-Encoding": "gzip", "Set-Cookie": "session=1; Path=/"})
    answer = await upstream.send(HttpRequest("GET", "/"), credential=NOBODY)
    assert await _text(answer) == packed
    assert answer.header("set-cookie") is not None
    recorder.reply = replying(308, b"", {"Location": "/elsewhere", "Range": "bytes=0-1"})
    answer = await upstream.send(HttpRequest("PUT", "/"), credential=NOBODY)
    assert (answer.status, answer.header("range"), await _text(answer)) == (308, "bytes=0-1", b"")
    assert recorder.last.header("cookie") is None


@pytest.mark.parametrize("status", [200, 400, 404, 429, 500, 503])
async def test_every_status_is_an_answer(upstream: HttpUpstream, recorder: RecordingUpstream, status: int) -> None:
    """What BigQuery says is passed on, errors too."""
    recorder.reply = replying(status, b"said")
    answer = await upstream.send(HttpRequest("GET", "/"), credential=NOBODY)
    assert (answer.status, await _text(answer)) == (status, b"said")


async def test_nobody_there_means_that_nothing_ran() -> None:
    """A refused connection is unavailable, and certain not to have worked."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        upstream = HttpUpstream(f"http://127.0.0.1:{unused.getsockname()[1]}", CallerCredentials())
        with pytest.raises(UpstreamUnavailable) as caught:
            await upstream.send(HttpRequest("POST", "/", body=b"x"), credential=NOBODY)
        await upstream.close()
    assert not caught.value.may_have_worked
    assert not isinstance(caught.value, UpstreamTimeout)


async def test_no_answer_in_time(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """When the first byte does not come, the call times out, and it may have worked."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    recorder.reply = reply
    with pytest.raises(UpstreamTimeout) as caught:
        await upstream.send(HttpRequest("POST", "/", body=b"x"), credential=NOBODY, read_timeout_s=0.05)
    assert caught.value.may_have_worked


async def test_a_connection_that_breaks_before_the_answer(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """BigQuery may have done the work before the line broke."""

    async def reply(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    recorder.reply = reply
    with pytest.raises(UpstreamUnavailable) as caught:
        await upstream.send(HttpRequest("POST", "/", body=b"x"), credential=NOBODY)
    assert caught.value.may_have_worked


async def test_a_connection_that_breaks_in_the_answer(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """Half a body is an error, never an end."""

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        answer.content_length = 100
        await answer.prepare(request)
        await answer.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return answer

    recorder.reply = reply
    answer = await upstream.send(HttpRequest("GET", "/"), credential=NOBODY)
    with pytest.raises(UpstreamUnavailable):
        await _text(answer)


async def test_a_callers_body_that_breaks_off_ends_the_call(
    upstream: HttpUpstream, recorder: RecordingUpstream
) -> None:
    """The error is that of the body, and BigQuery never sees a whole request."""

    async def body() -> AsyncIterator[bytes]:
        yield b"half"
        await recorder.has_call.wait()
        raise MalformedRequest("cut off")

    with pytest.raises(MalformedRequest, match="cut off"):
        await upstream.send(HttpRequest("POST", "/", "", (("Content-Length", "100"),), body()), credential=NOBODY)
    await asyncio.wait_for(recorder.has_broken_body.wait(), 5)
    assert recorder.received == []


async def test_a_closed_answer_frees_the_connection(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """An answer that nobody reads on, or never began to read, closes the line to BigQuery."""
    is_left = asyncio.Event()

    async def reply(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(bytes(65536))
        finally:
            is_left.set()

    recorder.reply = reply
    answer = await upstream.send(HttpRequest("GET", "/"), credential=NOBODY)
    assert isinstance(answer.body, ResponseBody)
    await answer.body.aclose()
    await asyncio.wait_for(is_left.wait(), 5)


async def test_an_answer_read_to_its_end_leaves_the_connection_for_the_next(
    upstream: HttpUpstream, recorder: RecordingUpstream
) -> None:
    """Connections are used again."""
    peers = set()

    async def reply(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="x" * 100_000)

    recorder.reply = reply
    for _ in range(3):
        await _text(await upstream.send(HttpRequest("GET", "/"), credential=NOBODY))
    assert len(peers) == 1


def test_the_usual_time_limits_outlast_a_long_poll() -> None:
    """BigQuery holds a call for up to about 200 seconds, and a connection is given up long before."""
    assert READ_TIMEOUT_S >= 240
    assert CONNECT_TIMEOUT_S <= 10


async def test_a_call_that_finds_no_free_connection_was_not_tried(recorder: RecordingUpstream) -> None:
    """Waiting for others' long polls in vain is no fault of BigQuery's; a free line is taken at once."""
    goes_on = asyncio.Event()

    async def reply(_request: web.Request) -> web.StreamResponse:
        await goes_on.wait()
        return web.Response(text="late")

    recorder.reply = reply
    upstream = HttpUpstream(recorder.url, CallerCredentials(), connect_timeout_s=0.5, connections_max=1)
    poll = asyncio.ensure_future(upstream.send(HttpRequest("GET", "/poll"), credential=NOBODY))
    await recorder.has_call.wait()
    with pytest.raises(UpstreamNotTried, match="in use"):
        await upstream.send(HttpRequest("GET", "/"), credential=NOBODY)
    goes_on.set()
    await _text(await poll)
    assert await _text(await upstream.send(HttpRequest("GET", "/"), credential=NOBODY)) == b"late"
    await upstream.close()
