"""Asks the DNS, by dnspython under trio, and says in four words what came of it.  RFC 1034, RFC 2308.

No exception of dnspython leaves this module.  CNAMEs are followed at most ten steps.  Who caches stands in `mx.py`.  What has an
ordinary answer is asked by `datagram.py`, at a fraction of the cost; dnspython is asked where that has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import dns.asyncresolver
import dns.exception
import dns.message
import dns.nameserver
import dns.resolver
import trio

from postroad.errors import ConfigError
from postroad.log import printable

from .answers import Found, Status
from .datagram import Quick, Told
from .domains import literal_address
from .places import Place

__all__ = ["Dns"]

_MAX_CNAMES = 10  # as Postfix
_MIN_SECONDS, _MAX_SECONDS = 30.0, 3600.0  # bounds of a TTL: neither a query for each message, nor stale for a day
_ABSENT_SECONDS = 300.0
_AT_ONCE = 200  # questions: of a burst of more than 270 datagrams Linux drops what a server's socket has no room for


class Dns:
    """The resolver of the transport.  servers: those to ask; none for the system's.  Raises ConfigError where that has none."""

    def __init__(self, servers: Sequence[Place | dns.nameserver.Nameserver], seconds: float) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration as error:
            raise ConfigError("dns_servers", f"the system names no DNS server ({error}); name one here") from None
        self._seconds = seconds
        self._turns = _Turns(_AT_ONCE)
        self._resolver.lifetime = seconds
        self._resolver.timeout = min(self._resolver.timeout, seconds / 2)
        if servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(server.host, server.port) if isinstance(server, Place) else server
                for server in servers
            ]
        self._quick = _quick(self._resolver)

    async def look_up(self, name: str, kind: str, *, is_odd: bool = False) -> Found:
        """Records of a kind; see `answers.Resolver`."""
        await self._turns.take(1)  # whose turn has not come is no silence of the server's
        try:
            deadline = trio.current_time() + self._seconds  # over all steps, and on trio's clock
            if self._quick is not None and not is_odd:
                (told,) = await self._quick.ask(name, kind)
                if told is not None:
                    return _ordinary(name, told)
            with trio.CancelScope(deadline=deadline):
                return await self._follow(name, kind)
            return Found(Status.FAILED, said="DNS look-up failed: no answer in time")
        finally:
            self._turns.give(1)

    async def look_up_ordinary(self, name: str, kinds: Sequence[str]) -> Sequence[tuple[str, Found, float]]:
        """What is ordinary of several kinds; see `answers.Resolver`."""
        if self._quick is None:
            return ()
        await self._turns.take(len(kinds))
        try:
            answers = await self._quick.ask(name, *kinds)
        finally:
            self._turns.give(len(kinds))
        return [
            (kind, _ordinary(name, told), told.at)
            for kind, told in zip(kinds, answers, strict=True)
            if told is not None
        ]

    async def _follow(self, name: str, kind: str) -> Found:
        aliases = 0
        while aliases <= _MAX_CNAMES:
            try:
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
            except dns.resolver.NXDOMAIN:
                return _no_name(name)
            except dns.resolver.NoNameservers as error:
                if _is_chain_too_long(error):
                    break
                return _failure(error)
            except (dns.exception.DNSException, OSError, ValueError) as error:
                return _failure(error)
            aliases += len(answer.chaining_result.cnames)
            target = answer.canonical_name.to_text(omit_final_dot=True)
            found = _found(answer, kind)
            if aliases <= _MAX_CNAMES and (found.records or not answer.chaining_result.cnames):
                return found
            name = target
        return Found(Status.FAILED, said=f"more than {_MAX_CNAMES} CNAMEs, or a loop of them", code="4.4.4")


class _Turns:
    """Questions that may be under way at once; first come, first served."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting = 0
        self._first = trio.StrictFIFOLock()  # held by whoever is first in line
        self._given = trio.lowlevel.ParkingLot()

    async def take(self, count: int) -> None:
        """Without a checkpoint where so many are free."""
        if self._waiting or self._free < count:
            await self._wait(count)
        self._free -= count

    async def _wait(self, count: int) -> None:
        self._waiting += 1
        try:
            async with self._first:
                while self._free < count:
                    await self._given.park()
        finally:
            self._waiting -= 1

    def give(self, count: int) -> None:
        self._free += count
        self._given.unpark_all()


def _quick(resolver: dns.asyncresolver.Resolver) -> Quick | None:
    """For the first server, unless they are to be asked in turns, or it does not listen as DNS servers do."""
    server = resolver.nameservers[0]
    place: Place | None = None
    if isinstance(server, str):
        place = Place(server, resolver.port) if literal_address(server) == server else None
    elif type(server) is dns.nameserver.Do53Nameserver:
        place = Place(server.address, server.port)
    # The half of one server's time: where the first one is silent, the others have their turn within the whole.
    return None if resolver.rotate or place is None else Quick(place, resolver.timeout / 2)


def _ordinary(name: str, told: Told) -> Found:
    if not told.exists:
        return _no_name(name)
    return Found(Status.FOUND if told.records else Status.NO_DATA, told.records, _bounded(told.seconds))


def _no_name(name: str) -> Found:
    said = f"the domain {printable(name, 255)} does not exist"
    return Found(Status.NO_NAME, seconds=_ABSENT_SECONDS, said=said)


def _bounded(seconds: float) -> float:
    return min(max(float(seconds), _MIN_SECONDS), _MAX_SECONDS)


def _is_chain_too_long(error: dns.resolver.NoNameservers) -> bool:
    """Whether a server answered, with more CNAMEs than dnspython follows in one answer."""
    tries = cast("Iterable[tuple[Any, ...]]", cast("Any", error).kwargs["errors"])
    return any(isinstance(part, dns.message.ChainTooLong) for each in tries for part in each)


def _failure(error: Exception) -> Found:
    return Found(Status.FAILED, said=f"DNS look-up failed: {printable(str(error), 200)}")


def _found(answer: dns.resolver.Answer, kind: str) -> Found:
    seconds = _bounded(answer.chaining_result.minimum_ttl)
    records = tuple(_plain(record, kind) for record in cast("Iterable[Any]", answer.rrset or ()))
    if not records and not answer.chaining_result.cnames and answer.response.answer:
        return Found(Status.FAILED, said="DNS look-up failed: the answer is about another name")  # and proves nothing
    return Found(Status.FOUND if records else Status.NO_DATA, records, seconds)


def _plain(record: Any, kind: str) -> Any:
    if kind == "MX":
        return record.preference, record.exchange.to_text(omit_final_dot=True).lower()
    return record.address
