"""Ask BigQuery for a list, and leave out what is not the customer's.

Called by boundary.py. A list is read whole within a bound, whatever it is packed in, filtered, and answered with the
page token that BigQuery gave, so that paging goes on where BigQuery left off; a page may come out short or empty. The
caller's `fields` mask stays behind, because it could take away what the filter reads. A long list is read entry by
entry, so that other calls are answered meanwhile.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from bqgate.domain.data_scope import DataScope
from bqgate.domain.errors import BodyTooLarge, MalformedRequest, UpstreamUnavailable
from bqgate.gate.body import close_body, plain_body, read_bounded
from bqgate.ports.turns import let_others_run, read_in_turns
from bqgate.wire.http_message import HttpRequest, HttpResponse, without
from bqgate.wire.json_slices import SMALL_CHARS_MAX, JsonSlices, elements_of
from bqgate.wire.json_text import JsonText, json_bytes, write_json
from bqgate.wire.query_string import is_json, values_of, without_parameters

LIST_BYTES_MAX = 24 * 1024 * 1024
# An answer that must be read has to be whole, and not packed more than it need be.
_PARTIAL_HEADERS = frozenset(
    {
        *("accept-encoding", "if-none-match", "if-modified-since", "if-match", "range"),
        *("x-goog-fieldmask", "x-goog-field-mask"),
    }
)
_BODY_HEADERS = frozenset(
    {"content-length", "content-encoding", "content-md5", "content-type", "transfer-encoding", "etag", "x-goog-hash"}
)

Send = Callable[[HttpRequest], Awaitable[HttpResponse]]
Keep = Callable[[Mapping[str, Any]], Awaitable[bool]]


async def filtered_list(call: HttpRequest, send: Send, *, name: str, keep: Keep, extra: str = "") -> HttpResponse:
    """The answer to a list call with the entries that `keep` keeps.

    Args:
        call: as the caller sent it.
        send: the way to BigQuery.
        name: the answer's field that has the entries.
        keep: whether the customer may see an entry.
        extra: a parameter that the caller's own of the same name yields to.

    Raises:
        MalformedRequest: another format than JSON is asked for, or the page is larger than LIST_BYTES_MAX.
        UpstreamUnavailable: BigQuery does not answer, or not with JSON.
    """
    if values_of(call.query, "callback") or not all(is_json(value) for value in values_of(call.query, "alt")):
        raise MalformedRequest("Lists are answered as plain JSON only; leave callback and alt out.", field="alt")
    dropped = {"fields", "alt", extra.partition("=")[0].lower()}
    query = "&".join(part for part in (without_parameters(call.query, dropped), extra) if part)
    headers = (*without(call.headers, _PARTIAL_HEADERS), ("Accept-Encoding", "gzip"))
    answer = await send(replace(call, method="GET", query=query, headers=headers))
    if answer.status != 200:
        return answer
    document = await _read(answer, name)
    entries = document.get(name)
    kept: JsonText | list[Any]
    if isinstance(entries, JsonText):
        kept, count = await _kept_of_many(entries, keep)
    else:
        kept = [each for each in entries or () if isinstance(each, dict) and await keep(each)]
        count = len(kept)
    document.pop("etag", None)
    if "totalItems" in document:
        document["totalItems"] = count
    if entries is not None:
        document[name] = kept
    headers = (*without(answer.headers, _BODY_HEADERS), ("Content-Type", "application/json; charset=UTF-8"))
    return HttpResponse(200, headers, json_bytes(document))


async def keeps_project(scope: DataScope, project: Mapping[str, Any]) -> bool:
    """Whether a listed project is for a customer of this scope to see."""
    reference = project.get("projectReference") or {}
    return scope.shows_project(str(reference.get("projectId") or project.get("id") or ""))


async def keeps_dataset(scope: DataScope, dataset: Mapping[str, Any]) -> bool:
    """The same for a listed dataset."""
    reference = dataset.get("datasetReference") or {}
    return scope.allows_dataset(str(reference.get("projectId") or ""), str(reference.get("datasetId") or ""))


async def _kept_of_many(entries: JsonText, keep: Keep) -> tuple[JsonText, int]:
    """The entries that are kept, and how many they are."""
    kept: list[str] = []
    read = 0
    try:
        for text in elements_of(entries.text):
            if text is not None:
                entry = await read_in_turns(JsonSlices(text))
                if await keep(entry):
                    kept.append(write_json(entry))
                read += len(text)
            if text is None or read > SMALL_CHARS_MAX:
                read = 0
                await let_others_run()
    except (ValueError, RecursionError):
        raise _no_list() from None
    return JsonText(f"[{','.join(kept)}]", ""), len(kept)


async def _read(answer: HttpResponse, name: str) -> dict[str, Any]:
    """The list, whose entries stay text where they are many."""
    packed = HttpRequest("GET", "/", headers=answer.headers, body=answer.body)
    try:
        text = (await read_bounded(plain_body(packed), bytes_max=LIST_BYTES_MAX)).decode()
        document = await read_in_turns(JsonSlices(text, kept=(name,)))
    except BodyTooLarge:
        raise MalformedRequest(
            "The page is too large to be filtered; ask for fewer entries by maxResults.", reason="responseTooLarge"
        ) from None
    except (ValueError, RecursionError, MalformedRequest):
        document = None
    finally:
        await close_body(answer.body)
    if not isinstance(document, dict):
        raise _no_list()
    return document


def _no_list() -> UpstreamUnavailable:
    return UpstreamUnavailable("BigQuery's list is not a JSON object.")
