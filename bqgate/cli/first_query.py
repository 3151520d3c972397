"""Write the first query that a newcomer sends: a command that can be copied into a shell as it stands.

Called by the demo, which shows it while it stays up. The command runs the Python that runs bqgate, because that one has
Google's client; it logs in nowhere, because the stand-in behind the gate asks nobody who they are. What leaves: text.
"""

import os
import shlex
from pathlib import Path

FIRST_QUERY = "SELECT carrier, name FROM nycflights13.airlines LIMIT 5"


def first_query_command(*, python: Path, folder: Path, url: str, project: str) -> str:
    """The command that asks the gate at `url` one query in `project` and prints its rows.

    `folder` is where the reader stands: a Python below it is named by the shorter, relative path.
    """
    return f"""{shlex.quote(_as_seen_from(folder, python))} - <<'END'
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

client = bigquery.Client(
    "{project}",
    AnonymousCredentials(),
    client_options={{"api_endpoint": "{url}"}},
)
for row in client.query_and_wait("{FIRST_QUERY}"):
    print(row.carrier, row.name)
END"""


def _as_seen_from(folder: Path, python: Path) -> str:
    """Not resolved: a virtual environment's Python is a link, and through the link it finds its packages."""
    if python.is_relative_to(folder):
        return f".{os.sep}{python.relative_to(folder)}"
    return str(python)
