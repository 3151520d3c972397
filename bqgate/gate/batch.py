"""Answer a batch: every call inside goes through the gate as if it had come alone.

Called by the dispatch step, which it calls back for each part. Format: multipart/mixed with parts of application/http,
at most 1,000, each answered under Content-ID <response-…>, in order; uploads and batches inside a batch are refused
(https://developers.google.com/gmail/api/guides/batch describes what Google's APIs share). The outer headers apply to
every part but for Content-*, and a part's own come first.

Memory: the request is read whole within a bound, and counts until it is answered (body_room.py); of the answers at most
PARTS_AT_ONCE are held. Time: it must have arrived in time, and its calls must have begun within BATCH_S_MAX. One part's
failure is that part's answer.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from http import HTTPStatus

from bqgate.domain.errors import (
    OUTAGES,
    BodyTooLarge,
    BqgateError,
    MalformedRequest,
    UpstreamNotTried,
    UpstreamUnavailable,
)
from bqgate.gate.body import close_body, read_bounded, read_kept
from bqgate.gate.body_room import share_of_call
from bqgate.gate.multipart import HEADER_BYTES_MAX, Part, boundary_of, parse_headers, split_parts
from bqgate.gate.reply import answer_for_error
from bqgate.observe.request_fields import note_cause
from bqgate.ports import Clock
from bqgate.ports.turns import let_others_run
from bqgate.wire.http_message import Headers, HttpRequest, HttpResponse, header_of, without

PARTS_MAX = 1_000
PARTS_AT_ONCE = 8
BATCH_BYTES_MAX = 32 * 1024 * 1024
# Calls that have not begun by then are not; the longest poll takes 200 s, and some of them may come one after another.
BATCH_S_MAX = 900
_ANSWER_BYTES_MAX = 24 * 1024 * 1024  # jobs.query answers with up to 20 MB
# What belongs to the connection or to the outer body, and what would make an inner answer unreadable in text.
_NOT_INHERITED = frozenset({"accept-encoding", "connection", "expect", "host", "keep-alive", "te", "transfer-encoding"})
_ANSWER_FRAMING = frozenset({"content-length", "connection", "transfer-encoding"})

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(r"[0-9]{1,10}")
_HOST = re.compile(r"^https?://[^/?#]*", re.IGNORECASE)

Dispatch = Callable[[HttpRequest], Awaitable[HttpResponse]]
Tell = Callable[[HttpRequest | None, HttpResponse, BqgateError | None], None]


async def answer_batch(
    call: HttpRequest, *, dispatch: Dispatch, tell: Tell, new_boundary: Callable[[], str], clock: Clock
) -> HttpResponse:
    """Read a batch and leave an answer whose body runs the parts as it is read, and tells of each.

    Raises:
        MalformedRequest: the batch as a whole is not multipart/mixed, is cut off, or has too many parts.
        BodyTooLarge, BodyTooSlow, NoRoomForBody: it is larger than BATCH_BYTES_MAX, or did not come in time, or there
            is no room for it.
    """
    boundary = boundary_of(call.header("content-type"), "mixed")
    data = await read_kept(call, bytes_max=BATCH_BYTES_MAX)
    parts = await split_parts(data, boundary, parts_max=PARTS_MAX)
    mark = f"batch_{new_boundary()}"
    headers = (("Content-Type", f"multipart/mixed; boundary={mark}"), ("Vary", "Origin"))
    return HttpResponse(200, headers, BatchBody(parts, _inherited(call.headers), dispatch, tell, mark, clock))


class BatchBody:
    """The answers of a batch as a stream. Closing it stops the parts that run and starts no more."""

    def __init__(
        self, parts: tuple[Part, ...], outer: Headers, dispatch: Dispatch, tell: Tell, mark: str, clock: Clock
    ) -> None:
        self._waiting = deque(parts)
        self._running: deque[asyncio.Task[bytes]] = deque()
        self._outer = outer
        self._dispatch = dispatch
        self._tell = tell
        self._mark = mark
        self._clock = clock
        self._ends_s = clock.monotonic_s() + BATCH_S_MAX
        self._reading = asyncio.Lock()  # or all that run would be read at one go
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._is_closed:
            raise StopAsyncIteration
        while self._waiting and len(self._running) < PARTS_AT_ONCE:
            self._running.append(asyncio.create_task(self._answer_part(self._waiting.popleft())))
        if not self._running:
            self._is_closed = True
            return f"--{self._mark}--\r\n".encode()
        is_answered = False
        try:
            text = await self._running[0]
            is_answered = True
        finally:
            if not is_answered:
                await self.aclose()
        self._running.popleft()
        return f"--{self._mark}\r\n".encode() + text + b"\r\n"

    async def aclose(self) -> None:
        """Stop what runs and wait until it has stopped."""
        self._is_closed = True
        self._waiting.clear()
        running, self._running = tuple(self._running), deque()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _answer_part(self, part: Part) -> bytes:
        call: HttpRequest | None = None
        failure: BqgateError | None = None
        try:
            async with self._reading:
                await let_others_run()
                call = parse_call(part, self._outer)
            with nullcontext() if (share := share_of_call()) is None else share.part():
                answer = await self._dispatched(call)
                body = await _whole(answer)
        except BqgateError as error:
            failure, answer = error, answer_for_error(error)
            body = await _whole(answer)
            if isinstance(error, OUTAGES):
                note_cause(error)
        self._tell(call, answer, failure)
        return _part_text(header_of(part.headers, "content-id"), answer, body)

    async def _dispatched(self, call: HttpRequest) -> HttpResponse:
        if self._clock.monotonic_s() >= self._ends_s:
            raise UpstreamNotTried(f"the calls before this one in its batch took {BATCH_S_MAX} seconds")
        return await self._dispatch(call)


def parse_call(part: Part, outer: Headers = ()) -> HttpRequest:
    """The HTTP request inside a part.

    Raises:
        MalformedRequest: it is not one.
    """
    if (header_of(part.headers, "content-type") or "").partition(";")[0].strip().lower() != "application/http":
        raise MalformedRequest("A part of a batch must be application/http.", reason="badRequest")
    first, _, rest = part.content.lstrip(b"\r\n").partition(b"\n")
    method, path, query = _request_line(first)
    text = b"\n" + rest  # so that an empty line right below the request line ends the headers, too
    end_of_head = _END_OF_HEAD.search(text, 0, HEADER_BYTES_MAX + 4)
    head, body = (text, b"") if end_of_head is None else (text[: end_of_head.start()], text[end_of_head.end() :])
    headers = parse_headers(head)
    length = header_of(headers, "content-length")
    if length is not None:
        if _LENGTH.fullmatch(length) is None or int(length) > len(body):
            raise MalformedRequest("A part of the batch is shorter than its Content-Length.", reason="badRequest")
        body = body[: int(length)]
    own = {key.lower() for key, _ in headers}
    inherited = tuple((key, value) for key, value in outer if key.lower() not in own)
    kept = without(headers, {*_NOT_INHERITED, "content-length"})
    return HttpRequest(method, path, query, (*kept, *inherited), body)


def _request_line(text: bytes) -> tuple[str, str, str]:
    """Verb, path and query string. The URL may be whole; its host is not looked at."""
    if len(text) > HEADER_BYTES_MAX:
        raise MalformedRequest("A part of the batch has too long a request line.", reason="badRequest")
    words = text.decode("ascii", "replace").split()
    if len(words) not in {2, 3} or not words[0].isalpha() or not words[1].isascii():
        raise MalformedRequest("A part of the batch does not begin with a request line.", reason="badRequest")
    path, _, query = _HOST.sub("", words[1], count=1).partition("?")
    if not path.startswith("/"):
        raise MalformedRequest("A part of the batch has a URL without a path.", reason="badRequest")
    return words[0].upper(), path, query


def _inherited(headers: Headers) -> Headers:
    return tuple(
        (key, value) for key, value in without(headers, _NOT_INHERITED) if not key.lower().startswith("content-")
    )


async def _whole(answer: HttpResponse) -> bytes:
    try:
        return await read_bounded(answer.body, bytes_max=_ANSWER_BYTES_MAX)
    except BodyTooLarge:
        raise UpstreamUnavailable(f"An answer inside a batch is larger than {_ANSWER_BYTES_MAX} bytes.") from None
    finally:
        await close_body(answer.body)


def _part_text(content_id: str | None, answer: HttpResponse, body: bytes) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    lines = ["Content-Type: application/http"]
    if content_id is not None:
        name = content_id[1:-1] if content_id.startswith("<") and content_id.endswith(">") else content_id
        lines.append(f"Content-ID: <response-{name}>")
    lines += ["", f"HTTP/1.1 {answer.status} {phrase}"]
    lines += [f"{key}: {value}" for key, value in without(answer.headers, _ANSWER_FRAMING)]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
