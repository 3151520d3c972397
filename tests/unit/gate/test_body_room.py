import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from time import perf_counter
from urllib.parse import urlsplit

import pytest

from bqgate.domain.errors import BodyTooSlow, NoRoomForBody
from bqgate.domain.units import MIB
from bqgate.gate.body import read_kept
from bqgate.gate.body_room import GRANTED_BYTES, LARGE_BYTES, BodyLimits, BodyRoom, BodyShare
from bqgate.wire.http_message import Headers, HttpRequest
from tests.support.gate_stand import GateStand, ListTelemetry, gate_stand
from tests.support.manual_clock import ManualClock

ROOM = 16 * MIB
QUERIES = "/bigquery/v2/projects/p/queries"
INSERT_ALL = "/bigquery/v2/projects/p/datasets/d/tables/t/insertAll"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def room_of(**limits: float) -> BodyRoom:
    """A room of 16 MiB in which nobody waits for long."""
    given = {"room_bytes": ROOM, "wait_s": 0.05} | limits
    return BodyRoom(BodyLimits(**given), ManualClock(), ListTelemetry())  # type: ignore[arg-type]  # whole where whole


async def _fill(share: BodyShare, size: int) -> int:
    """How much of it there was room for."""
    taken = 0
    while taken < size:
        try:
            await share.take(64 * 1024)
        except NoRoomForBody:
            break
        taken += 64 * 1024
    return taken


async def test_one_source_has_half_of_what_large_bodies_may_have() -> None:
    """And three quarters of the room are for what bodies have beyond a MiB, so that a quarter is left for others."""
    room = room_of()
    with room.share("192.0.2.1") as first, room.share("192.0.2.1") as second, room.share("192.0.2.2") as other:
        assert await _fill(first, ROOM) == 6 * MIB + LARGE_BYTES + GRANTED_BYTES
        assert await _fill(second, ROOM) == LARGE_BYTES + GRANTED_BYTES
        assert await _fill(other, ROOM) == 6 * MIB + LARGE_BYTES + GRANTED_BYTES
        with room.share("192.0.2.3") as third:
            assert await _fill(third, MIB) == MIB


@pytest.mark.parametrize("length", [(), (("Content-Length", str(5 * MIB)),)], ids=["unknown", "declared"])
async def test_large_bodies_do_not_stand_half_read_in_each_others_way(length: Headers) -> None:
    """Of several that come at once each gets all the room that it needs, or waits; none is sent away for the others."""
    room = room_of(wait_s=5)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(5 * 16):
            yield b"x" * (MIB // 16)
            await room.clock.sleep(0)

    async def call() -> int:
        with room.share("a"):
            return len(await read_kept(HttpRequest("POST", "/", headers=length, body=body()), bytes_max=10 * MIB))

    assert await asyncio.gather(*(call() for _ in range(5))) == [5 * MIB] * 5
    assert room.used_bytes == 0


async def test_bodies_of_middling_size_do_not_stand_in_each_others_way_either() -> None:
    """Twenty at once from one address, of 900 kB, of which two have room."""
    room = room_of(wait_s=5)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 100_000
            await room.clock.sleep(0)

    async def call() -> int:
        with room.share("a"):
            return len(await read_kept(HttpRequest("POST", "/", body=body()), bytes_max=10 * MIB))

    assert await asyncio.gather(*(call() for _ in range(20))) == [900_000] * 20


async def test_a_declared_length_takes_no_room() -> None:
    """Nor does a body that has sent a little of what it declares."""
    room = room_of()

    async def begun() -> AsyncIterator[bytes]:
        yield b"x" * GRANTED_BYTES
        await asyncio.Event().wait()

    async def call(number: int) -> None:
        with room.share(f"192.0.2.{number}"):
            call = HttpRequest("POST", "/", headers=(("Content-Length", str(10 * MIB)),), body=begun())
            await read_kept(call, bytes_max=10 * MIB)

    calls = [asyncio.create_task(call(number)) for number in range(100)]
    await room.clock.sleep(0)
    await room.clock.sleep(0)
    assert room.used_bytes == 0
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_what_nearly_every_query_needs_is_always_there() -> None:
    """However full it is."""
    room = room_of()
    with room.share("a") as first, room.share("b") as second, room.share("c") as third, room.share("d") as fourth:
        for share in (first, second, third, fourth):
            await _fill(share, ROOM)
        for source in ("a", "b", "x"):
            with room.share(source) as share:
                assert await _fill(share, GRANTED_BYTES) == GRANTED_BYTES


async def test_a_body_waits_for_room() -> None:
    """Until another call has been answered; a wait that is given up leaves nothing behind."""
    room = room_of(wait_s=5)
    with room.share("a") as second:
        with room.share("a") as first:
            await first.take(7 * MIB)
            leaving = asyncio.create_task(second.take(2 * MIB))
            waiting = asyncio.create_task(second.take(2 * MIB))
            await asyncio.sleep(0)  # noqa: TID251 - lets both come to their wait
            leaving.cancel()
            assert not waiting.done()
        await waiting
        assert room.used_bytes == 2 * MIB - GRANTED_BYTES
    assert room.used_bytes == 0
    assert room._waiting == []


async def test_everything_is_given_back() -> None:
    """Whatever became of the call; and sources that are gone are not remembered."""
    room = room_of()
    for number in range(1_000):
        with suppress(NoRoomForBody), room.share(f"192.0.2.{number}") as share:
            await share.take(2 * MIB)
            await share.take(ROOM if number % 100 == 0 else 1)
    assert room.used_bytes == 0
    assert [len(tier.used) for tier in room._tiers] == [0, 0]


async def test_a_body_has_its_time() -> None:
    """Not from byte to byte: a body that drips in is cut off, too."""

    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)  # noqa: TID251 - a slow sender
            yield b"x"

    room = room_of(timeout_s=0.1)
    with room.share("a"), pytest.raises(BodyTooSlow):
        await read_kept(HttpRequest("POST", "/", body=drip()), bytes_max=10_000)


async def test_a_large_body_over_a_poor_line_has_the_time_that_it_needs() -> None:
    """Who keeps up a steady pace is not slow, and who stops is: a packed body brings no time for what it becomes."""

    async def steady(pauses: int) -> AsyncIterator[bytes]:
        for _ in range(pauses):
            yield b"x" * GRANTED_BYTES
            await asyncio.sleep(0.05)  # noqa: TID251 - a slow sender

    async def stops(data: bytes) -> AsyncIterator[bytes]:
        yield data
        await asyncio.Event().wait()

    room = room_of(timeout_s=0.1)
    with room.share("a"):
        assert len(await read_kept(HttpRequest("POST", "/", body=steady(6)), bytes_max=10 * MIB)) == 6 * GRANTED_BYTES
        packed = stops(gzip.compress(bytes(MIB))[:-1])
        for headers, body in (((("Content-Encoding", "gzip"),), packed), ((), stops(bytes(GRANTED_BYTES)))):
            with pytest.raises(BodyTooSlow):
                await read_kept(HttpRequest("POST", "/", headers=headers, body=body), bytes_max=10 * MIB)


async def test_others_run_while_a_body_is_unpacked() -> None:
    """A few kilobytes that become many megabytes hold nobody up until they are there."""
    room, turns = room_of(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await room.clock.sleep(0)

    counting = asyncio.create_task(count())

    async def bomb() -> AsyncIterator[bytes]:
        yield gzip.compress(bytes(5 * MIB))

    with room.share("a"):
        call = HttpRequest("POST", "/", headers=(("Content-Encoding", "gzip"),), body=bomb())
        assert len(await read_kept(call, bytes_max=10 * MIB)) == 5 * MIB
    counting.cancel()
    assert turns >= 5


async def _raw(gate: GateStand, path: str, sent: bytes, headers: str) -> Pair:
    parts = urlsplit(gate.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode() + sent)
    return reader, writer


async def _closed(pairs: list[Pair]) -> None:
    for _, writer in pairs:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for _, writer in pairs), return_exceptions=True)


async def test_a_slow_body_is_answered_and_its_connection_ends() -> None:
    """Of a query, a batch, a form in place of a URL, and the first part of an upload."""
    limits = BodyLimits(timeout_s=0.2)
    calls = (
        (QUERIES, "Content-Length: 100"),
        (QUERIES, "Transfer-Encoding: chunked"),
        ("/batch/bigquery/v2", "Content-Length: 100\r\nContent-Type: multipart/mixed; boundary=b"),
        ("/bigquery/v2/projects/p/jobs", "Content-Length: 100\r\nX-HTTP-Method-Override: GET"),
        (
            "/upload/bigquery/v2/projects/p/jobs?uploadType=multipart",
            "Content-Length: 100\r\nContent-Type: multipart/related; boundary=b",
        ),
    )
    async with gate_stand(bodies=limits) as gate:
        pairs = [await _raw(gate, path, b"1\r\n{\r\n", headers) for path, headers in calls]
        for reader, _ in pairs:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 408 ")
            assert b"\r\nConnection: close\r\n" in head
        await _closed(pairs)
        assert gate.upstream.received == []


async def test_what_streams_through_may_be_slow() -> None:
    """An upload that takes longer than a body that is kept arrives whole; one that stands still does not."""
    async with gate_stand(bodies=BodyLimits(timeout_s=0.1, stall_s=0.5)) as gate:
        reader, writer = await _raw(gate, INSERT_ALL, b"", "Content-Length: 10")
        for _ in range(10):
            await asyncio.sleep(0.04)  # noqa: TID251 - a slow sender
            writer.write(b"x")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        assert gate.upstream.last.body == b"x" * 10
        stuck = await _raw(gate, INSERT_ALL, b"half", "Content-Length: 10")
        assert b" 408 " in await asyncio.wait_for(stuck[0].readline(), 5)
        await _closed([(reader, writer), stuck])
        assert len(gate.upstream.received) == 1


async def test_a_multipart_uploads_media_may_be_slow() -> None:
    """Only its first part is kept, and must be there in time."""
    head = b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\r\n"
    headers = f"Content-Length: {len(head) + 20}\r\nContent-Type: multipart/related; boundary=b"
    async with gate_stand(bodies=BodyLimits(timeout_s=0.15)) as gate:
        path = "/upload/bigquery/v2/projects/p/jobs?uploadType=multipart"
        reader, writer = await _raw(gate, path, head, headers)
        for _ in range(7):
            await asyncio.sleep(0.05)  # noqa: TID251 - a slow sender
            writer.write(b"aa")
        writer.write(b"\r\n--b--")
        writer.write(b"\r\n")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        await _closed([(reader, writer)])


async def test_a_packed_body_counts_as_what_it_becomes() -> None:
    """A bomb of some kilobytes finds as little room as its megabytes."""
    bomb = gzip.compress(json.dumps({"query": " " * 9 * MIB}).encode())
    async with gate_stand(bodies=BodyLimits(room_bytes=ROOM, wait_s=0.05)) as gate:
        async with gate.session.post(gate.url + QUERIES, data=bomb, headers={"Content-Encoding": "gzip"}) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await answer.json())["error"]["errors"][0]["reason"] == "backendError"
        parts = b"".join(
            b"--b\r\nContent-Type: application/http\r\n\r\nPOST %b HTTP/1.1\r\nContent-Encoding: gzip\r\n\r\n%b\r\n"
            % (QUERIES.encode(), gzip.compress(json.dumps({"query": " " * 4 * MIB}).encode()))
            for _ in range(8)
        )
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        async with gate.session.post(gate.url + "/batch", data=parts + b"--b--", headers=headers) as answer:
            text = await answer.read()
        assert text.count(b"HTTP/1.1 200") >= 1
        assert text.count(b"HTTP/1.1 503") >= 1


async def test_twelve_half_batches_of_31_mb_leave_room_and_time_for_a_neighbour() -> None:
    """They are held to a share of the room, and end; queries from the same address pass meanwhile in milliseconds."""
    limits = BodyLimits(wait_s=0.3, timeout_s=3)
    headers = f"Content-Length: {32 * MIB}\r\nContent-Type: multipart/mixed; boundary=b"
    async with gate_stand(bodies=limits) as gate:
        pairs = [await _raw(gate, "/batch/bigquery/v2", b"", headers) for _ in range(12)]

        async def send(writer: asyncio.StreamWriter) -> None:
            try:
                for _ in range(31):
                    writer.write(b"\n--b" * (MIB // 4))
                    await writer.drain()
            except ConnectionError:
                pass  # sent away

        begun_s = perf_counter()
        sending = [asyncio.create_task(send(writer)) for _, writer in pairs]
        longest_s, asked = 0.0, 0
        while not all(task.done() for task in sending) or asked < 50:
            single_s = perf_counter()
            async with gate.session.post(gate.url + QUERIES, json={"query": "SELECT 1"}) as answer:
                assert answer.status == 200
            longest_s, asked = max(longest_s, perf_counter() - single_s), asked + 1
        statuses = [(await asyncio.wait_for(reader.readline(), 10)).split()[1] for reader, _ in pairs]
        took_s = perf_counter() - begun_s
        await _closed(pairs)
        assert set(statuses) <= {b"503", b"408"}
        assert statuses.count(b"503") >= 9
        assert took_s < 20
        assert longest_s < 2, "a query on a machine that makes and sends 400 MB meanwhile"
