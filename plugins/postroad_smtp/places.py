"""Reads where something is: a server by name, address or unix socket, networks, and this machine's own addresses to send from.

Every error names the setting and says what to write instead.  Resolves nothing, opens nothing.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from postroad.errors import ConfigError

__all__ = ["Address", "Network", "Place", "Sources", "read_networks", "read_place", "read_server", "read_sources"]

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_PLACE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?")
_UNIX = "unix:"
_PATH_OCTETS = 107  # unix(7): sun_path has 108, one of them for the NUL


class Place(NamedTuple):
    """A host (name or numeric address) and a port; or the path of a unix socket, which begins with a slash, and port 0."""

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        return self.host.startswith("/")

    def __str__(self) -> str:
        if self.is_unix:
            return _UNIX + self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_place(key: str, text: str, port: int) -> Place:
    """Read `host`, `host:port`, `[v6]:port`, a bare IPv6 address, or `unix:/path`.  Raises ConfigError."""
    if text.startswith(_UNIX):
        return Place(_path(key, text.removeprefix(_UNIX)), 0)
    try:
        return Place(str(ipaddress.IPv6Address(text)), port)
    except ValueError:
        pass
    match = _PLACE.fullmatch(text)
    number = int(match["port"] or port) if match else 0
    if match is None or not 0 < number < 65_536:
        raise ConfigError(key, f"{text!r} must be host, host:port, [address]:port or unix:/path")
    return Place(match["v6"] or match["host"], number)


def _path(key: str, path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ConfigError(key, f"{path!r} is no path of a unix socket; write unix:/path, from the root")
    if len(os.fsencode(path)) > _PATH_OCTETS:
        raise ConfigError(key, f"the path of a unix socket has at most {_PATH_OCTETS} octets; this one has more")
    return path


def read_server(key: str, text: str, port: int) -> Place:
    """Read a server that must be given by its address, such as a DNS server.  Raises ConfigError."""
    place = read_place(key, text, port)
    try:
        return Place(str(ipaddress.ip_address(place.host)), place.port)
    except ValueError:
        raise ConfigError(
            key, f"{text!r} must be an address, or [address]:port; a name cannot be looked up yet"
        ) from None


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read `allow_networks`.  Raises ConfigError."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError("allow_networks", str(error)) from None


class Sources(NamedTuple):
    """The addresses to send from, by family; with none at all the system chooses."""

    v4: str = ""
    v6: str = ""

    def source_for(self, address: str) -> str:
        """The address to connect from; "" leaves it to the system."""
        return self.v6 if ":" in address else self.v4

    def may_reach(self, address: str) -> bool:
        """Whether the address is of a family that mail is sent from."""
        return self == _ANY or bool(self.source_for(address))


_ANY = Sources()


def read_sources(texts: Sequence[str]) -> Sources:
    """Read `source_addresses`: at most one of each family.  Raises ConfigError."""
    found: dict[int, str] = {}
    for text in texts:
        address = _source(text)
        if address.version in found:
            raise ConfigError(
                "source_addresses",
                f"{text!r} is a second IPv{address.version} address; give it to a further transport, with a route to that",
            )
        found[address.version] = str(address)
    return Sources(found.get(4, ""), found.get(6, ""))


def _source(text: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(
            "source_addresses", f"{text!r} is no IP address; write one of this machine's, such as 192.0.2.5"
        ) from None
    if address.is_unspecified:
        raise ConfigError("source_addresses", f"{text!r} means any address; leave it out, and the system chooses")
    is_odd = isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id)
    if address.is_multicast or is_odd:
        raise ConfigError(
            "source_addresses", f"{text!r} cannot be sent from; write a plain IPv4 or IPv6 address of this machine"
        )
    return address
