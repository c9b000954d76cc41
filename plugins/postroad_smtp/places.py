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

from .domains import canonical
from .trouble import Trouble

__all__ = [
    "Address",
    "Network",
    "Place",
    "Sources",
    "names_port",
    "read_networks",
    "read_place",
    "read_server",
    "read_sources",
]

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

_PLACE = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?")
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
    if _is_address(text):
        return Place(_unambiguous(key, text), port)
    match = _PLACE.fullmatch(text)
    number = int(match["port"] or port) if match else 0
    if match is None or not 0 < number < 65_536:
        raise ConfigError(key, f"{text!r} must be host, host:port, [address]:port or unix:/path")
    return Place(_host(key, match["address"], match["host"]), number)


def names_port(text: str) -> bool:
    """Whether a place is complete without a port from elsewhere."""
    match = _PLACE.fullmatch(text)
    return text.startswith(_UNIX) or (match is not None and match["port"] is not None)


def _unambiguous(key: str, text: str) -> str:
    """A bare address, unless its end may have been meant for a port: `::1:53`."""
    before, _, last = text.rpartition(":")
    if last.isdecimal() and int(last) and _is_address(before):
        raise ConfigError(key, f"{text!r} may be two things; write [{before}]:{last} with a port, or [{text}] without")
    return str(ipaddress.ip_address(text))


def _host(key: str, address: str | None, name: str) -> str:
    if address is None:
        return _name(key, name)
    if not _is_address(address):
        raise ConfigError(
            key, f"[{address}] is no IP address; write one such as [2001:db8::1], or a name without brackets"
        )
    return address


def _name(key: str, name: str) -> str:
    """A host's name, as the DNS and certificates can have it."""
    try:
        canonical_name = canonical(name)
    except Trouble as trouble:
        raise ConfigError(key, f"{trouble.said}; write a host's name or an address") from None
    if not name.isascii():
        raise ConfigError(key, f"{name!r} is an internationalised name; write its A-label, {canonical_name}")
    if canonical_name.rpartition(".")[2].isdecimal() and not _is_address(name):  # no top-level domain is a number
        raise ConfigError(key, f"{name!r} is no IPv4 address: that is four numbers from 0 to 255, such as 192.0.2.1")
    return name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


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
    return tuple(map(_network, texts))


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError("allow_networks", f"{text!r} is no network; write one such as 10.1.0.0/16") from None
    address = ipaddress.ip_interface(text).ip
    if address != network.network_address:
        problem = f"{text!r} is an address in a network; write {network} for all of that, or {address} for it alone"
        raise ConfigError("allow_networks", problem)
    return network


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
