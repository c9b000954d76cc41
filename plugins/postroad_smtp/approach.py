"""One attempt to reach a site: which addresses may be tried, how many are left to try, and what to tell if none will do.

Synchronous, no I/O.  The limits are Postfix's: five addresses and two sessions.  What is told is the first trouble of a server
that was tried; why an address was not tried (not allowed, left alone, not to be reached from here) only for want of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from postroad.log import printable
from postroad.verdict import Scope

from .dial import Guard
from .endpoints import Endpoints
from .mx import Route
from .places import Sources
from .trouble import Kind, Trouble

__all__ = ["MAX_SESSIONS", "Approach", "Ways"]

MAX_SESSIONS = 2
_MAX_ADDRESSES = 5
_PER_HOST = 3  # so that five addresses lead to two hosts where there are two
_MAX_HOSTS = 10  # that are looked up: no stranger's MX records keep an attempt asking the DNS for an hour


class Ways(NamedTuple):
    """What decides whether an address may be tried now."""

    guard: Guard
    sources: Sources
    endpoints: Endpoints


class Approach:
    """route: where to.  tried: the addresses that a connection was begun to.  sessions: how many were made."""

    def __init__(self, route: Route, ways: Ways) -> None:
        self.route = route
        self.tried: set[str] = set()
        self.sessions = 0
        self._ways = ways
        self._hosts = 0
        self._told: Trouble | None = None
        self._has_looped = False

    @property
    def is_over(self) -> bool:
        return self._has_looped or not self.addresses_left or self.sessions >= MAX_SESSIONS

    @property
    def addresses_left(self) -> int:
        return _MAX_ADDRESSES - len(self.tried)

    def hosts(self, ordered: Sequence[str]) -> Sequence[str]:
        """Those of the hosts that are looked at."""
        self._hosts = min(len(ordered), _MAX_HOSTS)
        return ordered[:_MAX_HOSTS]

    def usable(self, host: str, found: Sequence[str]) -> list[str]:
        """Which of a host's addresses to try, in order; why the others are not is noted."""
        endpoints, port = self._ways.endpoints, self.route.port
        usable = [address for address in found if self._may_try(host, address)]
        usable.sort(key=lambda address: endpoints.is_slow((address, port)))
        return usable[: _PER_HOST if len(self.route.hosts) > 1 else _MAX_ADDRESSES]

    def _may_try(self, host: str, address: str) -> bool:
        trouble = self._objection(host, address)
        if trouble is not None:
            self.note(trouble)
        return trouble is None

    def _objection(self, host: str, address: str) -> Trouble | None:
        if not self.route.is_trusted and not self._ways.guard.allows(address):
            return _prohibited(host, address)
        if not self._ways.sources.may_reach(address):
            said = f"{printable(host, 255)} has the address {address}, and source_addresses has none of its family"
            return Trouble(Kind.UNSUITED, said, "4.4.4")
        return self._ways.endpoints.resting((address, self.route.port))

    def note(self, trouble: Trouble) -> None:
        """Remember the trouble, if it is the one to tell."""
        if self._told is None or _weight(trouble) > _weight(self._told):
            self._told = trouble

    def looped(self, host: str, trouble: Trouble) -> None:
        """The host is ourselves: neither it nor worse ones are tried, and where none is better the mail fails (RFC 5321 5.1)."""
        self._has_looped = True
        self.note(trouble)
        if self.route.is_best(host):
            self._told = Trouble(Kind.NO_SUCH_HOST, trouble.said, "5.4.6", scope=Scope.RECIPIENT)
            self._told.remote, self._told.tls = trouble.remote, trouble.tls

    def outcome(self) -> Trouble:
        """What to tell, now that no host was of use.  Refuses only where every host was looked at."""
        is_cut = self._hosts < len(self.route.hosts)
        if self._told is not None and not (is_cut and self._told.kind is Kind.PROHIBITED):
            return self._told
        if is_cut:
            return Trouble(
                Kind.UNREACHABLE, f"none of the first {self._hosts} mail servers has a usable address", "4.4.4"
            )
        return Trouble(Kind.NO_SUCH_HOST, "no mail server of the domain has an address", "5.4.4")


def _weight(trouble: Trouble) -> int:
    """How much a trouble tells: nothing was proven where nothing was tried."""
    if trouble.kind is Kind.PROHIBITED:
        return 0
    return 1 if trouble.kind in (Kind.LOCAL, Kind.UNSUITED) or trouble.is_remembered else 2


def _prohibited(host: str, address: str) -> Trouble:
    said = f"{printable(host, 255)} has the address {address}, which is not public, and allow_networks does not have it"
    return Trouble(Kind.PROHIBITED, said, "5.4.4")
