import asyncio

import pytest

from bqgate.gate.http.connections import STALLED_ANSWER_S, YOUNG_S, ConnectionLimits
from tests.support.watched_port import Pair, WatchedPort, asked, ended, watched_port

HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "
HALF_BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234"


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", b"G", HALF], ids=["nothing", "breaks", "a letter", "half a head"])
async def test_a_head_has_its_time(sent: bytes) -> None:
    """From the moment of connecting, whatever came of it until then."""
    async with watched_port(ConnectionLimits(head_timeout_s=30)) as port:
        reader, _ = await port.connect(sent)
        await port.until(heads=1)
        port.clock.advance(29.9)
        port.connections.sweep()
        assert port.connections.open_heads == 1
        port.clock.advance(0.1)
        port.connections.sweep()
        assert await ended(reader) == b""
        assert port.counts.dropped == {"head_timeout": 1}


async def test_no_byte_renews_the_time_of_a_head() -> None:
    """A head that drips in, a byte a second, ends as one that stands still."""
    async with watched_port(ConnectionLimits(head_timeout_s=30)) as port:
        reader, writer = await port.connect(HALF)
        await port.until(heads=1)
        for _ in range(30):
            writer.write(b"a")
            await writer.drain()
            port.clock.advance(1)
            port.connections.sweep()
        assert await ended(reader) == b""


async def test_the_next_heads_time_begins_with_its_first_byte() -> None:
    """A connection may be idle for longer than that between two requests; then a half-sent head has its time."""
    async with watched_port(ConnectionLimits(head_timeout_s=30)) as port:
        pair = await port.connect()
        for _ in range(3):
            await asked(pair)
            await port.until(heads=0, idle=1)
            port.clock.advance(600)
            port.connections.sweep()
        pair[1].write(HALF)
        await port.until(heads=1, idle=0)
        port.clock.advance(30)
        port.connections.sweep()
        assert await ended(pair[0]) == b""


async def test_half_a_head_behind_a_request_has_its_time() -> None:
    """It came while the request before it was answered, in the same segment or in another."""
    whole = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    with_body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with watched_port() as port:
        port.may_answer.set()
        pairs = [await port.connect(first + HALF) for first in (whole, with_body, chunked)]
        for reader, _ in pairs:
            assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        await port.until(heads=3, idle=0)
        port.clock.advance(30)
        port.connections.sweep()
        assert port.counts.dropped == {"head_timeout": 3}
        port.may_answer.clear()
        reader, writer = await port.connect(whole)
        await port.until(heads=0)
        writer.write(HALF)
        port.may_answer.set()
        await port.until(heads=1)


async def test_a_request_under_way_has_all_the_time_it_needs() -> None:
    """Long polls and uploads are neither heads nor idle."""
    async with watched_port() as port:
        waiting = await port.connect(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        await port.until(heads=0)
        port.clock.advance(3_600)
        port.connections.sweep()
        waiting[1].write(b"12345")
        port.may_answer.set()
        assert b" 200 " in await waiting[0].readline()


async def test_half_heads_keep_nobody_out() -> None:
    """Past the bound the oldest of whoever has most goes; who connects and asks is answered, from any address."""
    async with watched_port(ConnectionLimits(heads_max=20)) as port:
        idle = await port.connect()
        await asked(idle)
        for _ in range(100):
            await port.connect(HALF)
        first = await port.connect(HALF, source="127.0.0.2")
        await port.until(heads=20, idle=1)
        assert await asked(await port.connect()) != b""
        assert await asked(await port.connect(source="127.0.0.3")) != b""
        for _ in range(30):
            await port.connect(HALF)
        await port.until(heads=20)
        first[1].write(b"b\r\n\r\n")
        assert b" 200 " in await asyncio.wait_for(first[0].readline(), 5)
        assert await asked(idle) != b""


async def test_one_address_has_its_share_of_half_heads() -> None:
    """A crowd may connect at once; a second later whoever has too many loses the oldest."""
    async with watched_port(ConnectionLimits(heads_max=100, heads_per_source=10)) as port:
        for _ in range(30):
            await port.connect(HALF)
        for _ in range(10):
            await port.connect(HALF, source="127.0.0.2")
        await port.until(heads=40)
        port.connections.sweep()
        assert port.connections.open_heads == 40
        port.clock.advance(YOUNG_S + 0.1)
        port.connections.sweep()
        assert port.connections.open_heads == 20
        assert port.counts.dropped == {"too_many_heads": 20}


async def test_half_bodies_keep_nobody_out() -> None:
    """Past the bound the one that has stood still longest, of whoever has most, goes; one that moves on is answered."""
    async with watched_port(ConnectionLimits(bodies_max=20)) as port:
        neighbour = await port.connect(HALF_BODY, source="127.0.0.2")
        moving = await port.connect(HALF_BODY)
        for number in range(40):
            await port.connect(HALF_BODY)
            if number % 10 == 0:
                await port.until(bodies=min(number + 3, 20))
                moving[1].write(b"5" if number < 30 else b"6")
                await moving[1].drain()
        await port.until_dropped(22, "too_many_bodies")
        moving[1].write(b"7")
        neighbour[1].write(b"56789")
        for reader, _ in (moving, neighbour):
            assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        assert await asked(await port.connect()) != b""


async def test_bodies_that_nobody_reads_are_bounded() -> None:
    """A refused call's, and one that is whole is counted no more, however its connection goes on."""
    async with watched_port(ConnectionLimits(bodies_max=5)) as port:
        for _ in range(3):
            await asked(await port.connect(), body=b"12345")
        pairs = [await port.connect(HALF_BODY.replace(b" /", b" /refuse", 1)) for _ in range(12)]
        await port.until_dropped(7, "too_many_bodies")
        await ended(pairs[0][0])
        pairs[-1][1].write(b"56789")
        await port.until(bodies=4, idle=4)


async def test_answers_that_nobody_takes_are_bounded() -> None:
    """Past the bound the one of which nothing went for longest is broken off; a neighbour's goes on."""
    async with watched_port(ConnectionLimits(bodies_max=3)) as port:
        neighbour, _ = await port.connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n", source="127.0.0.2")
        await port.until(stalled=1)
        for number in range(8):
            await port.connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            await port.until(stalled=min(number + 2, 3))
        await port.until_dropped(6, "answer_not_taken")
        async with asyncio.timeout(10):
            await neighbour.readuntil(b"\r\n\r\n")
            assert len(await neighbour.readexactly(8 * 2**20)) == 8 * 2**20


async def test_a_crowd_that_asks_at_once_has_no_half_heads() -> None:
    """A load balancer's idle connections may all be used in one moment, beside half heads from its address."""
    async with watched_port(ConnectionLimits(heads_max=10)) as port:
        pairs = [await port.connect() for _ in range(8)]
        for pair in pairs:
            await asked(pair)
        for _ in range(8):
            pairs.append(await port.connect())
            await asked(pairs[-1])
        await port.until(idle=16)
        for _ in range(10):
            await port.connect(HALF)
        await port.until(heads=10)
        assert b"" not in await asyncio.gather(*map(asked, pairs))
        assert port.counts.dropped == {}


async def test_what_no_request_comes_of_is_half_a_head() -> None:
    """Behind a change of protocols aiohttp begins no request, however whole a head looks."""
    ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with watched_port() as port:
        reader, writer = await port.connect(ask)
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        await port.until(idle=1)
        writer.write(ask)
        await port.until(idle=0)
        port.clock.advance(YOUNG_S)
        port.connections.sweep()
        assert port.connections.open_heads == 1
        port.clock.advance(30)
        port.connections.sweep()
        assert port.counts.dropped == {"head_timeout": 1}


async def test_half_a_head_behind_several_requests_has_its_time() -> None:
    """However many were whole, and in whatever segments they came; else it would wait as an idle connection does."""
    get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    crowds = (get * 2, post * 3, chunked * 2, get + post, post + get, chunked + post + get, get + chunked)
    async with watched_port() as port:
        for crowd in crowds:
            await port.connect(crowd + HALF)
            await port.connect(crowd)
        await port.until(heads=len(crowds), idle=len(crowds))
        port.clock.advance(30)
        port.connections.sweep()
        assert port.counts.dropped == {"head_timeout": len(crowds)}


async def test_the_end_of_a_body_may_come_in_pieces() -> None:
    """The last line break of a chunked body may be in a segment of its own; its connection is idle then."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with watched_port() as port:
        for cut in range(1, 5):
            _, writer = await port.connect(head + b"2\r\n{}\r\n" + b"0\r\n\r\n"[:-cut])
            await port.until(bodies=1)
            writer.write(b"0\r\n\r\n"[-cut:])
            await port.until(heads=0, idle=cut, bodies=0)


async def test_idle_connections_are_bounded() -> None:
    """Past the bound the one that has rested longest, of whoever has most, is closed."""
    async with watched_port(ConnectionLimits(idle_max=5)) as port:
        neighbour = await port.connect(source="127.0.0.2")
        await asked(neighbour)
        pairs: list[Pair] = []
        for _ in range(10):
            pairs.append(await port.connect())
            await asked(pairs[-1])
        await port.until(idle=5)
        assert await ended(pairs[0][0]) == b""
        await asked(pairs[-1])
        await asked(neighbour)


async def test_an_answer_that_nobody_takes_is_broken_off() -> None:
    """After minutes in which not a byte of it went; the handler's memory is free again."""
    async with watched_port() as port:
        reader, _ = await _asking_for_much(port)
        port.clock.advance(STALLED_ANSWER_S - 1)
        port.connections.sweep()
        assert port.counts.dropped == {}
        port.clock.advance(1)
        port.connections.sweep()
        assert port.counts.dropped == {"answer_not_taken": 1}
        assert len(await ended(reader)) < 8 * 2**20


async def test_an_answer_that_is_taken_slowly_goes_on() -> None:
    """Whoever reads now and then gets all of it."""
    async with watched_port() as port:
        reader, _ = await _asking_for_much(port)
        size = 0
        while size < 8 * 2**20:
            port.clock.advance(STALLED_ANSWER_S / 4)
            size += len(await asyncio.wait_for(reader.readexactly(2**20), 5))
            await port.clock.sleep(0)
            port.connections.sweep()
        assert port.counts.dropped == {}


async def _asking_for_much(port: WatchedPort) -> Pair:
    pair = await port.connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        while not port.connections.stalled:
            await port.clock.sleep(0)
    return pair


async def test_the_watch_goes_on_for_ever() -> None:
    """Once a second it looks."""
    async with watched_port(ConnectionLimits(head_timeout_s=5)) as port:
        watch = asyncio.create_task(port.connections.run())
        reader, _ = await port.connect(HALF)
        await port.until(heads=1)
        for _ in range(6):
            await port.clock.wait_for_sleepers()
            port.clock.advance(1)
        assert await ended(reader) == b""
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_port_that_closes_leaves_no_half_heads() -> None:
    """They are closed at once; nobody waits for them."""
    async with watched_port() as port:
        reader, _ = await port.connect(HALF)
        await port.until(heads=1)
    assert await ended(reader) == b""
    assert (port.connections.open_heads, port.connections.idle) == (0, 0)
