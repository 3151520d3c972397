"""Give every request an id and every failure an answer. The outermost step; one of two places that catch everything.

Installed by app around all routes, with what looks at every call before its route: framing.py, proxies.py and
web_pages.py. gate/reply.py says how each of the project's errors is answered. Anything else is a bug: one log line with
where it happened (not what was in it, which may be a credential), and a 500 internalError in BigQuery's format. Once an
answer has begun or its caller has left, nobody can be told: the connection is closed (aborted_calls.py), and a log line
and a counter say who broke off. No exception leaves, because aiohttp would take it for a bug of the server's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from bqgate.domain.errors import OUTAGES, BqgateError, MalformedRequest
from bqgate.gate.http.aborted_calls import STOPPING, Side, cut, is_gone, note_side
from bqgate.gate.http.call_notes import notes_of
from bqgate.gate.http.framing import refused_framing
from bqgate.gate.http.http_server import mark_answer, send
from bqgate.gate.http.proxies import as_called
from bqgate.gate.reply import answer_for_error, error_answer
from bqgate.observe.bugs import frames_of
from bqgate.observe.request_fields import note_cause
from bqgate.ports import Telemetry
from bqgate.ports.ids import new_id
from bqgate.wire.http_message import HttpResponse

_REQUEST_ID_CHARS = 16
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _no_refusal(_request: web.Request) -> None:
    """Let every page call."""


@dataclass(frozen=True, slots=True)
class _Steps:
    telemetry: Telemetry
    called: Callable[[web.Request], web.Request]
    page_refusal: Callable[[web.Request], web.Response | None]


def install(
    app: web.Application,
    telemetry: Telemetry,
    *,
    called: Callable[[web.Request], web.Request] = as_called,
    page_refusal: Callable[[web.Request], web.Response | None] = _no_refusal,
) -> None:
    """Put the outermost step around an application.

    Args:
        app: the application.
        telemetry: hears of failures.
        called: makes of a request the one that its client made.
        page_refusal: the answer to a web page that may not call; None: it may, or is none.
    """
    steps = _Steps(telemetry, called, page_refusal)

    @web.middleware
    async def edge(request: web.Request, handler: _Handler) -> web.StreamResponse:
        notes = notes_of(request)
        notes.request_id = new_id()[-_REQUEST_ID_CHARS:]
        try:
            response = await _answered(request, handler, steps)
        except web.HTTPException as refused:
            mark_answer(refused.headers, notes)
            raise
        except asyncio.CancelledError as error:
            note_side(request, error)
            telemetry.count("aborted_calls_total", by=notes.broken_off_by)
            raise
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leave that aiohttp would not understand
            return _broken_off(request, error, telemetry)
        if not response.prepared:
            mark_answer(response.headers, notes)
        return response

    async def note_stop(app: web.Application) -> None:
        app[STOPPING].set()

    app[STOPPING] = asyncio.Event()
    app.on_shutdown.append(note_stop)
    app.middlewares.append(edge)


async def _answered(request: web.Request, handler: _Handler, steps: _Steps) -> web.StreamResponse:
    """The handler's answer, or one for its failure while that can still be told."""
    refusal = refused_framing(request)
    if refusal is not None:
        notes_of(request).failure = MalformedRequest.__name__
        steps.telemetry.count("refused_calls_total", reason=MalformedRequest.__name__)
        return await send(request, refusal)
    try:
        seen = steps.called(request)
        return steps.page_refusal(seen) or await handler(seen)
    except web.HTTPException:
        raise
    except Exception as error:
        if notes_of(request).begun is not None or is_gone(request):
            raise
        _tell_failure(request, error, steps.telemetry)
        answer = _answer_for(request, error)
    return await send(request, answer)


def _tell_failure(request: web.Request, error: Exception, telemetry: Telemetry) -> None:
    notes = notes_of(request)
    notes.failure = type(error).__name__
    telemetry.count("refused_calls_total", reason=notes.failure)
    if isinstance(error, OUTAGES):
        note_cause(error)
    if not isinstance(error, BqgateError):
        telemetry.log("bug", request_id=notes.request_id, error=notes.failure, where=frames_of(error))


def _broken_off(request: web.Request, error: Exception, telemetry: Telemetry) -> web.StreamResponse:
    """End the connection and tell of it. What is returned is written by nobody: there is no connection left."""
    note_side(request, error)
    notes = notes_of(request)
    telemetry.count("aborted_calls_total", by=notes.broken_off_by)
    if notes.broken_off_by != Side.CALLER:  # who left is told by the request's own line
        _tell_failure(request, error, telemetry)
        cause = {"cause": str(error)} if isinstance(error, OUTAGES) else {}
        telemetry.log("answer_cut_off", request_id=notes.request_id, error=notes.failure, **cause)
    cut(request)
    return notes.begun or web.Response(status=503)


def _answer_for(request: web.Request, error: Exception) -> HttpResponse:
    if isinstance(error, BqgateError):
        return answer_for_error(error)
    message = f"An internal error occurred in bqgate; the request id is {notes_of(request).request_id}."
    return error_answer(500, "internalError", message)
