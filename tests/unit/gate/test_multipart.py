import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import BodyTooLarge, MalformedRequest
from bqgate.gate.body import read_bounded
from bqgate.gate.multipart import Part, boundary_of, delimiters, open_first_part, parse_headers, split_parts
from tests.support.manual_clock import ManualClock

BODY = (
    b"preamble\r\n--b1\r\nContent-Type: application/json\r\n\r\n{}\r\n"
    b"--b1 \t\r\n\r\nmedia\r\n--b1x is content\r\n--b1--\r\nepilogue"
)


async def _stream(data: bytes, chunk_bytes: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), chunk_bytes):
        yield data[at : at + chunk_bytes]


@pytest.mark.parametrize(
    "header",
    ['multipart/related; boundary="b 1"', "Multipart/Related; type=x; boundary='=_b'", "multipart/related;boundary=b"],
)
def test_a_boundary_is_found(header: str) -> None:
    """Quoted or bare, the boundary is what the header says."""
    assert boundary_of(header, "related") in {"b 1", "'=_b'", "b"}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "application/json",
        "multipart/mixed; boundary=b",
        "multipart/related",
        'multipart/related; boundary=""',
        'multipart/related; boundary="b "',
        f"multipart/related; boundary={'b' * 300}",
        "multipart/related; boundary*=utf-8''b",
    ],
)
def test_a_type_without_usable_boundary_is_malformed(header: str | None) -> None:
    """Another type, no boundary, or one that RFC 2046 forbids."""
    with pytest.raises(MalformedRequest):
        boundary_of(header, "related")


@pytest.mark.parametrize("line_break", [b"\r\n", b"\n"])
@given(chunk_bytes=st.integers(1, 40))
async def test_the_first_part_is_cut_off_the_stream(line_break: bytes, chunk_bytes: int) -> None:
    """However the body is chunked, its first part is read and the rest stays as it came."""
    body = BODY.replace(b"\r\n", line_break)
    opened = await open_first_part(_stream(body, chunk_bytes), "b1", bytes_max=1000)
    assert opened.first == Part((("Content-Type", "application/json"),), b"{}")
    assert await read_bounded(opened.rest, bytes_max=1000) == body[opened.first_bytes :]
    assert body[opened.first_bytes :].startswith(line_break + b"--b1 \t")


async def test_all_parts_are_split() -> None:
    """Parts are what stands between delimiters that are whole lines."""
    parts = await split_parts(BODY, "b1", parts_max=2)
    assert [part.content for part in parts] == [b"{}", b"media\r\n--b1x is content"]
    assert parts[1].headers == ()


@pytest.mark.parametrize("body", [b"", b"--b1--", b"--b1\r\n\r\n{}", b"text", b"--b1\r\n\r\n{}\r\n--b2--"])
async def test_a_body_without_whole_parts_is_malformed(body: bytes) -> None:
    """Cut off or empty, it is the caller's fault."""
    with pytest.raises(MalformedRequest):
        await split_parts(body, "b1", parts_max=9)
    with pytest.raises(MalformedRequest):
        await open_first_part(_stream(body, 3), "b1", bytes_max=1000)


async def test_a_first_part_is_bounded() -> None:
    """A part without end is not kept in memory."""
    with pytest.raises(BodyTooLarge):
        await open_first_part(_stream(b"--b1\r\n\r\n" + bytes(9000), 100), "b1", bytes_max=1000)


async def test_the_number_of_parts_is_bounded() -> None:
    """One part too many makes the whole malformed."""
    with pytest.raises(MalformedRequest):
        await split_parts(BODY, "b1", parts_max=1)


@pytest.mark.parametrize("stretch", [1, 2, 5, 80, 400])
@given(data=st.binary(max_size=400), dashes=st.integers(0, 70))
def test_where_a_stretch_ends_makes_no_difference(stretch: int, data: bytes, dashes: int) -> None:
    """A body that is looked through in stretches has the parts that it has as a whole."""
    blanks = b" " * dashes
    body = data.replace(b"!", b"\r\n--b\r\n\r\n").replace(b"?", b"\n--b" + blanks + b"\r\n\r\n")
    body = b"--b\r\n\r\n" + b"-" * dashes + body + b"\r\n--b--"
    delimiter = re.compile(rb"(?:\r?\n|\A)--b(?:(--)|[ \t]{0,64}(?=\r?\n))")
    wanted = [(found.start(), found.end()) for found in delimiter.finditer(body)]
    found = [(each.start(), each.end()) for each in delimiters(body, "b", stretch_bytes=stretch) if each is not None]
    assert found == wanted


async def test_others_run_while_a_large_body_is_looked_through() -> None:
    """However many line breaks it has that could begin a delimiter."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await ManualClock().sleep(0)

    counting = asyncio.create_task(count())
    body = b"--b1\r\n\r\n" + b"\n--b" * 2**20 + b"\r\n--b1--"
    await split_parts(body, "b1", parts_max=1)
    counting.cancel()
    assert turns >= len(body) // (512 * 1024)


def test_headers_may_be_folded() -> None:
    """A continuation line belongs to the header before it."""
    assert parse_headers(b"A: 1\r\n  2\r\nB:x") == (("A", "1 2"), ("B", "x"))


@pytest.mark.parametrize("text", [b"no colon", b": empty", b"A : 1", b"A: \xff", b"A: 1\rB: 2", b"A: \x00"])
def test_a_malformed_header_is_refused(text: bytes) -> None:
    """What is no header cannot become one."""
    with pytest.raises(MalformedRequest):
        parse_headers(text)


def test_headers_are_bounded() -> None:
    """Endless headers are refused."""
    with pytest.raises(BodyTooLarge):
        parse_headers(b"A: " + b"x" * 40_000)
    for text in (b"A: 1\n" * 129, b"A: 1\n" + b" 2\n" * 1_024):
        with pytest.raises(MalformedRequest, match="more than"):
            parse_headers(text)


@given(st.binary(max_size=200))
async def test_any_bytes_are_parts_or_refused(data: bytes) -> None:
    """No body makes the parser fail in another way, and both readers see the same first part."""
    body = data.replace(b"!", b"\r\n--b\r\n").replace(b"?", b"\r\n--b--")
    try:
        parts = await split_parts(body, "b", parts_max=100)
    except (MalformedRequest, BodyTooLarge):
        return
    opened = await open_first_part(_stream(body, 5), "b", bytes_max=10_000)
    assert opened.first == parts[0]
