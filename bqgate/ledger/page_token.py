"""Cut entries into pages, and say where a reader left off, as text that only the ledger reads.

Used by sql_ledger; pure. A token is the place of a page's last entry: its moment and its id. Entries are never edited
and new ones come before it, so paging neither skips nor repeats what was there at the start. Errors: MalformedRequest.
"""

import base64
import binascii
import re

from bqgate.domain.entry import Entry, EntryPage
from bqgate.domain.errors import MalformedRequest
from bqgate.ledger.rows import to_micros

# Micros of the years 1 to 9999 fit in 18 digits; PostgreSQL's text takes no NUL.
_PLACE = re.compile(r"e1:(-?\d{1,18}):([^\x00]{1,1024})", re.DOTALL)


def page_of(found: tuple[Entry, ...], page_size: int) -> EntryPage:
    """A page of entries, of which one more was asked for than it has, to see whether there are more."""
    if len(found) <= page_size:
        return EntryPage(entries=found, next_page_token=None)
    last = found[page_size - 1]
    token = write_page_token(to_micros(last.booked_at), last.id)
    return EntryPage(entries=found[:page_size], next_page_token=token)


def write_page_token(booked_at_micros: int, entry_id: str) -> str:
    return base64.urlsafe_b64encode(f"e1:{booked_at_micros}:{entry_id}".encode()).decode()


def read_page_token(token: str) -> tuple[int, str]:
    """The moment (microseconds) and id of the last entry that was read.

    Raises:
        MalformedRequest: not a token of write_page_token.
    """
    try:
        place = _PLACE.fullmatch(base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode())
    except (binascii.Error, UnicodeError):
        place = None
    if place is None:
        raise MalformedRequest("Invalid page token; use the next_page_token of the page before.", field="page_token")
    return int(place[1]), place[2]
