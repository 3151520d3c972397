"""Read bodies: whole within a bound as JSON, or as a stream, decompressed.

Used for requests that the gate must understand and for answers that it looks into. Raises BodyTooLarge,
MalformedRequest (reason parseError), and for requests BodyTooSlow and NoRoomForBody. Bound: BigQuery takes query
requests of up to 10 MB (https://cloud.google.com/bigquery/quotas#query_jobs). A compressed body is counted unpacked, so
that a few kilobytes cannot become gigabytes.
"""

import codecs
import json
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bqgate.domain.errors import BodyTooLarge, MalformedRequest
from bqgate.gate.body_room import BodyShare, share_of_call
from bqgate.ports.turns import let_others_run, read_in_turns
from bqgate.wire.http_message import Body, HttpRequest, replaced, without
from bqgate.wire.json_slices import PARAMETERS, SMALL_CHARS_MAX, JsonSlices, TooManyValues
from bqgate.wire.json_text import json_bytes, read_json

BODY_BYTES_MAX = 10 * 1024 * 1024
_CHUNK_BYTES_MAX = 64 * 1024
_LENGTH = re.compile("[0-9]{1,18}")
# Of an answer that is looked into as it passes no more is read, packed or not: it is read at one go.
UNPACKED_BYTES_MAX = 2**20
_PIECES_AT_ONCE = 4  # of unpacking: some two milliseconds; then others have their turn
_GZIP_NAMES = frozenset({"gzip", "x-gzip"})
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say "with a gzip header"
BODY_HEADERS = frozenset({"content-length", "content-encoding", "content-type", "transfer-encoding", "content-md5"})


async def read_json_object(call: HttpRequest, *, bytes_max: int = BODY_BYTES_MAX) -> dict[str, Any]:
    """The JSON object in a call's body. Of a name that comes twice the last value counts, as in json.loads.

    Raises:
        BodyTooLarge: more than `bytes_max`, unpacked.
        MalformedRequest: it is not a JSON object.
    """
    return await parse_json_object(await read_kept(call, bytes_max=bytes_max))


async def read_kept(call: HttpRequest, *, bytes_max: int) -> bytes:
    """All of a caller's body, unpacked, in time and within the room for such bodies (body_room.py).

    Raises:
        BodyTooLarge: more than `bytes_max`; the rest was not read.
        BodyTooSlow, NoRoomForBody: it did not come in time, or there is no room.
        MalformedRequest: as plain_body.
    """
    share, body = share_of_call(), plain_body(call)
    if isinstance(body, bytes):
        return _bounded(body, bytes_max)
    if share is None:
        return await read_bounded(body, bytes_max=bytes_max)
    length = call.header("content-length") if body is call.body else None
    most = int(length) if length is not None and _LENGTH.fullmatch(length) else bytes_max
    async with share.reading(min(most, bytes_max)):
        counted = _counted(body, share, bytes_max, is_packed=body is not call.body)
        return await read_bounded(counted, bytes_max=bytes_max)


async def _counted(
    body: AsyncIterator[bytes], share: BodyShare, bytes_max: int, *, is_packed: bool
) -> AsyncIterator[bytes]:
    left = bytes_max
    async for chunk in body:
        left -= len(chunk)
        if not is_packed:
            share.note_arrival(len(chunk))
        if left >= 0:  # what is too much is refused, and not kept
            await share.take(len(chunk))
        yield chunk


async def read_bounded(body: Body, *, bytes_max: int) -> bytes:
    """All of a body.

    Raises:
        BodyTooLarge: more than `bytes_max`; the rest was not read.
    """
    if isinstance(body, bytes):
        return _bounded(body, bytes_max)
    chunks: list[bytes] = []
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > bytes_max:
            raise BodyTooLarge(bytes_max)
        chunks.append(chunk)
    return b"".join(chunks)


def _bounded(body: bytes, bytes_max: int) -> bytes:
    if len(body) > bytes_max:
        raise BodyTooLarge(bytes_max)
    return body


async def parse_json_object(data: bytes, *, kept: tuple[str, ...] = PARAMETERS) -> dict[str, Any]:
    """A JSON text (RFC 8259, UTF-8) whose value is an object; a byte order mark before it is read over.

    A large one is read bit by bit, so that other calls are answered meanwhile; the members `kept` stay text then.

    Raises:
        MalformedRequest: it is something else.
    """
    # An object in any other encoding has a zero beside its brace, or a mark before it.
    encoding = "utf-8" if data[:1] == b"{" and data[1:2] != b"\0" else json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        message = f"Parse Error: the request body is {encoding.upper()}; JSON must be sent as UTF-8."
        raise MalformedRequest(message, reason="parseError")
    try:
        text = without_mark(data).decode()
        is_small = len(text) <= SMALL_CHARS_MAX
        document = read_json(text) if is_small else await read_in_turns(JsonSlices(text, kept=kept))
    except TooManyValues as error:
        message = f"The request body has more than {error.values_max} values beside parameters and rows."
        raise MalformedRequest(message, reason="badRequest") from None
    except (ValueError, RecursionError):
        raise MalformedRequest("Parse Error: the request body is not valid JSON.", reason="parseError") from None
    if not isinstance(document, dict):
        raise MalformedRequest("Parse Error: the request body must be a JSON object.", reason="parseError")
    return document


def without_mark(data: bytes) -> bytes:
    """A text without the byte order mark that some tools put before it."""
    return data.removeprefix(codecs.BOM_UTF8)


def with_json(call: HttpRequest, document: Mapping[str, Any]) -> HttpRequest:
    """The same call with another body; the headers that described the old one are gone."""
    headers = replaced(call.headers, BODY_HEADERS, ("Content-Type", "application/json; charset=UTF-8"))
    return call.changed(headers=headers, body=json_bytes(document))


def without_body(call: HttpRequest) -> HttpRequest:
    """The same call without a body, and without the headers that describe one."""
    return call.changed(headers=without(call.headers, BODY_HEADERS), body=b"")


def plain_body(call: HttpRequest) -> Body:
    """A call's body with its Content-Encoding taken off.

    Raises:
        MalformedRequest: the encoding is neither gzip nor identity; when reading: the body is not gzip, or cut off.
    """
    encoding = (call.header("content-encoding") or "identity").strip().lower()
    if encoding == "identity":
        return call.body
    if encoding not in _GZIP_NAMES:
        raise MalformedRequest(f"Content-Encoding {encoding[:32]} is not supported; use gzip or none.")
    return _unpacked(call.body)


async def _unpacked(body: Body) -> AsyncIterator[bytes]:
    """Gzip members one after the other (RFC 1952 section 2.2), in pieces of bounded size."""
    unpacker = zlib.decompressobj(_GZIP)
    is_inside = False
    pieces = 0
    async for chunk in chunks_of(body):
        packed = chunk
        is_full = False  # the last piece was as long as allowed, so zlib may hold more without more input
        while packed or is_full:
            try:
                piece = unpacker.decompress(packed, _CHUNK_BYTES_MAX)
            except zlib.error:
                raise MalformedRequest("The request body is not valid gzip.", reason="parseError") from None
            is_inside = not unpacker.eof
            is_full = is_inside and len(piece) == _CHUNK_BYTES_MAX
            packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if unpacker.eof:
                unpacker = zlib.decompressobj(_GZIP)
            if piece:
                yield piece
            pieces += 1
            if pieces % _PIECES_AT_ONCE == 0:
                await let_others_run()
    if is_inside:
        raise MalformedRequest("The gzip request body is cut off.", reason="parseError")


async def chunks_of(body: Body) -> AsyncIterator[bytes]:
    """A body as a stream, whether it is one or not."""
    if isinstance(body, bytes):
        yield body
        return
    async for chunk in body:
        yield chunk


async def close_body(body: Body) -> None:
    """Stop reading a body, where it is a stream that can be closed."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


def unpacked(data: bytes, encoding: str | None, *, bytes_max: int = UNPACKED_BYTES_MAX) -> tuple[bytes, bool]:
    """The beginning of an answer, decompressed, and whether all of `data` could be read within the bound."""
    name = (encoding or "identity").strip().lower()
    if name == "identity":
        return data[:bytes_max], len(data) <= bytes_max
    if name not in _GZIP_NAMES:
        return b"", False
    inflater = zlib.decompressobj(_GZIP)
    try:
        return inflater.decompress(data, bytes_max), inflater.eof
    except zlib.error:
        return b"", False


def decoded(data: bytes, encoding: str | None) -> tuple[str, bool]:
    """The text of an answer's beginning, and whether all of `data` could be read."""
    plain, is_whole = unpacked(data, encoding)
    return plain.decode("utf-8", "replace"), is_whole
