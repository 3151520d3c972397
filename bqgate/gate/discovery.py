"""Answer for the discovery document, from which clients learn BigQuery's addresses, with the gate's in their place.

Called by the dispatch step before anybody is asked who it is: clients read it before they log in, so it may cost
nothing. It is asked for upstream once an hour at most for each of its two paths, without anything of the caller's: no
credential, no header, no parameter. What is kept serves everybody while BigQuery is away, and for a day while it is
asked again in the background. A refusal is kept for a minute, a failure for some seconds. The text is kept in pieces
between which the caller's root is put in, and written in small chunks, so that a caller who does not read pins little.

Leaves an HttpResponse, or UpstreamUnavailable where there is no document yet.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from bqgate.domain.errors import BodyTooLarge, BqgateError, UpstreamNotTried, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.gate.body import close_body, read_bounded
from bqgate.gate.reply import error_answer
from bqgate.ports import Clock, Upstream
from bqgate.wire.http_message import Headers, HttpRequest, HttpResponse, without
from bqgate.wire.json_text import json_bytes, read_json
from bqgate.wire.query_string import values_of

FRESH_S = 3_600
STALE_S = 86_400
REFUSED_S = 60
FAILED_S = 5
_BYTES_MAX = 8 * 1024 * 1024  # the document has 0.4 MB in 2026
_REFUSAL_BYTES_MAX = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_API = "bigquery/v2/"
_VERSION = "v2"
# By its own path a service has one document for each version (https://cloud.google.com/docs/discovery/type-format).
_OF_SERVICE = "/$discovery/rest"
# The text depends on the host by which the gate was called: a cache between would give one caller another's.
_NOT_SHARED: Headers = (("Cache-Control", "private"),)
# What described the body as it came, or the moment and the asker.
_NOT_KEPT = frozenset(
    {
        "age",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-md5",
        "date",
        "etag",
        "expires",
        "last-modified",
    }
    | {"set-cookie", "transfer-encoding", "www-authenticate"}
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A document in pieces, between which the root belongs; or a refusal, which has one piece."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...]
    asked_s: float

    def answer(self, root: str, *, is_head: bool) -> HttpResponse:
        root_bytes = json.dumps(root)[1:-1].encode()
        length = sum(map(len, self.pieces)) + len(root_bytes) * (len(self.pieces) - 1)
        headers = (*self.headers, *_NOT_SHARED, ("Content-Length", str(length)))
        return HttpResponse(self.status, headers, b"" if is_head else _chunks(self.pieces, root_bytes))


class Discovery:
    """The documents that there are, by path."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def answer(self, call: HttpRequest, *, path: str, root: str) -> HttpResponse:
        """The document of one of the paths that routes.py knows, for a caller who reaches the gate at `root`.

        Raises:
            UpstreamUnavailable: BigQuery gives none, and none is kept.
        """
        if path == _OF_SERVICE and set(values_of(call.query, "version")) - {_VERSION}:
            return error_answer(404, "notFound", f"bqgate has the discovery document of version {_VERSION} only.")
        kept = self._kept.get(path)
        age_s = 0.0 if kept is None else self._clock.monotonic_s() - kept.asked_s
        if kept is None or age_s >= (FRESH_S if kept.status == 200 else REFUSED_S):
            asking = self._ask(path)
            if asking is not None and (kept is None or kept.status != 200 or age_s >= STALE_S):
                # Shielded: a caller that leaves must neither end the question nor have it asked again.
                await asyncio.shield(asking)
            kept = self._kept.get(path)
        if kept is None:
            _, why = self._failed[path]
            raise UpstreamNotTried(why, retry_after_s=FAILED_S)
        return kept.answer(root, is_head=call.method == "HEAD")

    async def close(self) -> None:
        """Stop asking."""
        asking = tuple(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _ask(self, path: str) -> asyncio.Task[None] | None:
        """The question that is under way, for all who wait; None: it failed a moment ago."""
        asking = self._asking.get(path)
        if asking is not None and not asking.done():
            return asking
        failed_s, _ = self._failed.get(path, (-float(FAILED_S), ""))
        if self._clock.monotonic_s() - failed_s < FAILED_S:
            return None
        self._asking[path] = asyncio.create_task(self._learn(path))
        return self._asking[path]

    async def _learn(self, path: str) -> None:
        call = HttpRequest(
            "GET",
            path,
            f"version={_VERSION}" if path == _OF_SERVICE else "",
            (("Accept", "application/json"), ("User-Agent", "bqgate")),
        )
        try:
            answer = await self._upstream.send(call, credential=Credential())
            try:
                new = await self._read(answer)
            finally:
                await close_body(answer.body)
        except BqgateError as error:
            self._failed[path] = (self._clock.monotonic_s(), str(error))
            return
        kept = self._kept.get(path)
        if new.status != 200 and kept is not None and kept.status == 200:
            self._failed[path] = (self._clock.monotonic_s(), "")
            return
        self._kept[path] = new

    async def _read(self, answer: HttpResponse) -> _Kept:
        """What an answer leaves to be kept.

        Raises:
            UpstreamUnavailable: it breaks off, or is no document.
        """
        asked_s = self._clock.monotonic_s()
        headers = without(answer.headers, _NOT_KEPT)
        try:
            if answer.status != 200:
                refusal = await read_bounded(answer.body, bytes_max=_REFUSAL_BYTES_MAX)
                return _Kept(answer.status, headers, (refusal,), asked_s)
            document = read_json((await read_bounded(answer.body, bytes_max=_BYTES_MAX)).decode())
        except (ValueError, RecursionError, BodyTooLarge):
            document = None
        if not isinstance(document, dict):
            raise UpstreamUnavailable("The discovery document is not a JSON object.")
        return _Kept(200, headers, _pieces(document), asked_s)


def _pieces(document: dict[str, Any]) -> tuple[bytes, ...]:
    """The document's text around the root."""
    mark = secrets.token_hex(16)
    document.pop("endpoints", None)  # regional addresses of BigQuery's own
    document |= {
        "rootUrl": f"{mark}/",
        "baseUrl": f"{mark}/{_API}",
        "basePath": f"/{_API}",
        "servicePath": _API,
        "batchPath": "batch/bigquery/v2",
    }
    if "mtlsRootUrl" in document:
        document["mtlsRootUrl"] = f"{mark}/"
    return tuple(json_bytes(document).split(mark.encode()))


async def _chunks(pieces: Sequence[bytes], root: bytes) -> AsyncIterator[bytes]:
    for number, piece in enumerate(pieces):
        if number:
            yield root
        for start in range(0, len(piece), _CHUNK_BYTES):
            yield piece[start : start + _CHUNK_BYTES]
