"""Keep what the sandbox was asked, so that a test can see what a gate in front of it really forwarded.

The server writes one line per call, calls inside a batch included; `sandbox.journal` and `GET /sandbox/v1/calls` read.
The newest 10,000 calls are kept. Bodies are kept as decoded JSON where they are JSON and short enough; `Authorization`
is kept too, since the sandbox knows no real credential.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass
class Entry:
    """One received call; `status` is 0 until it was answered. `at` is the sandbox's time."""

    at: datetime
    verb: str
    path: str
    method: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any
    status: int = 0

    def described(self) -> dict[str, Any]:
        return {**vars(self), "at": self.at.isoformat()}


class Journal:
    """The newest calls, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=10_000)

    def write(self, entry: Entry) -> Entry:
        self._entries.append(entry)
        return entry

    def entries(self, *, method: str = "") -> list[Entry]:
        """Return the calls, of one method of the API where it is named ("jobs.insert")."""
        return [entry for entry in list(self._entries) if method in {"", entry.method}]

    def clear(self) -> None:
        self._entries.clear()
