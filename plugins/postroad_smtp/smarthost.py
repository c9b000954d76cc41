"""The one server of a transport with a smarthost: its route, and its addresses by the system's own means.

/etc/hosts and all, as every other program finds them; what the configuration names is trusted, wherever it leads.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import trio

from .domains import literal_address
from .mx import Route
from .places import Place
from .race import in_turns
from .trouble import Kind, Trouble

__all__ = ["SystemNames", "smarthost_route"]


def smarthost_route(place: Place) -> Route:
    """The route of a transport with a smarthost."""
    return Route(str(place), ((0, place.host),), place.port, is_trusted=True)


class SystemNames:
    """Finds addresses as the system does.  seconds: how long it may take."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def addresses_nowait(self, host: str) -> Sequence[str] | None:
        """A path, or an address, is its own address; a name is to be asked for."""
        if host.startswith("/"):
            return (host,)
        return None if (literal := literal_address(host)) is None else (literal,)

    async def addresses(self, host: str) -> Sequence[str]:
        """The host's addresses, the families in turns, beginning with the one the system prefers."""
        if (known := self.addresses_nowait(host)) is not None:
            return known
        with trio.move_on_after(self._seconds):
            try:
                found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise _not_found(host, f"cannot be resolved: {error}") from error
            return in_turns(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        raise _not_found(host, f"was not resolved in {self._seconds:g} seconds")


def _not_found(host: str, why: str) -> Trouble:
    return Trouble(Kind.UNREACHABLE, f"the smarthost's name, {host}, {why}", "4.4.3")
