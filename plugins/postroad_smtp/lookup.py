"""Asks the DNS, by dnspython under trio, and says in four words what came of it.  RFC 1034, RFC 2308.

No exception of dnspython leaves this module.  CNAMEs are followed at most ten steps.  Who caches stands in `mx.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
import trio

from postroad.log import printable

from .settings import Place

__all__ = ["Dns", "Found", "Resolver", "Status"]

_MAX_CNAMES = 10  # as Postfix
_MIN_SECONDS, _MAX_SECONDS = 30.0, 3600.0  # bounds of a TTL: neither a query for each message, nor stale for a day
_ABSENT_SECONDS = 300.0
_FAILED_SECONDS = 10.0  # a dead DNS server is not asked for each message


class Status(enum.Enum):
    """What came of a look-up."""

    FOUND = "found"
    NO_DATA = "no such record"
    NO_NAME = "no such name"
    FAILED = "failed"


class Found(NamedTuple):
    """The answer.  records: addresses, or (preference, host) pairs for MX.  seconds: how long it holds."""

    status: Status
    records: tuple[Any, ...] = ()
    seconds: float = _FAILED_SECONDS
    said: str = ""


class Resolver(Protocol):
    """The port: tests and other resolvers take the place of Dns."""

    async def look_up(self, name: str, kind: str) -> Found:
        """Records of a kind ("MX", "A", "AAAA") of a name."""
        ...


class Dns:
    """The resolver of the transport.  servers: those to ask; none for the system's."""

    def __init__(self, servers: Sequence[Place], seconds: float) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        self._seconds = seconds
        self._resolver.lifetime = seconds
        self._resolver.timeout = min(self._resolver.timeout, seconds / 2)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(place.host, place.port) for place in servers]

    async def look_up(self, name: str, kind: str) -> Found:
        with trio.move_on_after(self._seconds):  # over all steps, and on trio's clock
            return await self._follow(name, kind)
        return Found(Status.FAILED, said="DNS look-up failed: no answer in time")

    async def _follow(self, name: str, kind: str) -> Found:
        for _ in range(_MAX_CNAMES):
            try:
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
            except dns.resolver.NXDOMAIN:
                return Found(
                    Status.NO_NAME, seconds=_ABSENT_SECONDS, said=f"the domain {printable(name, 255)} does not exist"
                )
            except (dns.exception.DNSException, OSError, ValueError) as error:
                return Found(Status.FAILED, said=f"DNS look-up failed: {printable(str(error), 200)}")
            seconds = min(max(float(answer.chaining_result.minimum_ttl), _MIN_SECONDS), _MAX_SECONDS)
            records = [_plain(record, kind) for record in cast("Iterable[Any]", answer.rrset or ())]
            if records:
                return Found(Status.FOUND, tuple(records), seconds)
            target = answer.canonical_name.to_text(omit_final_dot=True)
            if target.lower() == name.lower().rstrip("."):
                return Found(Status.NO_DATA, seconds=seconds)
            name = target
        return Found(Status.FAILED, said=f"more than {_MAX_CNAMES} CNAMEs")


def _plain(record: Any, kind: str) -> Any:
    if kind == "MX":
        return record.preference, record.exchange.to_text(omit_final_dot=True).lower()
    return record.address
