"""Say where the file of a SQLite ledger is, and how it is opened without being made.

Used by migrate, registry and causes; pure but for the working directory, which relative paths begin at.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa


def sqlite_file(url: sa.URL) -> Path | None:
    """The file, whether it is there or not; None for another database. SQLite's own URIs (file:…) are read too."""
    if url.get_backend_name() != "sqlite":
        return None
    database = str(url.database)
    return Path(unquote(urlsplit(database).path) if database.startswith("file:") else database).absolute()


def existing_sqlite(url: sa.URL) -> sa.URL:
    """The URL with which no file is made where there is none."""
    database = str(url.database)
    if not database.startswith("file:"):
        database = Path(database).absolute().as_uri()
    return url.set(database=database).update_query_dict({"uri": "true", "mode": str(url.query.get("mode", "rw"))})
