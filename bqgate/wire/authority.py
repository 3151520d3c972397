"""Read which host a request names, and which origin a web page has, so that the two can be compared.

Used by gate/http/. An authority is what stands in Host and in an absolute request target (RFC 9110 section 7.2),
without a login; an origin is what browsers send (https://fetch.spec.whatwg.org/#origin-header). Both come out in one
spelling: small letters, no dot at the end, an address as it is usually written, no zone, the scheme's own port where
none is said. Nothing is resolved. Pure.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_NAME_CHARS_MAX = 253
_AUTHORITY_CHARS_MAX = _NAME_CHARS_MAX + len(".:65535")
_ADDRESS = r"\[(?P<address>[0-9a-f:.]{2,45})(?:%[a-z0-9._~-]{1,32})?\]"
_AUTHORITY = re.compile(rf"(?:(?P<name>{_NAME})\.?|{_ADDRESS})(?::(?P<port>[0-9]{{0,5}}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@]+)")
_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)")
_PORT_MAX = 65_535
_OWN_PORTS = {"http": 80, "https": 443}
EVERY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and, where one is said, its port. `is_address`: an IP address and no name."""

    host: str
    port: int | None
    is_address: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a web page comes from."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The hosts by which the gate lets itself be called: names, `*.` with what is below a name, `*` for every one.

    An address is always known: only of a name can somebody decide where it leads.
    """

    patterns: Collection[str]

    def has(self, authority: Authority) -> bool:
        """Whether a caller may use this host."""
        if authority.is_address or EVERY_HOST in self.patterns or authority.host in self.patterns:
            return True
        labels = authority.host.split(".")
        return any(f"*.{'.'.join(labels[depth:])}" in self.patterns for depth in range(1, len(labels)))


def read_authority(text: str) -> Authority | None:
    """The host and port of a Host header; None where it is malformed."""
    return _read_authority(text) if len(text) <= _AUTHORITY_CHARS_MAX else None


@lru_cache(maxsize=256)  # a gate is called by a few names
def _read_authority(text: str) -> Authority | None:
    found = _AUTHORITY.fullmatch(text.lower()) if text.isascii() else None
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    host, is_address = _host(found["name"], found["address"])
    if host is None or (port is not None and port > _PORT_MAX):
        return None
    return Authority(host, port, is_address)


def target_authority(target: str) -> str | None:
    """The authority of a request target in absolute form, as it stands there; None in the other forms."""
    found = _TARGET.match(target)
    return None if found is None else found["authority"]


def read_origin(text: str) -> Origin | None:
    """The origin of a page; None where it has none (`null`), or none that speaks HTTP."""
    found = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    authority = None if found is None else read_authority(found["authority"])
    return None if found is None or authority is None else origin_at(found["scheme"], authority)


def origin_at(scheme: str, authority: Authority) -> Origin:
    """The origin of the pages that are served by this scheme at this authority."""
    return Origin(scheme, authority.host, _OWN_PORTS[scheme] if authority.port is None else authority.port)


def _host(name: str | None, address: str | None) -> tuple[str | None, bool]:
    """The host in its one spelling, and whether it is an address; None where it is neither."""
    try:
        if address is not None:
            return str(IPv6Address(address)), True
        return str(IPv4Address(name)), True
    except ValueError:
        return (name, False) if name is not None and len(name) <= _NAME_CHARS_MAX else (None, False)
