"""Tell which addresses are one source's.

Used wherever something is counted or bounded by where it comes from: connections, failed logins, the audit log.
"""

from ipaddress import AddressValueError, IPv6Address, IPv6Network


def source_of(remote: str) -> str:
    """Whose doings are counted together: one host has a whole /64 of IPv6 (RFC 6177) to come from."""
    if ":" not in remote:
        return remote
    try:
        address = IPv6Address(remote.partition("%")[0])
    except AddressValueError:
        return remote
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False))
