"""Connects to a numeric address, if that is allowed, and nothing else.

The guard looks at the *resolved* address at the moment of connecting, so that no MX record, and no name that changes its address
between look-up and connection, leads to this machine or its private networks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from .settings import Network

__all__ = ["Dial", "Guard", "connect"]

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Dial: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291 section 2.5.5.1, long deprecated


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
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    if address.ipv4_mapped is not None or address in _COMPATIBLE or getattr(address, "scope_id", None):
        return False
    inner = _inner(address)
    return inner is None or _is_public(inner)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or tunnel would go on to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or (address.teredo[1] if address.teredo else None)


async def connect(address: str, port: int) -> trio.abc.Stream:
    """A TCP connection to a numeric address.  Raises OSError."""
    family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)  # sets TCP_NODELAY
