"""Refuse requests of which two readers could find the end in different places (RFC 9112 sections 6.1 and 11.2).

Called by the middleware before anything else looks at a request. The parser of aiohttp has refused most of that: two
lengths, a length beside a transfer coding, codings behind "chunked". What it takes is any coding before "chunked",
without undoing it, and "chunked" in HTTP/1.0, which has no such thing: a proxy before the gate that reads them
differently would see other requests than the gate. What leaves is an answer that ends the connection, or None.
"""

from aiohttp import HttpVersion11, hdrs, web

from bqgate.gate.reply import CLOSES, error_answer
from bqgate.wire.http_message import HttpResponse


def refused_framing(request: web.Request) -> HttpResponse | None:
    """The answer to a request that is framed in any way but by a length or by "chunked"; None: it is framed well."""
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, [])
    if not codings:
        return None
    if request.version < HttpVersion11:
        return error_answer(400, "badRequest", "HTTP/1.0 has no Transfer-Encoding.", headers=CLOSES)
    if len(codings) > 1 or codings[0].lower() != "chunked":
        message = "bqgate knows no Transfer-Encoding but chunked."
        return error_answer(501, "notImplemented", message, headers=CLOSES)
    return None
