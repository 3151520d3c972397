from bqgate.wire.source_address import source_of


def test_addresses_of_one_host_are_one_source() -> None:
    """A /64 of IPv6 is one host's; IPv4 written as IPv6 is IPv4."""
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert source_of("2001:db8:1:3::4") != source_of("2001:db8:1:2::4")
    assert source_of("::ffff:192.0.2.7") == source_of("192.0.2.7") == "192.0.2.7"
    assert source_of("fe80::1%eth0") == "fe80::/64"
    assert source_of("") == ""
