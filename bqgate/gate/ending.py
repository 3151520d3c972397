"""End a call whose answer cannot be whole: cut the caller's connection so that it notices, and say who broke off.

Used by the door, which writes answers, and by the middleware, which tells of what became of them. A caller that gets
half an answer must never take it for all of it. Where the answer has a length or comes in chunks the missing end shows
that; where it ends with the connection (HTTP/1.0) only a reset does, so the connection is reset.
"""

import asyncio
import socket
import struct
from enum import StrEnum

from aiohttp import hdrs, web

from bqgate.domain.errors import BqgateError

# The answer of which something may have gone out.
BEGUN = web.RequestKey("BEGUN", web.StreamResponse)
# Who broke off, where the call did not end as it should.
BROKEN_OFF_BY = web.RequestKey("BROKEN_OFF_BY", str)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


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
    if BROKEN_OFF_BY in request:
        return
    if is_gone(request) or isinstance(error, ConnectionError):
        side = Side.CALLER
    elif isinstance(error, asyncio.CancelledError):
        side = Side.STOP
    else:
        side = Side.UPSTREAM if isinstance(error, BqgateError) else Side.BUG
    request[BROKEN_OFF_BY] = side


def cut(request: web.Request) -> None:
    """Close the caller's connection now; what was not sent yet is not sent. Does nothing where it is closed."""
    transport = request.transport
    if transport is None:
        return
    begun = request.get(BEGUN)
    if begun is not None and begun.content_length is None and hdrs.TRANSFER_ENCODING not in begun.headers:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
