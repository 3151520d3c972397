"""Take multipart bodies apart (RFC 2046 section 5.1), in memory only as far as needed.

Called by the upload step (multipart/related: first part read, the rest streamed) and the batch step (multipart/mixed).
Leaves bytes, or MalformedRequest and BodyTooLarge. Lines may end in LF alone: googleapiclient and apitools (bq) write
them so. A delimiter that opens a part is a whole line, never the beginning of one, so that both
sides see the same parts.
"""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.message import Message

from bqgate.domain.errors import BodyTooLarge, MalformedRequest
from bqgate.gate.body import chunks_of
from bqgate.gate.body_room import BodyShare, share_of_call
from bqgate.ports.turns import let_others_run
from bqgate.wire.http_message import Body, Headers

HEADER_BYTES_MAX = 32 * 1024
_HEADERS_MAX = 128  # as of a call that comes alone
_LINES_MAX = 1_024  # of which some may go on from the line before
# Python's reader of parameters takes time by the square of their length; honest ones have about 100 characters.
_CONTENT_TYPE_CHARS_MAX = 1_024
_PADDING_MAX = 64  # blanks that a transport may have added behind a delimiter
# A body is searched in pieces of so many bytes, and where it has many half delimiters, after so many of them.
_SEARCHED_BYTES = 512 * 1024
_SEARCHED_STEPS = 500
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_BOUNDARY_CHARACTERS = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its headers and what stands below them."""

    headers: Headers
    content: bytes


@dataclass(frozen=True, slots=True)
class OpenedBody:
    """A body whose first part is read. `rest` begins with the line break before the next delimiter.

    `first_bytes` is how many bytes of the body stood before `rest`.
    """

    first: Part
    first_bytes: int
    rest: AsyncIterator[bytes]


def boundary_of(content_type: str | None, subtype: str) -> str:
    """The boundary that a multipart Content-Type names.

    Raises:
        MalformedRequest: it is another type, or names none.
    """
    if len(content_type or "") > _CONTENT_TYPE_CHARS_MAX:
        raise MalformedRequest("The Content-Type is too long.", reason="badRequest")
    header = Message()
    header["Content-Type"] = content_type or ""
    boundary = header.get_param("boundary")
    if header.get_content_type() != f"multipart/{subtype}" or not isinstance(boundary, str):
        raise MalformedRequest(f"Content-Type must be multipart/{subtype} with a boundary.", reason="badRequest")
    if _BOUNDARY_CHARACTERS.fullmatch(boundary) is None:
        raise MalformedRequest("The multipart boundary is malformed.", reason="badRequest")
    return boundary


async def open_first_part(body: Body, boundary: str, *, bytes_max: int) -> OpenedBody:
    """Read up to the end of the first part and leave the rest unread.

    Raises:
        BodyTooLarge: what stands before the second delimiter is larger than `bytes_max`.
        BodyTooSlow, NoRoomForBody: it did not come in time, or there is no room. The rest may take as long as it needs.
        MalformedRequest: the body ends before it.
    """
    share = share_of_call()
    if share is None:
        return await _open_first_part(chunks_of(body), boundary, None, bytes_max=bytes_max)
    async with share.reading(bytes_max):
        return await _open_first_part(chunks_of(body), boundary, share, bytes_max=bytes_max)


async def _open_first_part(
    chunks: AsyncIterator[bytes], boundary: str, share: BodyShare | None, *, bytes_max: int
) -> OpenedBody:
    delimiter = _delimiter(boundary)
    seen = bytearray(b"\n")  # so that a delimiter at the very beginning is one after a line break, too
    searched = 0
    start: int | None = None
    async for chunk in chunks:
        seen += chunk
        if share is not None:
            await share.take(len(chunk))
        while (match := delimiter.search(seen, searched)) is not None:
            if match.start() > bytes_max:
                raise BodyTooLarge(bytes_max)
            if start is not None:
                first = parse_part(bytes(seen), start, match.start())
                return OpenedBody(first, match.start() - 1, _after(bytes(seen[match.start() :]), chunks))
            if match["end"]:
                raise _cut_off()
            start = searched = match.end()
        # A delimiter may be cut by the end of a chunk: look again from far enough before it.
        searched = max(searched, len(seen) - len(boundary) - _PADDING_MAX - 8)
        if len(seen) > bytes_max:
            raise BodyTooLarge(bytes_max)
    raise _cut_off()


async def split_parts(data: bytes, boundary: str, *, parts_max: int) -> tuple[Part, ...]:
    """All parts of a whole body. Others have their turn while a large one is searched.

    Raises:
        MalformedRequest: no closing delimiter, no parts, or more than `parts_max`.
    """
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    is_closed = False
    for found in delimiters(data, boundary):
        if found is None:
            await let_others_run()
            continue
        if opened is not None:
            spans.append((opened, found.start()))
            if len(spans) > parts_max:
                raise MalformedRequest(f"The batch has more than {parts_max} calls.", reason="badRequest")
        if found["end"]:
            is_closed = True
            break
        opened = found.end()
    if not is_closed or not spans:
        raise _cut_off()
    parts: list[Part] = []
    for start, end in spans:
        parts.append(parse_part(data, start, end))
        await let_others_run()
    return tuple(parts)


def parse_part(text: bytes, start: int, end: int) -> Part:
    """Headers, an empty line, content. What stands from `start` begins with the break of the delimiter's line.

    Raises:
        MalformedRequest: a header has no colon or is not text, or the headers are too long.
    """
    match = _END_OF_HEADERS.search(text, start, min(end, start + HEADER_BYTES_MAX + 4))
    if match is None:
        return Part(parse_headers(text[start:end]), b"")
    return Part(parse_headers(text[start : match.start()]), text[match.end() : end])


def parse_headers(text: bytes) -> Headers:
    """Header lines with their continuations joined.

    Raises:
        MalformedRequest: a line is not a header, or there are too many.
        BodyTooLarge: they are longer than HEADER_BYTES_MAX.
    """
    if len(text) > HEADER_BYTES_MAX:
        raise BodyTooLarge(HEADER_BYTES_MAX)
    headers: list[tuple[str, str]] = []
    try:
        lines = text.decode().replace("\r\n", "\n").split("\n", _LINES_MAX)
    except UnicodeDecodeError:
        raise MalformedRequest("A part's headers are not UTF-8.", reason="badRequest") from None
    if len(lines) > _LINES_MAX:
        raise MalformedRequest(f"A part's headers have more than {_LINES_MAX} lines.", reason="badRequest")
    for line in lines:
        if not line.strip():
            continue
        if line[0] in " \t" and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or not line.isprintable():
            raise MalformedRequest("A part has a malformed header.", reason="badRequest")
        headers.append((name, value.strip()))
        if len(headers) > _HEADERS_MAX:
            raise MalformedRequest(f"A part has more than {_HEADERS_MAX} headers.", reason="badRequest")
    return tuple(headers)


async def _after(seen: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield seen
    async for chunk in chunks:
        yield chunk


def _cut_off() -> MalformedRequest:
    return MalformedRequest("The multipart body is cut off or has no parts.", reason="badRequest")


def _delimiter(boundary: str) -> re.Pattern[bytes]:
    padding = rb"[ \t]{0,%d}" % _PADDING_MAX
    return re.compile(
        rb"(?:\r?\n|\A)--" + re.escape(boundary.encode()) + rb"(?:(?P<end>--)|" + padding + rb"(?=\r?\n))"
    )


def delimiters(
    text: bytes, boundary: str, *, stretch_bytes: int = _SEARCHED_BYTES
) -> Iterator["re.Match[bytes] | None"]:
    """Each delimiter, in order, and None wherever others may have their turn."""
    delimiter, mark = _delimiter(boundary), f"\n--{boundary}".encode()
    at = steps = 0
    if (found := delimiter.match(text)) is not None:
        at = found.end()
        yield found
    while at < len(text):
        steps += 1
        if steps % _SEARCHED_STEPS == 0:
            yield None
        place = text.find(mark, at, at + stretch_bytes + len(mark))
        if place < 0:
            at += stretch_bytes + 1
            yield None
            continue
        found = delimiter.match(text, place - 1 if text[place - 1 : place] == b"\r" else place)
        at = place + 1
        if found is not None:
            at = found.end()
            yield found
