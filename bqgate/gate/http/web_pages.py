"""Refuse what only a web page sends: calls by a name that is not the gate's, and calls by pages of other origins.

Asked by the middleware on each port, behind proxies.py, before any route. A browser lets a page read answers of its own
origin alone, and whoever owns a name may let it lead to any address (DNS rebinding): so a gate that trusts whoever
reaches it answers to names that it knows, and to addresses, for which nobody can do that. A page of another origin
cannot read what it is answered, but what it sends would run: it is refused by its Origin, or by Sec-Fetch-Site where
there is none, but for a link that somebody follows to a page of the control plane. Whether a gate is alive and ready is
told by whatever name it is called: load balancers choose their own, and it is no secret.

Refusals are counted each, and logged once a minute with how many there were: a page may send thousands.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from bqgate.domain.errors import BqgateError, ForeignPage, MalformedRequest, UnknownHost
from bqgate.gate.batch_log import shown_path
from bqgate.gate.http.call_notes import notes_of
from bqgate.gate.http.http_server import DATA_PLANE
from bqgate.ports import Clock, Telemetry
from bqgate.wire.authority import KnownHosts, origin_at, read_authority, read_origin

LOG_EVERY_S = 60
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})

_STATUSES: dict[type[BqgateError], int] = {UnknownHost: 421, ForeignPage: 403, MalformedRequest: 400}
_SHOWN_CHARS_MAX = 300
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})
_READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
AnswerProblem = Callable[[int, str], web.Response]


@dataclass(frozen=True, slots=True)
class PageRules:
    """What the settings say of web pages.

    Where `checks_every_path` is not set, hosts are looked at on `open_paths` alone: they are answered without a login,
    and a page has none.
    """

    known_hosts: KnownHosts
    checks_every_path: bool
    open_paths: frozenset[str]
    refuses_foreign_pages: bool
    public_url: str | None


class PageGuard:
    """The step before any route. `answer_problem` writes a refusal of the control plane's."""

    def __init__(self, rules: PageRules, *, answer_problem: AnswerProblem, clock: Clock, telemetry: Telemetry) -> None:
        self._rules = rules
        self._answer_problem = answer_problem
        self._telemetry = telemetry
        self._log = _RefusalLog(clock, telemetry)

    def refusal(self, request: web.Request) -> web.Response | None:
        """The control plane's answer to what it does not take; None: the call may go on.

        Raises:
            UnknownHost, ForeignPage, MalformedRequest: the data plane does not take it.
        """
        try:
            _check_hosts(request, self._rules)
            if hdrs.ORIGIN in request.headers:
                notes_of(request).is_own_page = _is_own_page(request, self._rules.public_url)
            if self._rules.refuses_foreign_pages:
                _check_page(request)
        except (UnknownHost, ForeignPage, MalformedRequest) as refused:
            self._log.note(request, refused)
            if not _is_of_control_plane(request):
                raise
            failure = notes_of(request).failure = type(refused).__name__
            self._telemetry.count("refused_calls_total", reason=failure)
            return self._answer_problem(_STATUSES[type(refused)], refused.message)
        return None


class _RefusalLog:
    """Writes a line for the first refusal of each kind in a minute."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._written_at_s: dict[str, float] = {}
        self._unwritten: dict[str, int] = {}

    def note(self, request: web.Request, refused: BqgateError) -> None:
        """Tell of it now, or count it for the next line; the request's own line is left out."""
        if isinstance(refused, MalformedRequest):
            return  # as any other, it has the request's line
        notes = notes_of(request)
        notes.is_told_apart = True
        kind, now_s = type(refused).__name__, self._clock.monotonic_s()
        if now_s - self._written_at_s.get(kind, -math.inf) < LOG_EVERY_S:
            self._unwritten[kind] = self._unwritten.get(kind, 0) + 1
            return
        self._written_at_s[kind] = now_s
        self._telemetry.log(
            "web_page_refused",
            reason=kind,
            host=notes.called_host[:_SHOWN_CHARS_MAX],
            origin=request.headers.get(hdrs.ORIGIN, "")[:_SHOWN_CHARS_MAX],
            source=request.remote or "",
            path=shown_path(request.rel_url.raw_path),
            unwritten=self._unwritten.pop(kind, 0),
        )


def _check_hosts(request: web.Request, rules: PageRules) -> None:
    """Look at every host that a request names: in its target, in Host, and behind the proxies that are trusted.

    A name in one of them is no excuse for another: a page that reaches the gate past its proxy may write the proxy's
    headers.

    Raises:
        MalformedRequest: one is none.
        UnknownHost: one is not the gate's.
    """
    path = _resource_path(request)
    if path in HEALTH_PATHS:
        return
    is_checked = rules.checks_every_path or path in rules.open_paths
    called, host = notes_of(request).called_host, request.headers.get(hdrs.HOST, "")
    for text in filter(None, (called,) if called == host else sorted((called, host))):
        authority = read_authority(text)
        if authority is None:
            raise MalformedRequest("The host of the request is malformed.", reason="badRequest", field="Host")
        if is_checked and not rules.known_hosts.has(authority):
            raise UnknownHost(authority.host)


def _is_own_page(request: web.Request, public_url: str | None) -> bool:
    """Whether a page that the gate itself has served sends this, by where the browser sees the gate."""
    said = request.headers.getall(hdrs.ORIGIN)
    authority = read_authority(notes_of(request).called_host)
    own = {None if authority is None else origin_at(request.scheme, authority), read_origin(public_url or "")}
    return {read_origin(each) for each in said} <= own - {None}


def _check_page(request: web.Request) -> None:
    """Let pages of the gate's own pass, and callers that are no pages.

    Raises:
        ForeignPage: it is a page of another origin, or one that hides its own.
    """
    if hdrs.ORIGIN in request.headers:
        if not notes_of(request).is_own_page:
            raise ForeignPage(request.headers[hdrs.ORIGIN])
    elif request.headers.get("Sec-Fetch-Site") in _FOREIGN_SITES and not _is_followed_link(request):
        raise ForeignPage("")


def _is_followed_link(request: web.Request) -> bool:
    """Whether somebody went from a foreign page to one of the control plane: the foreign page cannot read it."""
    told = (request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest"))
    return told == ("navigate", "document") and request.method in _READS and _is_of_control_plane(request)


def _is_of_control_plane(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    if resource is None:  # no route: an answer of aiohttp's own
        return DATA_PLANE not in request.app.router.named_resources()
    return resource.name != DATA_PLANE


def _resource_path(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical
