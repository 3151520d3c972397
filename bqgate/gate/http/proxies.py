"""Restore the client's address, scheme and host where trusted reverse proxies stand before the gate.

Called by the middleware before anything looks at who calls, on both planes. With `server.trusted_proxies`, a request
from one of them has the address, scheme and host that the client used; otherwise it has the connection's own. The
gate's own address for this caller, used in the Location of an upload and in the discovery document, is what a trusted
proxy says, else `identity.public_url`, else the host of an absolute request target, else the Host header.
"""

from aiohttp import web

from bqgate.gate.http.call_notes import notes_of
from bqgate.wire.authority import target_authority
from bqgate.wire.forwarded import AsCalled, Networks, read_forwarded


def as_called(request: web.Request, *, trusted: Networks = (), public_url: str | None = None) -> web.Request:
    """The request as its client made it. What is noted of it is noted of the one that came."""
    notes = notes_of(request)
    in_target = target_authority(request.raw_path)
    if not trusted:
        notes.called_host = in_target or request.host
        notes.gate_address = public_url or ""
        return request
    told = _told(request, trusted)
    notes.called_host = told.host or in_target or request.host
    seen = request
    if told != AsCalled(request.remote or ""):
        seen = request.clone(remote=told.address, scheme=told.scheme or request.scheme)
        if in_target is None:  # of an absolute target aiohttp takes no host with a port
            seen = seen.clone(host=notes.called_host, remote=told.address, scheme=seen.scheme)
    if told.host is None and public_url is not None:
        notes.gate_address = public_url
    else:
        notes.gate_address = f"{seen.scheme}://{notes.called_host}{told.prefix}"
    return seen


def _told(request: web.Request, trusted: Networks) -> AsCalled:
    headers = tuple(request.headers.items())
    return read_forwarded(headers, request.forwarded, peer=request.remote or "", proxies=trusted)
