"""Close a caller's connection when its answer cannot be completed, and note who broke off.

Used by the HTTP server, which writes answers, and by the middleware, which logs what became of them. A caller must
never take half an answer for all of it. Where the answer has a length or is chunked, the missing end shows; where it
ends with the connection (HTTP/1.0) only a reset does, so the connection is reset.
"""

import asyncio
import socket
import struct
from enum import StrEnum

from aiohttp import hdrs, web

from bqgate.domain.errors import BqgateError
from bqgate.gate.http.call_notes import notes_of

# Set when the application is told to stop: what is cancelled from then on is so by the gate.
STOPPING = web.AppKey("STOPPING", asyncio.Event)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
_END_ON_CLOSE = struct.pack("ii", 0, 0)


class Side(StrEnum):
    """Who broke off."""

    CALLER = "caller"  # it left, or its request body broke off
    UPSTREAM = "upstream"  # BigQuery, or what stands between
    STOP = "stop"  # the gate was told to stop, and has waited as long as it may
    BUG = "bug"


def is_gone(request: web.Request) -> bool:
    """Whether nobody would hear an answer any more."""
    return request.transport is None or request.transport.is_closing()


def note_side(request: web.Request, error: BaseException) -> None:
    """Remember who broke off, as the error shows it; the first one holds, what follows is its consequence."""
    notes = notes_of(request)
    if notes.broken_off_by:
        return
    stopping = request.app.get(STOPPING)
    if isinstance(error, asyncio.CancelledError) and stopping is not None and stopping.is_set():
        side = Side.STOP
    elif is_gone(request) or isinstance(error, ConnectionError | asyncio.CancelledError):
        side = Side.CALLER
    else:
        side = Side.UPSTREAM if isinstance(error, BqgateError) else Side.BUG
    notes.broken_off_by = side


def reset_on_close(request: web.Request, response: web.StreamResponse, *, is_on: bool) -> None:
    """Have the connection end by a reset from now on, or no longer, where only its end shows the answer's.

    Said before the body is written: whoever closes the connection meanwhile, the caller notices.
    """
    if response.content_length is not None or hdrs.TRANSFER_ENCODING in response.headers or request.transport is None:
        return
    sock = request.transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE if is_on else _END_ON_CLOSE)


def cut(request: web.Request) -> None:
    """Close the caller's connection now; what was not sent yet is not sent. Does nothing where it is closed."""
    if request.transport is not None:
        request.transport.abort()
