"""From a domain to the servers that take its mail, and to their addresses.  RFC 5321 section 5.1, RFC 7505.

The implicit MX only where there is no MX at all; a null MX and a name that does not exist refuse; silence and SERVFAIL defer.
Equal preferences are tried in random order.  Knows the rules, asks through a `Resolver`, connects to nobody.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import trio

from postroad.verdict import Scope

from .answers import Found, Resolver, Status
from .cache import Cache
from .domains import canonical, is_host_name, literal_address
from .race import in_turns
from .trouble import Kind, Trouble

__all__ = ["Exchangers", "Route"]

_FAMILIES = ("A", "AAAA")
_LATE_SECONDS = 1.0  # for IPv6 addresses, once there are others: some servers never answer for AAAA (RFC 4074)
_LATE = Found(Status.FAILED, said="DNS look-up failed: no answer yet")


class Route(NamedTuple):
    """Where mail for a domain goes.

    site: the stable name of the set of servers.  hosts: (preference, host), in no particular order.
    is_trusted: named by the configuration, so that its addresses may be private.
    """

    site: str
    hosts: tuple[tuple[int, str], ...]
    port: int
    is_trusted: bool = False

    def ordered(self, rng: random.Random) -> list[str]:
        """The hosts by preference, random among equals."""
        if len(self.hosts) == 1:
            return [self.hosts[0][1]]
        return [host for _, _, host in sorted((preference, rng.random(), host) for preference, host in self.hosts)]

    def is_best(self, host: str) -> bool:
        """Whether no host has a better preference."""
        best = min(preference for preference, _ in self.hosts)
        return (best, host) in self.hosts


class Exchangers:
    """Finds routes and addresses, and remembers them.  own_name: hosts of that name, and worse ones, are left out."""

    def __init__(self, nursery: trio.Nursery, resolver: Resolver, *, port: int, own_name: str) -> None:
        self._resolver = resolver
        self._port = port
        self._own_name = own_name.lower()
        self._routes: Cache[Route | Trouble] = Cache(nursery, self._find_route)
        self._records: Cache[Found] = Cache(nursery, self._find_records)
        self._ordinary: Cache[float] = Cache(nursery, self._find_ordinary)  # keeps nothing; the values are trio times

    def route_nowait(self, domain: str) -> Route | None:
        """The route, if it is remembered."""
        route = self._routes.get_nowait(domain)
        return route if isinstance(route, Route) else None

    async def route(self, domain: str) -> Route:
        """The route for a domain or an address literal.  Raises Trouble where it has none, or none now, or is no domain."""
        route = await self._routes.get(canonical(domain))
        if isinstance(route, Trouble):
            raise _copy(route)
        return route

    def addresses_nowait(self, host: str) -> Sequence[str] | None:
        """The same as `addresses`, where it is remembered; else None."""
        if (literal := literal_address(host)) is not None:
            return (literal,)
        v6, v4 = self._kept(host, "AAAA"), self._kept(host, "A")
        return None if v6 is None or v4 is None else _addresses_of(v6, v4)

    async def prepare(self, route: Route) -> None:
        """Have the addresses at hand of the host that is tried first, where it is known which: who then connects need not wait.
        Trouble is for that one, who gets the same answer."""
        best = min(route.hosts)
        if sum(preference == best[0] for preference, _ in route.hosts) == 1:
            with suppress(Trouble):
                await self.addresses(best[1])

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, IPv6 and IPv4 in turns; none where it has none.  Raises Trouble where the DNS fails."""
        if (known := self.addresses_nowait(host)) is not None:
            return known
        since = await self._ordinary.get(host)
        if self._kept(host, "AAAA") is None:
            self._records.begin(f"AAAA {host}")  # both at once, though the answers are taken one after the other
        if (v4 := self._kept(host, "A")) is None:
            v4, since = await self._records.get(f"A {host}"), trio.current_time()
        if (v6 := self._kept(host, "AAAA")) is not None:
            return _addresses_of(v6, v4)
        with trio.CancelScope(deadline=since + _LATE_SECONDS if v4.records else math.inf):
            return _addresses_of(await self._records.get(f"AAAA {host}"), v4)
        self._records.keep(f"AAAA {host}", _LATE, _LATE.seconds)  # nobody waits for it again, until it has come
        return v4.records

    def _kept(self, host: str, kind: str) -> Found | None:
        return self._records.get_nowait(f"{kind} {host}")

    async def _find_ordinary(self, host: str) -> tuple[float, float]:
        """Ask for the records that are not remembered, by the cheap way; when those of IPv4 were there."""
        kinds = [kind for kind in _FAMILIES if self._kept(host, kind) is None]
        since = trio.current_time()
        for kind, found, at in await self._resolver.look_up_ordinary(host, kinds):
            self._records.keep(f"{kind} {host}", found, found.seconds)
            since = at if kind == "A" else since
        return since, 0.0

    async def _find_records(self, key: str) -> tuple[Found, float]:
        """Of what is not ordinary."""
        kind, _, host = key.partition(" ")
        found = await self._resolver.look_up(host, kind, is_odd=True)
        return found, found.seconds

    async def _find_route(self, domain: str) -> tuple[Route | Trouble, float]:
        if domain.startswith("["):
            return self._route_of([(0, domain)]), 3600.0
        found = await self._resolver.look_up(domain, "MX")
        try:
            return self._judge(domain, found), found.seconds
        except Trouble as trouble:
            return trouble, found.seconds

    def _judge(self, domain: str, found: Found) -> Route:
        match found.status:
            case Status.FAILED:
                raise Trouble(Kind.UNREACHABLE, found.said, found.code)
            case Status.NO_NAME:
                raise _refusal(found.said, "5.1.2")
            case Status.NO_DATA:
                return self._route_of([(0, domain.lower())])
            case Status.FOUND:
                return self._route_of(self._usable(domain, found.records))

    def _usable(self, domain: str, records: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
        hosts = [(preference, host) for preference, host in records if host not in ("", ".")]
        if not hosts:
            raise _refusal(f"the domain {domain} takes no mail (null MX)", "5.1.10")
        hosts = [pair for pair in hosts if is_host_name(pair[1])]
        if not hosts:
            raise _refusal(f"the mail servers of {domain} have no names that a host can have", "5.4.4")
        own = min((preference for preference, host in hosts if host == self._own_name), default=None)
        left = hosts if own is None else [pair for pair in hosts if pair[0] < own]
        if not left:
            raise _refusal(f"mail for {domain} loops back to this host", "5.4.6")
        return left

    def _route_of(self, hosts: Sequence[tuple[int, str]]) -> Route:
        return Route(_site([host for _, host in hosts]), tuple(sorted(set(hosts))), self._port)


def _addresses_of(v6: Found, v4: Found) -> Sequence[str]:
    addresses = in_turns([*v6.records, *v4.records])
    failed = next((found for found in (v6, v4) if found.status is Status.FAILED), None)
    if failed is not None and not addresses:
        raise Trouble(Kind.UNREACHABLE, failed.said, failed.code)
    return addresses


def _site(hosts: Sequence[str]) -> str:
    """A name for the set: readable, the same whatever the order, and such as no host and no other set can have."""
    names = sorted(set(hosts))
    if len(names) == 1:
        return names[0]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    return f"{names[0]}+{len(names) - 1}#{digest}"


def _refusal(said: str, status: str) -> Trouble:
    return Trouble(Kind.NO_SUCH_HOST, said, status, scope=Scope.RECIPIENT)


def _copy(trouble: Trouble) -> Trouble:
    """An exception is raised once: a kept one would gather tracebacks."""
    return Trouble(trouble.kind, trouble.said, trouble.status, scope=trouble.scope)
