"""Give every request an id and every failure an answer. The outermost step; one of two places that catch everything.

Installed by app around all routes. A failure of the project's own kind becomes the answer that gate.reply has for it;
anything else is a bug: one log line with where it happened (not what was in it, which may be a credential), and a 500
internalError in BigQuery's form. A failure after the answer has begun can not be told any more; the connection ends.
"""

import secrets
import traceback
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from bqgate.domain.errors import OUTAGES, BqgateError
from bqgate.gate.door import CORS_ORIGIN, FAILURE, REQUEST_ID, send
from bqgate.gate.reply import answer_for_error, error_answer
from bqgate.observe.request_fields import note_cause
from bqgate.ports import Journal
from bqgate.wire.exchange import Answer

REQUEST_ID_HEADER = "X-Bqgate-Request-Id"
_FRAMES_TOLD = 5
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def install(app: web.Application, journal: Journal) -> None:
    """Put the outermost step around an application."""

    @web.middleware
    async def edge(request: web.Request, handler: _Handler) -> web.StreamResponse:
        request[REQUEST_ID] = secrets.token_hex(8)
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError):
            raise
        except BqgateError as error:
            failure: Exception = error
            answer = answer_for_error(error)
            if isinstance(error, OUTAGES):
                note_cause(error)
        except Exception as error:  # noqa: BLE001 - the edge: a bug must end as BigQuery's internalError
            failure = error
            answer = _answer_for_bug(request, error, journal)
        request[FAILURE] = type(failure).__name__
        journal.count("refused_calls_total", reason=request[FAILURE])
        if request.transport is None or request.transport.is_closing():
            journal.note("answer_cut_off", request_id=request[REQUEST_ID], error=type(failure).__name__)
            raise ConnectionResetError("the answer had begun") from failure
        return await send(request, answer)

    app.middlewares.append(edge)
    app.on_response_prepare.append(_mark_answer)


def _answer_for_bug(request: web.Request, error: Exception, journal: Journal) -> Answer:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_TOLD:]
    journal.note(
        "bug",
        request_id=request[REQUEST_ID],
        error=type(error).__name__,
        where=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    )
    message = f"An internal error occurred in bqgate; the request id is {request[REQUEST_ID]}."
    return error_answer(500, "internalError", message)


async def _mark_answer(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault(REQUEST_ID_HEADER, request.get(REQUEST_ID, ""))
    origin = request.get(CORS_ORIGIN)
    if origin is not None and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in response.headers:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "*"
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
