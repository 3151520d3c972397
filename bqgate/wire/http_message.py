"""Carry one HTTP call and its answer between the gate's server, its steps and the upstream client, as plain values.

Built by the gate from an aiohttp request (or from one part of a batch), sent by an Upstream, answered to the caller.
Bodies are bytes, or an async iterator of chunks where they are streamed; header names keep the sender's case and may
repeat, as RFC 9110 section 5.3 allows.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Self

Headers = tuple[tuple[str, str], ...]
Body = bytes | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request. `path` begins with a slash, still percent-encoded; `query` is the raw text after '?'.

    `peer` is the address it came from and `request_id` what the log calls it, both empty in the gate's own calls.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default=(), repr=False)
    body: Body = field(default=b"", repr=False)
    peer: str = ""
    request_id: str = ""

    def changed(self, *, query: str | None = None, headers: Headers | None = None, body: Body | None = None) -> Self:
        """The same request with another query string, other headers or another body; None: as it is."""
        return type(self)(
            self.method,
            self.path,
            self.query if query is None else query,
            self.headers if headers is None else headers,
            self.body if body is None else body,
            self.peer,
            self.request_id,
        )

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def header(self, name: str) -> str | None:
        return header_of(self.headers, name)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One HTTP answer. A streamed body must be read to its end or closed (aclose) by whoever holds it."""

    status: int
    headers: Headers = field(default=(), repr=False)
    body: Body = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        return header_of(self.headers, name)


def header_of(headers: Headers, name: str) -> str | None:
    """The first header of that name, whatever its case."""
    wanted = name.lower()
    for key, value in headers:
        if key.lower() == wanted:
            return value
    return None


def without(headers: Headers, names: Iterable[str]) -> Headers:
    """All headers but those named, in lower case."""
    dropped = frozenset(names)
    return tuple([header for header in headers if header[0].lower() not in dropped])


def named_by_connection(headers: Headers) -> frozenset[str]:
    """Headers that the sender declared to be for this connection only (RFC 9110 section 7.6.1), in lower case.

    Never those that frame the body, or say who calls.
    """
    lines = [value for key, value in headers if key.lower() == "connection"]
    names = {name.strip().lower() for line in lines for name in line.split(",")}
    return frozenset(names - {"authorization", "content-length", "host"})
