"""Which addresses may be connected to, and the port by which connections are made (`plain.connect` but in tests).

The guard looks at the *resolved* address at the moment of connecting, so that no MX record, and no name that changes its address
between look-up and connection, leads to this machine or its private networks.  A smarthost is allowed by being named.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from .places import Address, Network

__all__ = ["Dial", "Guard"]

Dial: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]

_GLOBAL = ipaddress.IPv6Network("2000::/3")  # all that is routed, as IANA's registry of IPv6 addresses has it
_NOT_HOSTS = (  # beyond what Python 3.11 knows
    ipaddress.IPv6Network("3fff::/20"),  # RFC 9637: for documentation
    ipaddress.IPv4Network("192.0.0.0/24"),  # RFC 6890: protocol assignments
    ipaddress.IPv4Network("192.88.99.0/24"),  # RFC 7526: 6to4's anycast, given up
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


class Guard:
    """Says which addresses MX delivery may connect to: public ones, and those in the allowed networks."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def allows(self, text: str) -> bool:
        """Whether to connect to a numeric address; a text that is none is not allowed."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if any(address in network for network in self._allowed):
            return True
        return _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if (inner := _inner(address)) is not None:
            return _is_public(inner)
        if address not in _GLOBAL:
            return False
    if any(address in network for network in _NOT_HOSTS):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or tunnel would go on to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or (address.teredo[1] if address.teredo else None)
