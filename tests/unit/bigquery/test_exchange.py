import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from bqgate.bigquery import exchange
from bqgate.bigquery.bodies import ResponseBody
from bqgate.bigquery.credentials import CallerCredentials
from bqgate.bigquery.exchange import BODY_BYTES_MAX
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.gate.body import close_body, read_bounded
from bqgate.wire.http_message import HttpRequest, HttpResponse
from tests.support.raw_upstream import RawReply, raw_upstream, reset, sending, silence, without_end
from tests.support.recording_upstream import RecordingUpstream, replying

NOBODY = Credential()
QUERY_BODY = b'{"q":1}'
QUERY = HttpRequest("POST", "/bigquery/v2/projects/p/queries", "", (("Content-Type", "application/json"),), QUERY_BODY)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


async def _answer(reply: RawReply, *, read_timeout_s: float = 5) -> HttpResponse:
    """What one call is answered by a server that may use one connection alone, on which another call can follow."""
    async with raw_upstream(reply) as server:
        upstream = HttpUpstream(server.url, CallerCredentials(), connections_max=1, connect_timeout_s=0.2)
        try:
            return await upstream.send(QUERY, credential=NOBODY, read_timeout_s=read_timeout_s)
        finally:
            server.reply = sending(WHOLE)
            try:
                await upstream.send(QUERY, credential=NOBODY)
            finally:
                await upstream.close()


async def test_an_answer_that_came_whole_is_bytes(upstream: HttpUpstream, recorder: RecordingUpstream) -> None:
    """A small answer is there with its head, and its connection is free: nobody has to read or close it."""
    recorder.reply = replying(200, b"said", {"X-A": "1"})
    for _ in range(3):
        answer = await upstream.send(QUERY, credential=NOBODY)
        assert (answer.status, answer.body, answer.header("x-a")) == (200, b"said", "1")
    assert recorder.last.body == QUERY.body


@pytest.mark.parametrize("size", [0, 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1])
async def test_a_body_of_any_size_has_its_length(
    upstream: HttpUpstream, recorder: RecordingUpstream, size: int
) -> None:
    """BigQuery refuses a POST without a length, of an empty body too."""
    await upstream.send(HttpRequest("POST", "/", body=b"x" * size), credential=NOBODY)
    assert recorder.last.header("content-length") == str(size)
    assert recorder.last.body == b"x" * size


async def test_what_is_said_before_the_answer_is_passed_over() -> None:
    """A server may say that it is at work; the answer comes behind."""
    answer = await _answer(sending(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE))
    assert (answer.status, answer.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (sending(b"", then=reset), UpstreamUnavailable),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Le", then=reset), UpstreamUnavailable),
        (sending(b"SSH-2.0-OpenSSH_9\r\n\r\n"), UpstreamUnavailable),
        (
            sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            UpstreamUnavailable,
        ),
        (silence, UpstreamTimeout),
    ],
    ids=["no answer", "half a head", "no HTTP", "another protocol", "silence"],
)
async def test_a_call_without_an_answer_frees_its_place(reply: RawReply, error: type[UpstreamUnavailable]) -> None:
    """Whatever comes in place of an answer, the query may have run, and the next call has the connection's place."""
    with pytest.raises(error) as caught:
        await _answer(reply, read_timeout_s=0.1)
    assert caught.value.may_have_worked


async def test_an_answer_keeps_its_place_until_it_is_closed() -> None:
    """A stream that nobody has closed counts as a connection in use."""
    async with raw_upstream(
        sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", then=without_end)
    ) as server:
        upstream = HttpUpstream(server.url, CallerCredentials(), connections_max=1, connect_timeout_s=0.1)
        answer = await upstream.send(QUERY, credential=NOBODY)
        assert isinstance(answer.body, ResponseBody)
        with pytest.raises(UpstreamNotTried):
            await upstream.send(QUERY, credential=NOBODY)
        await close_body(answer.body)
        server.reply = sending(WHOLE)
        assert await read_bounded((await upstream.send(QUERY, credential=NOBODY)).body, bytes_max=9) == b"{}"
        await upstream.close()


async def test_a_caller_that_leaves_takes_the_connection_with_it() -> None:
    """The answer of a cancelled call is never taken for the next one's."""
    async with raw_upstream(silence) as server:
        upstream = HttpUpstream(server.url, CallerCredentials(), connections_max=1, connect_timeout_s=0.2)
        call = asyncio.ensure_future(upstream.send(QUERY, credential=NOBODY))
        await server.connected.wait()
        call.cancel()
        await asyncio.wait({call})
        await asyncio.wait_for(server.all_closed.wait(), 5)
        server.reply = sending(WHOLE)
        assert (await upstream.send(QUERY, credential=NOBODY)).body == b"{}"
        await upstream.close()


class _Open:
    """A server that keeps its connections: how often it has answered on each, and the tasks that serve them."""

    def __init__(self, first: bytes, again: bytes) -> None:
        self.answers: list[int] = []
        self.serving: list[asyncio.Task[None]] = []
        self._first = first
        self._again = again

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.answers)
        self.answers.append(0)
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(QUERY_BODY):
                writer.write(self._again if self.answers[number] else self._first)
                self.answers[number] += 1
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def _kept_open(first: bytes = SMALL, again: bytes = SMALL) -> AsyncIterator[tuple[HttpUpstream, _Open]]:
    """A client of such a server; `first` is the first answer on each connection."""
    kept = _Open(first, again)
    server = await asyncio.start_server(kept.serve, "127.0.0.1", 0)
    upstream = HttpUpstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", CallerCredentials())
    try:
        yield upstream, kept
    finally:
        await upstream.close()
        server.close()
        await asyncio.wait(kept.serving, timeout=5)


async def test_calls_one_after_another_share_a_connection() -> None:
    """Also behind an answer that was streamed."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with _kept_open(again=chunked) as (upstream, kept):
        for _ in range(4):
            answer = await upstream.send(QUERY, credential=NOBODY)
            assert await read_bounded(answer.body, bytes_max=9) == b"{}"
        assert kept.answers == [4]


async def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    """What is left on a connection would be taken for the next call's answer."""
    async with _kept_open(first=SMALL + SMALL.replace(b"{}", b"[]")) as (upstream, kept):
        for _ in range(2):
            assert (await upstream.send(QUERY, credential=NOBODY)).body == b"{}"
        assert kept.answers == [1, 1]


async def test_a_connection_is_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was free for a while may be half closed."""
    monkeypatch.setattr(exchange, "_KEPT_S", 0.05)
    async with _kept_open() as (upstream, kept):
        for calls in (2, 4):
            await asyncio.gather(*(upstream.send(QUERY, credential=NOBODY) for _ in range(2)))
            _, still_open = await asyncio.wait(kept.serving, timeout=5)
            assert not still_open
            assert kept.answers == [1] * calls


@pytest.mark.parametrize("value", ["a\r\nX-B: b", "a\nX-B: b", "a\0"])
async def test_a_header_ends_where_it_ends(value: str) -> None:
    """A line break would begin another header, or another request."""
    async with _kept_open() as (upstream, kept):
        with pytest.raises(ValueError, match="header"):
            await upstream.send(replace(QUERY, headers=(("X-A", value),)), credential=NOBODY)
        assert (await upstream.send(QUERY, credential=NOBODY)).body == b"{}"
        assert kept.answers[-1] == 1
