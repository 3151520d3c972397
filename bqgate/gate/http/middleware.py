"""Give every request an id and every failure an answer. The outermost step; one of two places that catch everything.

Installed by app around all routes. gate/reply.py says how each of the project's errors is answered. Anything else is a
bug: one log line with where it happened (not what was in it, which may be a credential), and a 500 internalError in
BigQuery's format. Once an answer has begun or its caller has left, nobody can be told: the connection is closed
(aborted_calls.py), and a log line and a counter say who broke off. No exception leaves, because aiohttp would take it
for a bug of the server's.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from bqgate.domain.errors import OUTAGES, BqgateError, MalformedRequest
from bqgate.gate.http.aborted_calls import BEGUN, BROKEN_OFF_BY, STOPPING, Side, cut, is_gone, note_side
from bqgate.gate.http.framing import refused_framing
from bqgate.gate.http.http_server import CORS_ORIGIN, FAILURE, REQUEST_ID, send
from bqgate.gate.reply import answer_for_error, error_answer
from bqgate.observe.bugs import frames_of
from bqgate.observe.request_fields import note_cause
from bqgate.ports import Telemetry
from bqgate.ports.ids import new_id
from bqgate.wire.http_message import HttpResponse

REQUEST_ID_HEADER = "X-Bqgate-Request-Id"
_REQUEST_ID_CHARS = 16
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def install(app: web.Application, telemetry: Telemetry) -> None:
    """Put the outermost step around an application."""

    @web.middleware
    async def edge(request: web.Request, handler: _Handler) -> web.StreamResponse:
        request[REQUEST_ID] = new_id()[-_REQUEST_ID_CHARS:]
        try:
            return await _answered(request, handler, telemetry)
        except web.HTTPException:
            raise
        except asyncio.CancelledError as error:
            note_side(request, error)
            telemetry.count("aborted_calls_total", by=request[BROKEN_OFF_BY])
            raise
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leave that aiohttp would not understand
            return _broken_off(request, error, telemetry)

    async def note_stop(app: web.Application) -> None:
        app[STOPPING].set()

    app[STOPPING] = asyncio.Event()
    app.on_shutdown.append(note_stop)
    app.middlewares.append(edge)
    app.on_response_prepare.append(_mark_answer)


async def _answered(request: web.Request, handler: _Handler, telemetry: Telemetry) -> web.StreamResponse:
    """The handler's answer, or one for its failure while that can still be told."""
    refusal = refused_framing(request)
    if refusal is not None:
        request[FAILURE] = MalformedRequest.__name__
        telemetry.count("refused_calls_total", reason=request[FAILURE])
        return await send(request, refusal)
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        if BEGUN in request or is_gone(request):
            raise
        _tell_failure(request, error, telemetry)
        answer = answer_for_error(error) if isinstance(error, BqgateError) else _answer_for_bug(request)
    return await send(request, answer)


def _tell_failure(request: web.Request, error: Exception, telemetry: Telemetry) -> None:
    request[FAILURE] = type(error).__name__
    telemetry.count("refused_calls_total", reason=request[FAILURE])
    if isinstance(error, OUTAGES):
        note_cause(error)
    if not isinstance(error, BqgateError):
        telemetry.log("bug", request_id=request[REQUEST_ID], error=request[FAILURE], where=frames_of(error))


def _broken_off(request: web.Request, error: Exception, telemetry: Telemetry) -> web.StreamResponse:
    """End the connection and tell of it. What is returned is written by nobody: there is no connection left."""
    note_side(request, error)
    by = request[BROKEN_OFF_BY]
    telemetry.count("aborted_calls_total", by=by)
    if by != Side.CALLER:  # who left is told by the request's own line
        _tell_failure(request, error, telemetry)
        cause = {"cause": str(error)} if isinstance(error, OUTAGES) else {}
        telemetry.log("answer_cut_off", request_id=request[REQUEST_ID], error=request[FAILURE], **cause)
    cut(request)
    return request.get(BEGUN) or web.Response(status=503)


def _answer_for_bug(request: web.Request) -> HttpResponse:
    message = f"An internal error occurred in bqgate; the request id is {request[REQUEST_ID]}."
    return error_answer(500, "internalError", message)


async def _mark_answer(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault(REQUEST_ID_HEADER, request.get(REQUEST_ID, ""))
    origin = request.get(CORS_ORIGIN)
    if origin is not None and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in response.headers:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "*"
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
