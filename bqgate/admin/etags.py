"""Compare entity tags: If-Match against lost updates, If-None-Match against needless answers (RFC 9110 section 13).

Called by the views of what admins change. Tags are compared whole, quotes included. What leaves: nothing, or a Problem
428 where a change does not say what it was made from, 412 where that is stale.
"""

import re

from aiohttp import hdrs, web

from bqgate.admin.operation import Parameter, Place
from bqgate.admin.problem import Problem

IF_MATCH = Parameter(
    "If-Match",
    "The ETag of what is to be changed, as it was read; * for whatever it is now.",
    Place.HEADER,
    is_required=True,
)
IF_NONE_MATCH = Parameter("If-None-Match", "The ETag of what is known already: 304 where it is the same.", Place.HEADER)

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def require_if_match(request: web.Request) -> None:
    """Refuse a change that does not say what it was made from.

    Raises:
        Problem: 428.
    """
    if hdrs.IF_MATCH not in request.headers:
        detail = "Read it first, and send its ETag in If-Match; so nobody's change is overwritten unseen."
        raise Problem(428, detail, field=hdrs.IF_MATCH)


def check_if_match(request: web.Request, etag: str) -> None:
    """Refuse a change that was made from another version; `etag` is the present one's.

    Raises:
        Problem: 412.
    """
    given = _given(request, hdrs.IF_MATCH)
    if given.strip() != "*" and etag not in [tag for weak, tag in _TAG.findall(given) if not weak]:
        raise stale()


def stale() -> Problem:
    """The answer to a change of what is no longer the same."""
    return Problem(412, "It was changed meanwhile: read it again, and send the new ETag.", field=hdrs.IF_MATCH)


def is_known(request: web.Request, etag: str) -> bool:
    """Whether the caller has this version already."""
    given = _given(request, hdrs.IF_NONE_MATCH)
    return given.strip() == "*" or etag in [tag for _weak, tag in _TAG.findall(given)]


def _given(request: web.Request, name: str) -> str:
    return ", ".join(request.headers.getall(name, ()))
