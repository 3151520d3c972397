"""Read what reverse proxies say of a call: from where it came, and by which address it reached the first of them.

Used by gate/http/proxies.py. Two families of headers say so: Forwarded (RFC 7239), whose elements come parsed, and
X-Forwarded-For, -Proto, -Host and -Prefix. Each proxy adds to the right, and anybody may have written what stands left
of it, so a list is read from the right for as long as a trusted proxy wrote it. Where both families say something and
differ, neither is believed: a proxy that writes one may hand on the other as its caller wrote it. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from bqgate.wire.http_message import Headers

Networks = Sequence[IPv4Network | IPv6Network]
T = TypeVar("T")

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,100}){1,10}/?")
_PORT = re.compile(r"(?<=[0-9\]]):[0-9]{1,5}")
_SCHEMES = frozenset({"http", "https"})
# The whole of a Forwarded line (RFC 7239 section 4), with ports that many proxies leave out of quotes.
# Nothing is tried twice (possessive quantifiers), so that no line takes longer than its length.
_BLANKS = r"[ \t]*+"
_WORD = r"[0-9A-Za-z!#$%&'*+.^_`|~-]++"
_PAIR = rf'(?:{_WORD}=(?:{_WORD}|"(?:\\[\t -~]|[\t !#-\[\]-~])*+")(?::[0-9]{{1,4}})?+)?+'
_FORWARDED = re.compile(rf"{_BLANKS}{_PAIR}(?:{_BLANKS}[;,]{_BLANKS}{_PAIR})*+{_BLANKS}")


@dataclass(frozen=True, slots=True)
class AsCalled:
    """A call as its client made it. None: nobody who is believed says it; an address may be empty where it has none."""

    address: str
    scheme: str | None = None
    host: str | None = None
    prefix: str = ""


def read_forwarded(
    headers: Headers, elements: Sequence[Mapping[str, str]], *, peer: str, proxies: Networks
) -> AsCalled:
    """What trusted proxies say of a call.

    Args:
        headers: the call's.
        elements: those of its Forwarded headers, in order, with their names in small letters.
        peer: the address from which it came to the gate.
        proxies: where trusted proxies call from.
    """
    if not is_among(peer, proxies):
        return AsCalled(peer)
    # A quote that a caller left open swallows what the proxy adds: of a line that is not whole nothing is believed.
    is_whole = all(_FORWARDED.fullmatch(value) for key, value in headers if key.lower() == "forwarded")
    readings = (_by_x(headers, peer, proxies), _by_elements(elements if is_whole else (), peer, proxies))
    said = [reading for reading in readings if reading]
    return AsCalled(
        address=_agreed([reading.address for reading in said if reading.address]) or peer,
        scheme=_agreed([reading.scheme for reading in said if reading.scheme]),
        host=_agreed([reading.host for reading in said if reading.host]),
        prefix=_agreed([reading.prefix for reading in said if reading.prefix]) or "",
    )


def is_among(address: str, networks: Networks) -> bool:
    """Whether an address lies in one of the networks."""
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _by_x(headers: Headers, peer: str, proxies: Networks) -> AsCalled | None:
    addresses, schemes, hosts, prefixes = (
        _values(headers, f"x-forwarded-{name}") for name in ("for", "proto", "host", "prefix")
    )
    if not (addresses or schemes or hosts or prefixes):
        return None
    client, depth = _walk(addresses, peer, proxies)
    return AsCalled(
        client if addresses else "",
        _scheme(_at(schemes, depth)),
        _host(_at(hosts, depth)),
        _prefix(_at(prefixes, depth)),
    )


def _by_elements(elements: Sequence[Mapping[str, str]], peer: str, proxies: Networks) -> AsCalled | None:
    if not elements:
        return None
    nodes = [element.get("for", "") for element in elements]
    client, depth = _walk(nodes, peer, proxies)
    outermost = elements[-depth]
    return AsCalled(client if any(nodes) else "", _scheme(outermost.get("proto", "")), _host(outermost.get("host", "")))


def _walk(nodes: Sequence[str], peer: str, proxies: Networks) -> tuple[str, int]:
    """The client, and how many entries from the right were written by trusted proxies; at least one is."""
    client, depth = peer, 0
    for node in reversed(nodes):
        depth += 1
        address = _address(node)
        if address is None:
            break  # hidden by its proxy, which is all that is known
        client = str(address)
        if not is_among(client, proxies):
            break
    return client, max(depth, 1)


def _values(headers: Headers, name: str) -> list[str]:
    lines = [value for key, value in headers if key.lower() == name]
    return [value.strip() for value in ",".join(lines).split(",")] if lines else []


def _at(values: Sequence[str], depth: int) -> str:
    """What the outermost trusted proxy wrote; of a shorter list, the leftmost."""
    return values[-min(depth, len(values))] if values else ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without brackets and a port; an IPv4 address inside an IPv6 one is that address."""
    bare = text.strip().strip('"')
    if bare.startswith("[") or bare.count(":") == 1:
        bare = _PORT.sub("", bare).removeprefix("[").removesuffix("]")
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id else address.ipv4_mapped or address


def _scheme(text: str) -> str | None:
    scheme = text.lower()
    return scheme if scheme in _SCHEMES else None


def _host(text: str) -> str | None:
    return text if _HOST.fullmatch(text) else None


def _prefix(text: str) -> str:
    return text.rstrip("/") if _PREFIX.fullmatch(text) else ""


def _agreed(values: Sequence[T]) -> T | None:
    """The one value that all say; None where nobody says one, or two differ."""
    return values[0] if len(set(values)) == 1 else None
