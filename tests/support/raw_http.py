"""Send one HTTP request exactly as it is written, with hosts and targets that no client would send.

One connection for each request, which the gate is asked to close.
"""

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came back; the names of headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send_raw(url: str, first_line: str, *header_lines: str, body: bytes = b"") -> RawAnswer:
    """The answer of the server at `url` to these lines."""
    parts = urlsplit(url)
    framing = [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([first_line, *header_lines, *framing, "Connection: close", "", ""]).encode()
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as connection:
        connection.sendall(head + body)
        answer = http.client.HTTPResponse(connection, method=first_line.partition(" ")[0])
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return RawAnswer(answer.status, headers, answer.read())
