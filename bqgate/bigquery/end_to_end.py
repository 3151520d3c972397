"""Choose the headers that pass from caller to BigQuery and back: all but those of one connection. Pure.

Used by upstream.py. Which headers belong to one connection: RFC 9110 section 7.6.1, and those that Connection names.
"""

from bqgate.wire.http_message import Headers, HttpRequest, indexed, named_by_connection, without

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The client writes its own Host; Expect was answered by the gate.
_NOT_SENT = _HOP_BY_HOP | {"expect", "host"}
_NOT_SENT_WITH_BYTES = _NOT_SENT | {"content-length"}


def headers_sent(call: HttpRequest) -> Headers:
    """The headers with which a call goes to BigQuery."""
    if not isinstance(call.body, bytes):
        return _without(call.headers, _NOT_SENT)
    # Bytes have a length of their own; the one that the caller gave may be that of another body.
    length = (("Content-Length", str(len(call.body))),) if call.body else ()
    return (*_without(call.headers, _NOT_SENT_WITH_BYTES), *length)


def headers_answered(headers: Headers) -> Headers:
    """The headers with which an answer comes back."""
    return _without(indexed(headers), _HOP_BY_HOP)


def _without(headers: Headers, names: frozenset[str]) -> Headers:
    """The headers without some, and without those that are declared to be for one connection only."""
    named = named_by_connection(headers)
    return without(headers, names | named if named else names)


def malformed(status: int, headers: Headers) -> str:
    """What makes an answer one that cannot be passed on; empty where nothing does.

    101 would end HTTP on the caller's connection, which nobody asked for; a header that is no text cannot be written.
    """
    if status < 200:
        return f"its answer has the status {status}"
    text = "".join([value for _, value in headers])
    if not text.isprintable() and not text.replace("\t", " ").isprintable():
        return "a header of its answer is no text"
    return ""
