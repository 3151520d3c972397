"""Serve the data plane: aiohttp's requests come in as HttpRequest, HttpResponse values go out, both streamed.

Registered by app below every other route; calls dispatch.py. Nothing is buffered: a body is read chunk by chunk and
written as fast as the caller takes it; a small one that came with its head is bytes from the start, and a small answer
that is whole goes out in one piece. When the caller disconnects, the handler is cancelled (SERVER_OPTIONS) and the
answer's body closed, which closes the connection to BigQuery. An answer that breaks off upstream breaks off here too,
without the end of the body, so that no client takes half of it for the whole.

Framing: RFC 9112 sections 6 and 7. "Expect: 100-continue" is answered when the body is first read (RFC 9110 section
10.1.1), so that a refused caller sends none. Errors leave as they are; the middleware answers them.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from bqgate.domain.errors import BodyTooSlow, MalformedRequest
from bqgate.gate.body import close_body
from bqgate.gate.body_room import GRANTED_BYTES, BodyRoom
from bqgate.gate.credential import credential_of
from bqgate.gate.dispatch import Dispatcher
from bqgate.gate.http.aborted_calls import cut, note_side, reset_on_close
from bqgate.gate.http.call_notes import CallNotes, notes_of
from bqgate.gate.http.router import LinearRouter
from bqgate.gate.reply import error_answer
from bqgate.gate.routes import resolve
from bqgate.ports.turns import let_others_run
from bqgate.wire.http_message import Headers, HttpRequest, HttpResponse, indexed, named_in, without

# For web.AppRunner. Lines: BigQuery takes URLs and headers of 16 KiB together
# (https://cloud.google.com/bigquery/quotas) and aiohttp only 8 KiB unless told. No access log: URLs may bear tokens.
SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "handler_cancellation": True,
    "max_field_size": 32 * 1024,
    "max_line_size": 32 * 1024,
    # aiohttp reads on after so many bytes, or a quarter as many chunks of a body: few, as one may send a byte in each.
    "read_bufsize": 8 * 1024,
}
_REQUEST_ID_HEADER = "X-Bqgate-Request-Id"
DATA_PLANE = "data_plane"  # the name of the data plane's one resource
_FRAMING = frozenset({"connection", "transfer-encoding"})
_VERBS = "GET, POST, PUT, PATCH, DELETE"


class HttpServer:
    """The data plane's one aiohttp handler."""

    def __init__(self, dispatcher: Dispatcher, room: BodyRoom) -> None:
        self._dispatcher = dispatcher
        self._room = room

    async def serve_data_plane(self, request: web.Request) -> web.StreamResponse:
        """Answer any request that no other route took."""
        call = read_call(request, stall_s=self._room.limits.stall_s)
        if request.method == hdrs.METH_OPTIONS:
            return await send(request, _preflight(request, call))
        if _is_from_foreign_page(request):
            # A web page may make a browser on this network send anything; without a token it speaks for nobody.
            if credential_of(call).authorization is None:
                challenge = ("WWW-Authenticate", 'Bearer realm="bqgate"')
                message = "Requests from web pages of other origins must bear credentials."
                return await send(request, error_answer(401, "required", message, headers=(challenge,)))
            notes_of(request).cors_origin = request.headers[hdrs.ORIGIN]
        with self._room.share(call.peer):
            answer = await self._dispatcher.dispatch(call, origin=origin_of(request))
            return await send(request, answer)


def add_data_plane(app: web.Application, server: HttpServer) -> None:
    """Register the HTTP server for every path; other routes must be added before."""
    everything = app.router.add_resource("/{tail:.*}", name=DATA_PLANE)
    route = everything.add_route("*", server.serve_data_plane, expect_handler=_expect_later)
    if isinstance(app.router, LinearRouter):
        app.router.lead(route)


def read_call(request: web.Request, *, stall_s: float) -> HttpRequest:
    """The request as a plain value. Reading its body fails where it stands still for `stall_s` seconds.

    Raises:
        MalformedRequest: the target or a header is not text that can be sent on.
    """
    target = request.raw_path
    if not target.startswith("/"):
        parts = urlsplit(target)  # absolute form, as sent to proxies (RFC 9112 section 3.2.2)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    path, _, query = target.partition("?")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise MalformedRequest("The URL must be percent-encoded.", reason="badRequest")
    if not _can_be_sent("".join(request.headers.values())):
        raise MalformedRequest("A header is not UTF-8.", reason="badRequest")
    fields = CIMultiDict(request.headers)
    # Without what Connection names, or the gate would judge by what BigQuery never sees.
    for name in named_in(fields.popall(hdrs.CONNECTION, [])):
        fields.popall(name, None)
    headers, body = indexed(tuple(fields.items())), _body_of(request, stall_s)
    return HttpRequest(request.method, path, query, headers, body, request.remote or "", notes_of(request).request_id)


def _body_of(request: web.Request, stall_s: float) -> bytes | AsyncIterator[bytes]:
    """The body: what is whole already and always has room, as bytes; else as it comes."""
    if not request.body_exists:
        return b""
    content = request.content
    if content.is_eof() and content.exception() is None and content.total_bytes <= GRANTED_BYTES:
        return content.read_nowait()
    return RequestBody(request, stall_s)


def origin_of(request: web.Request) -> str:
    """The gate's address as the caller reaches it, without a slash at its end."""
    notes = notes_of(request)
    return notes.gate_address or f"{request.scheme}://{notes.called_host or request.host}"


class RequestBody:
    """The caller's body, read on demand."""

    def __init__(self, request: web.Request, stall_s: float) -> None:
        self._request = request
        self._stall_s = stall_s
        expected = request.headers.get(hdrs.EXPECT, "").lower()
        # Who speaks HTTP/1.0 would take it for the answer (RFC 9110 section 10.1.1).
        self._must_ask = expected == "100-continue" and request.version >= HttpVersion11

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._must_ask:
                self._must_ask = False
                writer = self._request.writer
                await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                writer.output_size = 0  # as in aiohttp's own handler: nothing of the answer has gone out
            async with asyncio.timeout(self._stall_s):
                chunk = await self._request.content.readany()
        except TimeoutError:
            raise BodyTooSlow(math.ceil(self._stall_s)) from None
        except (ConnectionError, web.RequestPayloadError):
            raise MalformedRequest("The request body is cut off.", reason="badRequest") from None
        if not chunk:
            raise StopAsyncIteration
        await let_others_run()  # where more is there already, the next reading would not wait
        return chunk


async def send(request: web.Request, answer: HttpResponse) -> web.StreamResponse:
    """Write an answer to the caller, to its end, or cut its connection. The answer's body is closed in every case.

    "Connection: close" among its headers ends the connection behind it.

    Raises:
        ConnectionError: the caller is gone.
        BqgateError: the body failed while it was read.
    """
    body = answer.body
    notes = notes_of(request)
    response = notes.begun = _response(request, answer, notes)
    is_whole = False
    try:
        await response.prepare(request)
        if not isinstance(body, bytes) and request.method != hdrs.METH_HEAD:
            reset_on_close(request, response, is_on=True)
            async for chunk in body:
                await response.write(chunk)
        await response.write_eof()
        if not isinstance(body, bytes):
            reset_on_close(request, response, is_on=False)
        is_whole = True
    except BaseException as error:
        note_side(request, error)
        raise
    finally:
        try:
            if not isinstance(body, bytes):
                await close_body(body)
        finally:
            if not is_whole:
                cut(request)
    if request.content.exception() is not None:
        # The body that came with it broke off, so where the next request begins nobody knows.
        request.protocol.force_close()
    return response


def _response(request: web.Request, answer: HttpResponse, notes: CallNotes) -> web.StreamResponse:
    """An answer as aiohttp writes it; one that is whole goes out in one piece."""
    headers = CIMultiDict(list(without(answer.headers, _FRAMING)))
    mark_answer(headers, notes)
    response: web.StreamResponse
    if not isinstance(answer.body, bytes):
        response = web.StreamResponse(status=answer.status, headers=headers)
    elif request.method == hdrs.METH_HEAD:
        response = web.StreamResponse(status=answer.status, headers=headers)
        if answer.body:
            response.content_length = len(answer.body)
    else:
        headers[hdrs.CONTENT_LENGTH] = str(len(answer.body))
        response = web.Response(status=answer.status, headers=headers, body=answer.body)
    if (answer.header("connection") or "").lower() == "close":
        response.force_close()
    return response


def mark_answer(headers: CIMultiDict[str], notes: CallNotes) -> None:
    """Add the request's id, and who may read the answer, to the headers of an answer that has not begun."""
    headers.setdefault(_REQUEST_ID_HEADER, notes.request_id)
    if notes.cors_origin and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in headers:
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = notes.cors_origin
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "*"
        headers.add(hdrs.VARY, hdrs.ORIGIN)


def _preflight(request: web.Request, call: HttpRequest) -> HttpResponse:
    """What a browser asks before a page of another origin may call (https://fetch.spec.whatwg.org/#http-cors-protocol).

    Raises:
        UnsupportedRequest: the page wants to call what the data plane does not have.
    """
    resolve(request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD, hdrs.METH_OPTIONS), call.path)
    wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "authorization")
    names = [name.strip() for name in wanted.split(",")]
    headers: Headers = (
        ("Access-Control-Allow-Origin", request.headers.get(hdrs.ORIGIN, "*")),
        ("Access-Control-Allow-Methods", _VERBS),
        ("Access-Control-Allow-Headers", ", ".join(name for name in names if not _is_of_proxies(name))),
        ("Access-Control-Max-Age", "3600"),
        ("Vary", "Origin"),
    )
    return HttpResponse(204, headers)


def _is_of_proxies(name: str) -> bool:
    """Whether a header says how a call reached the gate: by one that a proxy hands on, any page would be the gate's."""
    return name.lower() == "forwarded" or name.lower().startswith("x-forwarded-")


def _is_from_foreign_page(request: web.Request) -> bool:
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return False
    notes = notes_of(request)
    return not notes.is_own_page and origin.partition("://")[2] != (notes.called_host or request.host)


def _can_be_sent(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _expect_later(_request: web.Request) -> None:
    """Leave 100-continue to the first read of the body."""
