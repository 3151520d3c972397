import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import BodyTooLarge, MalformedRequest
from bqgate.gate.body import parse_json_object, plain_body, read_bounded, read_json_object, with_json
from bqgate.gate.isolation.field_lists import listed
from bqgate.gate.isolation.job_fields import QUERY_REQUEST
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.json_text import json_bytes

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


async def _stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _call(body: bytes, encoding: str | None = None, *, chunk_bytes: int = 7) -> HttpRequest:
    chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    return HttpRequest(
        "POST", "/x", "", () if encoding is None else (("Content-Encoding", encoding),), _stream(*chunks)
    )


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
async def test_an_object_is_read_and_written_again(document: dict[str, Any]) -> None:
    """What is parsed and written is what was sent."""
    text = json_bytes(document)
    assert json_bytes(await parse_json_object(text)) == text
    assert json.loads(text) == document


@given(st.binary(max_size=200))
async def test_bytes_are_an_object_or_malformed(data: bytes) -> None:
    """No bytes make the parser fail in another way, and what it reads can be written."""
    try:
        document = await parse_json_object(data)
    except MalformedRequest:
        return
    json_bytes(document)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"text"',
        b"null",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 1} x',
        b'{"a": ' + b"[" * 20_000,
        b'{"query": "SELECT',
    ],
)
async def test_what_is_no_json_object_is_a_parse_error(data: bytes) -> None:
    """Broken, foreign and unwritable JSON is malformed, with BigQuery's reason."""
    with pytest.raises(MalformedRequest) as caught:
        await parse_json_object(data)
    assert caught.value.reason == "parseError"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
async def test_another_encoding_than_utf_8_is_named(encoding: str) -> None:
    """A body in UTF-16 is refused with what to write instead, and not as broken JSON."""
    with pytest.raises(MalformedRequest, match="UTF-8") as caught:
        await parse_json_object('{"query": "SELECT 1"}'.encode(encoding))
    assert caught.value.reason == "parseError"


async def test_a_byte_order_mark_is_read_over() -> None:
    """Some tools on Windows begin every text with one; packed or not, what follows is the body."""
    body = b'\xef\xbb\xbf{"query": "SELECT 1"}'
    assert await parse_json_object(body) == {"query": "SELECT 1"}
    assert await read_json_object(_call(gzip.compress(body), "gzip")) == {"query": "SELECT 1"}
    with pytest.raises(MalformedRequest):
        await parse_json_object(b"\xef\xbb\xbf" + body)


async def test_numbers_keep_every_digit() -> None:
    """A parameter's number goes upstream as the caller wrote it."""
    body = b'{"queryParameters":[{"parameterValue":{"value":1234567890123456789.123456789}},1.10,1E400,-0,%s]}' % (
        b"9" * 5_000
    )
    assert json_bytes(await parse_json_object(body)) == body


async def test_a_name_that_comes_twice_has_one_value() -> None:
    """Duplicate keys cannot smuggle a second query: one value is judged and written."""
    assert json_bytes(await parse_json_object(b'{"query": "cheap", "query": "dear"}')) == b'{"query":"dear"}'


async def test_an_escaped_pair_of_surrogates_is_a_character() -> None:
    """Escaped characters beyond the BMP are fine."""
    assert await parse_json_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
async def test_a_gzip_body_is_unpacked(encoding: str) -> None:
    """Java's and apitools' compressed bodies are read, in any pieces and from several members."""
    packed = gzip.compress(b'{"query": ', mtime=0) + gzip.compress(b'"SELECT 1"}', mtime=0)
    assert await read_json_object(_call(packed, encoding)) == {"query": "SELECT 1"}


async def test_a_gzip_bomb_stops_at_the_bound() -> None:
    """A few kilobytes that unpack to gigabytes are refused before they are unpacked."""
    bomb = gzip.compress(bytes(200 * 2**20))
    with pytest.raises(BodyTooLarge):
        await read_bounded(plain_body(_call(bomb, "gzip", chunk_bytes=65536)), bytes_max=2**20)


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 2**20])
async def test_unpacking_loses_nothing_at_piece_borders(chunk_bytes: int) -> None:
    """Unpacked pieces have a bounded size and together are the whole."""
    data = b"".join(str(number).encode() for number in range(60_000)) + bytes(300_000)
    pieces = plain_body(_call(gzip.compress(data, mtime=0), "gzip", chunk_bytes=chunk_bytes))
    assert await read_bounded(pieces, bytes_max=2**20) == data


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (b"no gzip at all", "gzip"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-6], "gzip"),
        (gzip.compress(b'{"a": 1}', mtime=0) + b"tail", "gzip"),
        (zlib.compress(b'{"a": 1}'), "deflate"),
        (b"{}", "br"),
        (b"{}", "gzip, gzip"),
    ],
)
async def test_a_body_that_cannot_be_unpacked_is_malformed(packed: bytes, encoding: str) -> None:
    """Other encodings, broken and cut gzip are named as the caller's fault."""
    with pytest.raises(MalformedRequest):
        await read_json_object(_call(packed, encoding))


async def test_a_body_past_the_bound_is_not_read_to_its_end() -> None:
    """Reading stops at the bound, whatever follows."""
    read: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield bytes(1024)

    with pytest.raises(BodyTooLarge):
        await read_bounded(endless(), bytes_max=10 * 1024)
    assert len(read) == 11


async def test_a_new_body_has_its_own_headers() -> None:
    """The headers that described the old body do not survive it, the others do."""
    old = HttpRequest("POST", "/x", "", (("Content-Length", "9"), ("content-encoding", "gzip"), ("X-A", "1")), b"old")
    new = with_json(old, {"a": "ä"})
    assert new.body == json.dumps({"a": "ä"}, ensure_ascii=False, separators=(",", ":")).encode()
    assert new.headers == (("X-A", "1"), ("Content-Type", "application/json; charset=UTF-8"))


async def test_large_parameters_stay_as_they_came_where_fields_are_listed() -> None:
    """A megabyte of parameters is handed on letter by letter, also where every field must be a known one."""
    many = b'{"parameterValue": {"value": 1.50}},' * 40_000
    body = b'{"query":"SELECT 1","queryParameters":[' + many + b"{}]}"
    assert json_bytes(listed(await parse_json_object(body), QUERY_REQUEST)) == body


async def test_too_many_values_beside_parameters_are_refused() -> None:
    """What the gate has to look at is bounded, and the refusal says so."""
    with pytest.raises(MalformedRequest, match="more than 100000 values"):
        await parse_json_object(b'{"other":[' + b"1," * 200_000 + b"1]}")
