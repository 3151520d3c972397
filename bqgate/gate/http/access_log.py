"""Write one log line for each request: what was asked, what was answered, how long it took.

Installed by app outside middleware.py, so that errors are seen too. The query string is left out, which may hold a key
or an upload's token. Decision, reason, cost and balance come from the answer's headers; the request id of a query is
its hold's id, by which the ledger knows the rest. Where there was no whole answer, the status is a word. Calls of a
batch have lines of their own (batch_log.py). Health checks and scrapes are left out, and so is what web_pages.py
refuses, which it tells of itself.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from bqgate.gate.batch_log import METHOD_CHARS_MAX, TOLD_HEADERS, shown_path
from bqgate.gate.http.aborted_calls import Side
from bqgate.gate.http.call_notes import CallNotes, notes_of
from bqgate.observe.request_fields import begin_request, noted_fields
from bqgate.ports import Clock, Telemetry

_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_STATUS_WORDS = {
    Side.CALLER: "caller_gone",
    Side.STOP: "gate_stopped",
    Side.UPSTREAM: "answer_cut_off",
    Side.BUG: "answer_cut_off",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def install(app: web.Application, telemetry: Telemetry, clock: Clock) -> None:
    """Put the line around an application; before anything else is installed."""

    @web.middleware
    async def noted(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.rel_url.raw_path in _PROBES:
            return await handler(request)
        started_s = clock.monotonic_s()
        begin_request()
        notes = notes_of(request)
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
            return response
        finally:
            if not notes.is_told_apart:
                duration_ms = round((clock.monotonic_s() - started_s) * 1000)
                _write_line(request, notes, response, duration_ms, telemetry)

    app.middlewares.append(noted)


def _write_line(
    request: web.Request,
    notes: CallNotes,
    response: web.StreamResponse | None,
    duration_ms: int,
    telemetry: Telemetry,
) -> None:
    shown = response if response is not None else notes.begun
    headers = shown.headers if shown is not None else {}
    told = {field: value for field, header in TOLD_HEADERS if (value := headers.get(header))}
    if notes.request_id:
        told.setdefault("request_id", notes.request_id)
    if notes.failure:
        told["reason"] = notes.failure
    telemetry.log(
        "request",
        method=request.method[:METHOD_CHARS_MAX],
        path=shown_path(request.rel_url.raw_path),
        status=_status(notes, response),
        duration_ms=duration_ms,
        **noted_fields(),
        **told,
    )


def _status(notes: CallNotes, response: web.StreamResponse | None) -> int | str:
    """The answer's, where it was sent to its end; else who broke off."""
    if notes.broken_off_by:
        return _STATUS_WORDS[Side(notes.broken_off_by)]
    return response.status if response is not None else _STATUS_WORDS[Side.CALLER]
