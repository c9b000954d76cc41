"""The guard: which addresses MX delivery may connect to."""

from __future__ import annotations

import pytest

from postroad_smtp.dial import Guard
from postroad_smtp.places import read_networks

REFUSED = [
    # this machine, and nobody
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "::1", "::",
    # private and local networks, and clouds' metadata
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "fe80::1",
    "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "2606:4700::1%eth0",
    # many, or none
    "224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1", "192.88.99.1", "ff02::1", "ff0e::1",
    # for documentation, benchmarks, discarding, routing
    "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1", "3fff::1", "2001:2::1", "100::1", "5f00::1",
    # an IPv4 address inside
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::7f00:1", "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    # what is no address
    "not an address", "", "/run/lmtp.sock", "localhost", "127.1", "0x7f000001", "2130706433", "017700000001", "1.2.3.4.5",
    "8.8.8.8 ",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_the_guard_refuses(address: str) -> None:
    assert not Guard().allows(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1", "2a00:1450::1", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_the_guard_lets_public_addresses_pass(address: str) -> None:
    assert Guard().allows(address)


def test_the_guard_lets_allowed_networks_pass_and_no_others() -> None:
    guard = Guard(read_networks(("10.1.0.0/16", "fd00::/8")))
    assert guard.allows("10.1.2.3")
    assert guard.allows("fd00::1")
    assert not guard.allows("10.2.0.1")
    assert not guard.allows("::ffff:10.1.2.3")
    assert not guard.allows("64:ff9b::10.1.2.3")
