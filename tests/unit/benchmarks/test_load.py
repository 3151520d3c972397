import asyncio
import json

import pytest

from benchmarks.gated import load

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "is_whole"),
    [
        (HEAD[:-2], False),
        (HEAD + b"{ }", False),
        (HEAD + b"{  }", True),
        (CHUNKED + b"4\r\n{  }\r\n", False),
        (CHUNKED + b"4\r\n{  }\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_ends_where_its_head_says(answer: bytes, is_whole: bool) -> None:
    """By its length, or by the last chunk."""
    assert load.is_whole(answer) is is_whole


async def test_what_an_answer_says_of_its_steps_is_kept() -> None:
    """Dry run and forward of Server-Timing, in nanoseconds; other steps are the gate's own."""
    source = load.Source(load.parse(["--port", "1"]))
    source.begin(seconds=60)
    connection = load.Connection(source, asyncio.get_running_loop().create_future())
    connection.connection_made(FakeTransport())
    timing = b"Server-Timing: identify;dur=0.1, dryrun;dur=0.4, hold;dur=0.2, upstream;dur=0.25\r\n"
    body = b'{"jobComplete":true,"v":"000000000001"'
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + timing + b"Content-Length: 37\r\n\r\n" + body)
    assert source.log[3] == 650_000


@pytest.mark.parametrize("arguments", [[], ["--same-text"], ["--chat"]])
def test_each_query_bears_its_number_and_the_length_of_its_body(arguments: list[str]) -> None:
    """Numbers go on from the first; the server at the other end can take the length at its word."""
    source = load.Source(load.parse(["--port", "1", "--first", "41", *arguments]))
    source.begin(seconds=60)
    taken = source.take(0)
    assert taken is not None
    number, request = taken
    head, _, body = request.partition(b"\r\n\r\n")
    assert number == 42
    assert b"Content-Length: %d" % len(body) in head
    assert b"%012d" % number in body
    assert json.loads(body)


class FakeTransport(asyncio.Transport):
    """Takes what is written, and may be closed."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written = bytes(data)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{"jobComplete":true,"v":"000000000001"', 0),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{"jobComplete":true,"v":"000000000002"', 1),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n{"jobComplete":false,"v":"000000000001"', 1),
        (b'HTTP/1.1 503 No\r\nContent-Length: 37\r\n\r\n{"jobComplete":true,"v":"000000000001"', 1),
    ],
    ids=["right", "somebody else's", "not complete", "refused"],
)
async def test_only_the_whole_answer_to_the_own_query_counts(answer: bytes, faults: int) -> None:
    """Its status, that it is complete, and that it bears the query's number."""
    source = load.Source(load.parse(["--port", "1"]))
    source.begin(seconds=60)
    connection = load.Connection(source, asyncio.get_running_loop().create_future())
    connection.connection_made(FakeTransport())
    connection.data_received(answer[:30])
    connection.data_received(answer[30:])
    assert source.fault_count == faults
    assert len(source.log) == (0 if faults else 4)
