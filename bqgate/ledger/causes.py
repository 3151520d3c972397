"""Say why a database cannot be used, in one line without values of rows, and what whoever runs the gate can do.

Used by connections and migrate for what LedgerUnavailable says. Drivers tell the cause of a failed connection in words
of their own, which are shown; of anything that a statement did only the kind of error is, because such words may quote
what is stored.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError, ProgrammingError

from bqgate.ledger.sqlite_files import sqlite_file

NO_FOLDER = "Its folder is not there: make it, or name another file in ledger.url."
_CHARS_MAX = 300
_SEE_POSTGRESQL = "See that the database runs and that ledger.url names its host, port, user, password and database."


def cause_of(error: BaseException) -> str:
    """What went wrong."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, OSError) and original.strerror:
        return original.strerror
    if isinstance(original, ImportError) or _is_of_connection(error, original):
        line = next((line for line in str(original).splitlines() if line.strip()), "")
        return line[:_CHARS_MAX] or type(original).__name__
    return type(original).__name__


def remedy_of(error: BaseException, url: sa.URL) -> str:
    """What to do about an error at the start."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, ImportError):
        return "Install the driver: pip install 'bqgate[postgres]'."
    file = sqlite_file(url)
    return _SEE_POSTGRESQL if file is None else _remedy_of_file(cause_of(error), file)


def _is_of_connection(error: BaseException, original: BaseException) -> bool:
    """Whether an error is about the database as a whole, and not about what a statement said."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    if isinstance(error, ProgrammingError):
        # Without a state of the server's it is about the connection's options.
        return getattr(original, "sqlstate", "") is None
    return type(error) is DatabaseError  # "file is not a database"


def _remedy_of_file(cause: str, file: Path) -> str:
    if "locked" in cause:
        return "Another process holds it; end that one, or give each gate a file of its own."
    if "full" in cause:
        return "Make room on its disk."
    if "not a database" in cause or "malformed" in cause:
        return "Name another file in ledger.url, or put a backup in its place."
    if file.is_dir():
        return "It is a folder: name a file in it."
    if not file.parent.is_dir():
        return NO_FOLDER
    return "Let this user read and write the file and its folder, or name another file in ledger.url."
