"""From a domain to the servers that take its mail, and to their addresses.  RFC 5321 section 5.1, RFC 7505.

The implicit MX only where there is no MX at all; a null MX and a name that does not exist refuse; silence and SERVFAIL defer.
Equal preferences are tried in random order.  Knows the rules, asks through `lookup.py`, connects to nobody.
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import trio

from postroad.verdict import Scope

from .cache import Cache
from .lookup import Found, Resolver, Status
from .settings import Place
from .trouble import Kind, Trouble

__all__ = ["Exchangers", "Route", "smarthost_route"]

_PER_HOST = 3  # addresses of one host in an attempt, so that five lead to two hosts where there are two


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
        return [host for _, _, host in sorted((preference, rng.random(), host) for preference, host in self.hosts)]


class Exchangers:
    """Finds routes and addresses, and remembers them.  own_name: hosts of that name, and worse ones, are left out."""

    def __init__(self, nursery: trio.Nursery, resolver: Resolver, *, port: int, own_name: str) -> None:
        self._resolver = resolver
        self._port = port
        self._own_name = own_name.lower()
        self._routes: Cache[Route | Trouble] = Cache(nursery, self._find_route)
        self._addresses: Cache[Found] = Cache(nursery, self._find_addresses)

    def route_nowait(self, domain: str) -> Route | None:
        """The route, if it is remembered."""
        route = self._routes.get_nowait(domain)
        return route if isinstance(route, Route) else None

    async def route(self, domain: str) -> Route:
        """The route for a domain (an A-label or an address literal).  Raises Trouble where it has none, or none now."""
        route = await self._routes.get(domain)
        if isinstance(route, Trouble):
            raise _copy(route)
        return route

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, IPv6 and IPv4 in turns; none where it has none.  Raises Trouble where the DNS fails."""
        if (literal := _literal(host)) is not None:
            return (literal,)
        found = await self._addresses.get(host)
        if found.status is Status.FAILED:
            raise Trouble(Kind.UNREACHABLE, found.said, "4.4.3")
        return found.records[:_PER_HOST]

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
                raise Trouble(Kind.UNREACHABLE, found.said, "4.4.3")
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
        own = min((preference for preference, host in hosts if host == self._own_name), default=None)
        left = hosts if own is None else [pair for pair in hosts if pair[0] < own]
        if not left:
            raise _refusal(f"mail for {domain} loops back to this host", "5.4.6")
        return left

    def _route_of(self, hosts: Sequence[tuple[int, str]]) -> Route:
        return Route(_site([host for _, host in hosts]), tuple(sorted(set(hosts))), self._port)

    async def _find_addresses(self, host: str) -> tuple[Found, float]:
        # one after the other: nurseries are the factory's, and the answers are kept
        found = [await self._resolver.look_up(host, kind) for kind in ("AAAA", "A")]
        pairs = zip_longest(*(answer.records for answer in found))
        records = tuple(record for record in chain.from_iterable(pairs) if record is not None)
        failed = next((answer for answer in found if answer.status is Status.FAILED), None)
        if failed is not None and not records:
            return failed, failed.seconds
        return Found(Status.FOUND, records), min(answer.seconds for answer in found)


def _literal(host: str) -> str | None:
    text = host[1:-1].removeprefix("IPv6:") if host.startswith("[") else host
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _site(hosts: Sequence[str]) -> str:
    """A name for the set: readable, and the same whatever the order."""
    names = sorted(set(hosts))
    if len(names) == 1:
        return names[0]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:10]
    return f"{names[0]}+{len(names) - 1}#{digest}"


def _refusal(said: str, status: str) -> Trouble:
    return Trouble(Kind.NO_SUCH_HOST, said, status, scope=Scope.RECIPIENT)


def _copy(trouble: Trouble) -> Trouble:
    """An exception is raised once: a kept one would gather tracebacks."""
    return Trouble(trouble.kind, trouble.said, trouble.status, scope=trouble.scope)


def smarthost_route(place: Place) -> Route:
    """The route of a transport with a smarthost."""
    return Route(str(place), ((0, place.host),), place.port, is_trusted=True)
