"""Restore the client's address, scheme and host where trusted reverse proxies stand before the gate.

Installed by app inside the other outermost steps, around both planes. With `server.trusted_proxies`, a request from one
of them has the address, scheme and host that the client used; otherwise it has the connection's own. The gate's own
address for this caller, used in the Location of an upload and in the discovery document, is what a trusted proxy says,
else `identity.public_url`, else the host of an absolute request target, else the Host header.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from bqgate.gate.http.http_server import CALLED_HOST, GATE_ADDRESS
from bqgate.wire.authority import target_authority
from bqgate.wire.forwarded import AsCalled, Networks, read_forwarded

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def install(app: web.Application, *, trusted: Networks, public_url: str | None) -> None:
    """Put the step around an application; after everything that only tells and answers for failures."""

    @web.middleware
    async def as_called(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not trusted:
            request[CALLED_HOST] = target_authority(request.raw_path) or request.host
            request[GATE_ADDRESS] = public_url or f"{request.scheme}://{request[CALLED_HOST]}"
            return await handler(request)
        told = _told(request, trusted)
        request[CALLED_HOST] = told.host or target_authority(request.raw_path) or request.host
        if told == AsCalled(request.remote or ""):
            request[GATE_ADDRESS] = _address(told, request, public_url)
            return await handler(request)
        seen = request.clone(remote=told.address, scheme=told.scheme or request.scheme)
        if target_authority(request.raw_path) is None:  # of an absolute target aiohttp takes no host with a port
            seen = seen.clone(host=request[CALLED_HOST], remote=told.address, scheme=seen.scheme)
        seen[GATE_ADDRESS] = _address(told, seen, public_url)
        try:
            return await handler(seen)
        finally:
            request.update(seen)  # what was noted inside is read outside: the answer's headers, the line in the log

    app.middlewares.append(as_called)


def _told(request: web.Request, trusted: Networks) -> AsCalled:
    headers = tuple(request.headers.items())
    return read_forwarded(headers, request.forwarded, peer=request.remote or "", proxies=trusted)


def _address(told: AsCalled, seen: web.Request, public_url: str | None) -> str:
    if told.host is None and public_url is not None:
        return public_url
    return f"{seen.scheme}://{seen[CALLED_HOST]}{told.prefix}"
