"""Make the gate's own calls to BigQuery and read their answers as JSON, within bounds.

Used by jobs.py and own_queries.py. What leaves: a JSON object, or the ports' errors: 4xx, also 429, is UpstreamRefused
with BigQuery's own body; 5xx, no answer, or an answer that is not JSON is UpstreamUnavailable, after other attempts
where retrying.py allows them. So only calls that may be made twice without harm go this way.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from bqgate.bigquery.retrying import Retries
from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.ports import Upstream
from bqgate.ports.turns import read_in_turns
from bqgate.wire.http_message import HttpRequest, HttpResponse, indexed
from bqgate.wire.json_slices import SMALL_CHARS_MAX, JsonSlices
from bqgate.wire.json_text import json_bytes, read_answer

# A dry run of a very long query takes a few seconds; a caller waits meanwhile, and clients give up at 60.
TIMEOUT_S = 30.0
_ANSWER_BYTES_MAX = 32 * 1024 * 1024
_ANSWER_VALUES_MAX = 500_000  # 200 jobs with all their stages
_REFUSAL_BYTES_MAX = 256 * 1024
_JSON_HEADERS = indexed((("Content-Type", "application/json; charset=UTF-8"),))


class JsonCalls:
    """Two ways to BigQuery, the callers' and the gate's own, for calls that are answered with JSON."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        own: Upstream | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
    ) -> None:
        """Take the callers' way to BigQuery, and the gate's `own`, for calls without a caller's credential.

        `retries` None: each call is made once.
        """
        self._upstream = upstream
        self._own = own or upstream
        self.timeout_s = timeout_s
        self._retries = retries

    async def ask(
        self, call: HttpRequest, credential: Credential | None, *, operation: str = "read"
    ) -> Mapping[str, Any]:
        """The JSON of an answer. Each of the calls may be made again: done twice it changes nothing more.

        Raises:
            UpstreamRefused: BigQuery refuses it; bears BigQuery's answer.
            UpstreamUnavailable: no answer, 5xx, or none that can be read.
        """
        ask_once = partial(self._ask_once, call, credential)
        if self._retries is None:
            return await ask_once(self.timeout_s)
        return await self._retries.ask(operation, ask_once, within_s=self.timeout_s)

    async def _ask_once(self, call: HttpRequest, credential: Credential | None, timeout_s: float) -> Mapping[str, Any]:
        upstream = self._own if credential is None else self._upstream
        answer = await upstream.send(call, credential=credential or Credential(), read_timeout_s=timeout_s)
        # 501 notImplemented is an answer, not an outage: asking again would bring the same.
        is_refusal = 400 <= answer.status < 500 or answer.status == 501
        body = await _read(answer, _REFUSAL_BYTES_MAX if is_refusal else _ANSWER_BYTES_MAX)
        if is_refusal:
            content_type = answer.header("content-type") or "application/json"
            raise UpstreamRefused(answer.status, body, content_type, challenge=answer.header("www-authenticate"))
        if not 200 <= answer.status < 300:
            raise UpstreamUnavailable(f"BigQuery is not answering (status {answer.status}).")
        return await _object_in(body)


def json_post(path: str, document: Mapping[str, Any]) -> HttpRequest:
    """A POST of a JSON object."""
    return HttpRequest("POST", path, "prettyPrint=false", _JSON_HEADERS, json_bytes(document))


@lru_cache(maxsize=1_000)  # of projects, mostly, of which there are few
def segment(text: str) -> str:
    """One segment of a path. Project ids of a domain ("example.com:project") keep their colon."""
    return quote(text, safe=":")


async def _object_in(body: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer. A job's has the query's parameters again, of megabytes where its caller likes."""
    document = read_answer(body) if len(body) <= SMALL_CHARS_MAX else await _large_object_in(body)
    if document is None:
        raise UpstreamUnavailable("BigQuery's answer is not a JSON object.")
    return document


async def _large_object_in(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = await read_in_turns(JsonSlices(body.decode(), values_max=_ANSWER_VALUES_MAX))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


async def _read(answer: HttpResponse, bytes_max: int) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in answer.body:
            size += len(chunk)
            if size > bytes_max:
                raise UpstreamUnavailable(f"BigQuery's answer is larger than {bytes_max} bytes.")
            chunks.append(chunk)
    finally:
        close = getattr(answer.body, "aclose", None)
        if close is not None:
            await close()
    return b"".join(chunks)
