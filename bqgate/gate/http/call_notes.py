"""Keep what the HTTP steps find out of one call, for those that come after them: the answer's headers, the log line.

Written and read by the modules of gate/http, and by app for the audit log. One object for each call, which the clones
that proxies.py makes of its request share with it.
"""

from aiohttp import web


class CallNotes:
    """What is known of a call by now; empty: nothing, or nobody has looked. One call sets few of them."""

    request_id: str = ""  # given by the middleware
    called_host: str = ""  # by which the client reached the gate; settled by proxies.py
    gate_address: str = ""  # scheme, host and what stands before the paths, where they do not follow from the request
    is_own_page: bool = False  # a page of the gate's own sends it; settled by web_pages.py
    cors_origin: str = ""  # the origin whose page may read the answer
    begun: web.StreamResponse | None = None  # the answer of which something may have gone out
    broken_off_by: str = ""  # the Side, where the call did not end as it should (aborted_calls.py)
    failure: str = ""  # the name of the error that it answered
    is_told_apart: bool = False  # the log says of it elsewhere, so that it needs no line of its own


_NOTES = web.RequestKey("_NOTES", CallNotes)


def notes_of(request: web.Request) -> CallNotes:
    """What is known of a call."""
    try:
        return request[_NOTES]
    except KeyError:
        request[_NOTES] = notes = CallNotes()
        return notes
