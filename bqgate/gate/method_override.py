"""Replace a request's method by the one that its override header names, so that the gate and BigQuery judge the same.

Called by dispatch.py before anything else. googleapiclient sends a GET with more than 2,048 characters of URL as a POST
with X-HTTP-Method-Override: GET and the query string as a form body; old HTTP stacks send PATCH that way. The override
is applied here and its header removed. The form becomes the query string, and $alt becomes alt, so that no later step
has to look for parameters in two places or under two names.

Raises MalformedRequest (two different overrides, a body that is no form), UnsupportedRequest ($httpMethod and the like,
which override the method from inside the URL), BodyTooLarge.
"""

from dataclasses import replace

from bqgate.domain.errors import MalformedRequest, UnsupportedRequest
from bqgate.gate.body import read_kept
from bqgate.wire.http_message import HttpRequest, headers_of, without
from bqgate.wire.query_string import split_query, with_plain_names

# Google reads the first; the others are common elsewhere and would be a second opinion about the verb.
_OVERRIDES = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_VERBS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Google's front end takes URLs of 16 KiB (https://cloud.google.com/bigquery/quotas); a form may be that query string.
_FORM_BYTES_MAX = 16 * 1024
_FORM_TYPE = "application/x-www-form-urlencoded"
_FORM_HEADERS = frozenset({"content-length", "content-encoding", "content-type", "transfer-encoding", "expect"})
# What may stand in a query string with a parameter that is written in another way, or twice.
_MARKS = frozenset("$%&")
_KNOWN_SYSTEM_PARAMETERS = frozenset({"$.xgafv"})


def real_verb(call: HttpRequest) -> str:
    """The verb that is meant, told by the head alone: the body of an unknown caller stays unread.

    Raises:
        MalformedRequest: two overrides, or one that may not be.
    """
    overrides = _overrides(call)
    if not overrides:
        return call.method
    verb = overrides.pop()
    if overrides or verb not in _VERBS or call.method not in {verb, "POST"}:
        raise MalformedRequest("X-HTTP-Method-Override must name one verb, on a POST.", reason="badRequest")
    return verb


async def with_real_verb(call: HttpRequest) -> HttpRequest:
    """The call as it is meant, without any override."""
    if _overrides(call):
        call = await _overridden(call, real_verb(call))
    if _MARKS.isdisjoint(call.query):
        return call  # there is one parameter at most, by its plain name
    query = with_plain_names(call.query)
    for name, _ in split_query(query):
        if name.startswith("$") and name not in _KNOWN_SYSTEM_PARAMETERS:
            raise UnsupportedRequest(f"bqgate does not pass on the URL parameter {name[:64]}.")
    return call if query == call.query else call.changed(query=query)


def _overrides(call: HttpRequest) -> set[str]:
    """The verbs that its headers name."""
    return {value.strip().upper() for value in headers_of(call.headers, _OVERRIDES)}


async def _overridden(call: HttpRequest, verb: str) -> HttpRequest:
    headers = without(call.headers, _OVERRIDES)
    if verb != "GET" or call.method == "GET":
        return replace(call, method=verb, headers=headers)
    form = await read_kept(call, bytes_max=_FORM_BYTES_MAX)
    if form and not (call.header("content-type") or "").lower().startswith(_FORM_TYPE):
        raise MalformedRequest(f"The body of an overridden GET must be {_FORM_TYPE}.", reason="badRequest")
    if not form.isascii() or not form.decode("ascii", "replace").isprintable():
        raise MalformedRequest("The form is not percent-encoded.", reason="badRequest")
    query = "&".join(part for part in (call.query, form.decode().strip()) if part)
    return replace(call, method="GET", query=query, headers=without(headers, _FORM_HEADERS), body=b"")
