"""Send on what costs nothing that a budget covers, streamed and unchanged.

Called by the dispatch step; calls the Upstream port and leaves its answer. Two things name BigQuery's own address and
would lead the caller past the gate, so they are rewritten: the Location of a resumable upload
(https://cloud.google.com/bigquery/docs/reference/api-uploads) and the addresses in the discovery document. The gate's
address is the one that the caller used, with its /w/{workload}. Errors are the port's.
"""

from dataclasses import replace
from urllib.parse import urlsplit

from bqgate.domain.errors import BodyTooLarge, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.gate.body import read_bounded
from bqgate.gate.credential import credential_of
from bqgate.gate.routes import Route
from bqgate.ports import Upstream
from bqgate.wire.exchange import Answer, Call, without
from bqgate.wire.json_text import json_bytes, read_json

_DISCOVERY_BYTES_MAX = 8 * 1024 * 1024  # the document has 0.4 MB in 2026
_API = "bigquery/v2/"
_BODY_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding", "etag", "content-md5"})
# An answer that must be read has to be whole and unpacked.
_PARTIAL_HEADERS = frozenset({"accept-encoding", "if-none-match", "if-modified-since", "range"})


class Passthrough:
    """The way to BigQuery for calls that are not metered."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def send(self, call: Call, credential: Credential) -> Answer:
        """Forward a call as it is."""
        return await self._upstream.exchange(call, credential=credential)

    async def send_discovery(self, call: Call, *, root: str) -> Answer:
        """Forward a request for the discovery document and put the gate's address into the answer."""
        call = replace(call, headers=without(call.headers, _PARTIAL_HEADERS))
        answer = await self.send(call, credential_of(call))
        if answer.status != 200 or call.method == "HEAD":
            return answer
        try:
            document = read_json((await read_bounded(answer.body, bytes_max=_DISCOVERY_BYTES_MAX)).decode())
        except (ValueError, BodyTooLarge):
            document = None
        finally:
            close = getattr(answer.body, "aclose", None)
            if close is not None:
                await close()
        if not isinstance(document, dict):
            raise UpstreamUnavailable("The discovery document is not a JSON object.")
        document.pop("endpoints", None)  # regional addresses of BigQuery's own
        document |= {
            "rootUrl": f"{root}/",
            "baseUrl": f"{root}/{_API}",
            "basePath": f"/{_API}",
            "servicePath": _API,
            "batchPath": "batch/bigquery/v2",
        }
        if "mtlsRootUrl" in document:
            document["mtlsRootUrl"] = f"{root}/"
        return Answer(200, without(answer.headers, _BODY_HEADERS), json_bytes(document))


def gate_root(origin: str, route: Route) -> str:
    """The gate's address as this caller uses it, without a slash at the end."""
    return origin if route.workload is None else f"{origin}/w/{route.workload}"


def with_gate_location(answer: Answer, *, root: str) -> Answer:
    """The same answer with its Location pointing to the gate, so that the chunks of an upload come this way too."""
    headers = tuple((key, _moved(value, root) if key.lower() == "location" else value) for key, value in answer.headers)
    return replace(answer, headers=headers)


def _moved(location: str, root: str) -> str:
    parts = urlsplit(location)
    return f"{root}{parts.path}?{parts.query}" if parts.query else f"{root}{parts.path}"
