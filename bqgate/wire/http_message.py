"""Carry one HTTP call and its answer between the gate's server, its steps and the upstream client, as plain values.

Built by the gate from an aiohttp request (or from one part of a batch), sent by an Upstream, answered to the caller.
Bodies are bytes, or an async iterator of chunks where they are streamed; header names keep the sender's case and may
repeat, as RFC 9110 section 5.3 allows.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

Headers = tuple[tuple[str, str], ...]
Body = bytes | AsyncIterator[bytes]
_CONNECTION = frozenset({"connection"})


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


class IndexedHeaders(tuple[tuple[str, str], ...]):  # noqa: SLOT001 - a tuple has no room for slots
    """Headers with their names in lower case, which nearly every step looks through for some that are not there."""

    lower: tuple[str, ...]  # of each header
    names: frozenset[str]


def indexed(headers: Headers) -> IndexedHeaders:
    """The same headers, looked through once."""
    return _indexed(headers, tuple([name.lower() for name, _ in headers]))


def _indexed(headers: Iterable[tuple[str, str]], lower: tuple[str, ...]) -> IndexedHeaders:
    made = IndexedHeaders(headers)
    made.lower = lower
    made.names = frozenset(lower)
    return made


def header_of(headers: Headers, name: str) -> str | None:
    """The first header of that name, whatever its case."""
    known = headers if type(headers) is IndexedHeaders else indexed(headers)
    wanted = name.lower()
    return known[known.lower.index(wanted)][1] if wanted in known.names else None


def headers_of(headers: Headers, names: AbstractSet[str]) -> list[str]:
    """The values of all headers of some names, which are given in lower case."""
    known = headers if type(headers) is IndexedHeaders else indexed(headers)
    if known.names.isdisjoint(names):
        return []
    return [value for name, (_, value) in zip(known.lower, known, strict=True) if name in names]


def without(headers: Headers, names: AbstractSet[str]) -> IndexedHeaders:
    """All headers but those named, in lower case."""
    known = headers if type(headers) is IndexedHeaders else indexed(headers)
    if known.names.isdisjoint(names):
        return known
    kept, lower = list(known), list(known.lower)
    for name in known.names & names:
        for _ in range(lower.count(name)):
            at = lower.index(name)
            del kept[at], lower[at]
    return _indexed(kept, tuple(lower))


def replaced(headers: Headers, names: AbstractSet[str], *added: tuple[str, str]) -> IndexedHeaders:
    """All headers but those named, in lower case, and others behind them."""
    kept = without(headers, names)
    return _indexed((*kept, *added), (*kept.lower, *[name.lower() for name, _ in added]))


def named_by_connection(headers: Headers) -> frozenset[str]:
    """Headers that the sender declared to be for this connection only (RFC 9110 section 7.6.1), in lower case.

    Never those that frame the body, or say who calls.
    """
    return named_in(headers_of(headers, _CONNECTION))


def named_in(lines: Sequence[str]) -> frozenset[str]:
    """The same, by the values of all Connection headers."""
    if not lines:
        return frozenset()
    line = ",".join(lines)
    return _named_lately(line) if len(line) <= _REMEMBERED_CHARS_MAX else _named(line)


def _named(line: str) -> frozenset[str]:
    names = {name.strip().lower() for name in line.split(",")}
    return frozenset(names - {"authorization", "content-length", "host"})


# Nearly everybody sends the same few lines.
_REMEMBERED_CHARS_MAX = 64
_named_lately = lru_cache(maxsize=64)(_named)
