"""Opens a connection to a site: host after host and address after address, until one is ready for mail (`greeting.py`).

`approach.py` says what may be tried and when to stop: one dead or unwilling server must not hold up the mail, and a site must not
be knocked at for ever.  The addresses of one host are raced (`race.py`); what becomes of each is told to `endpoints.py`.
Waits for nothing itself: it yields what it needs (`needs.py`).  The only caller of `dial`.
"""

from __future__ import annotations

import errno
import functools
import random
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from typing import Protocol as Port

import trio

from postroad.log import get_logger, printable

from .approach import MAX_SESSIONS, Approach, Ways
from .dial import Dial
from .greeting import Connection, Greeter
from .handshake import Handshake, Terms
from .known import Flaw, KnownHosts
from .limit import Overdue
from .mx import Route
from .needs import Need, Talking
from .places import Place
from .plain import connect, connect_nowait
from .race import Finish, race
from .settings import SmtpSettings
from .talk import Talk
from .tls import Level, Tls
from .trouble import Kind, Trouble, is_local
from .verdicts import Remote
from .wire import Wire

__all__ = ["Opener"]

_log = get_logger()


class Addresses(Port):
    """Finds the addresses of a host.  Raises Trouble."""

    def addresses_nowait(self, host: str) -> Sequence[str] | None:
        """They, where they are known without asking anybody; else None."""
        ...

    async def addresses(self, host: str) -> Sequence[str]: ...


class _Landed(NamedTuple):
    """A connection to an address of a host.  begun: its number among the endpoint's."""

    host: str
    address: str
    begun: int


class Opener:
    """Opens connections on one transport's terms.

    dial: how connections are made; None: as this machine makes them.  rng: for the order among equal hosts.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        terms: Terms,
        tls: Tls,
        dial: Dial | None,
        ways: Ways,
        names: Addresses,
        known: KnownHosts,
        rng: random.Random,
    ) -> None:
        self._connect_seconds = settings.connect_seconds
        self._terms = terms
        self._tls = tls
        self._greeter = Greeter(settings, tls)
        self._dial_as_told = dial
        self._ways = ways
        self._endpoints = ways.endpoints
        self._names = names
        self._known = known
        self._rng = rng

    def open(self, route: Route, talk: Talk) -> Talking[Connection]:
        """A connection to one of the route's hosts, to be given back with `closed`; what it is spoken over is `talk`'s.  Raises
        Trouble: what the first host that was tried had to say."""
        approach = Approach(route, self._ways)
        for host in approach.hosts(route.ordered(self._rng)):
            connection = yield from self._open_at(host, approach, talk)
            if connection is not None:
                return connection
            if approach.is_over:
                break
        raise approach.outcome()

    def served(self, connection: Connection) -> None:
        """A connection got its first answer about a message."""
        connection.has_served = True
        self._endpoints.served(connection.endpoint)

    def closed(self, connection: Connection, trouble: Trouble | None) -> None:
        """A connection has ended, by a trouble or in peace."""
        if connection.has_served:
            self._endpoints.closed(connection.endpoint)
        elif trouble is not None:
            self._endpoints.failed(connection.endpoint, trouble, connection.begun)

    def _open_at(self, host: str, approach: Approach, talk: Talk) -> Talking[Connection | None]:
        waiting = approach.usable(host, (yield from self._addresses(host, approach, talk)))
        while waiting and not approach.is_over:
            racing = waiting[: approach.addresses_left]
            landed, failed = yield from self._connect(host, racing, approach, talk)
            if landed is None:
                return None
            connection = yield from self._get_ready(landed, approach, talk)
            if connection is not None:
                return connection
            waiting = [address for address in waiting if address != landed.address and address not in failed]
        return None

    def _addresses(self, host: str, approach: Approach, talk: Talk) -> Talking[Sequence[str]]:
        try:
            found = self._names.addresses_nowait(host)
            if found is None:
                talk.limit.lift()
                found = yield functools.partial(self._names.addresses, host)
        except Trouble as trouble:
            approach.note(trouble)
            return ()
        return found

    def _connect(
        self, host: str, addresses: Sequence[str], approach: Approach, talk: Talk
    ) -> Talking[tuple[_Landed | None, Sequence[str]]]:
        """A connection to one of the addresses, or None where each failed; and those that did."""
        begun: dict[str, int] = {}
        port = approach.route.port
        finish = yield from self._dial(addresses, port, begun, talk)
        approach.tried.update(begun)
        for address, error in finish.failures.items():
            self._failed(address, _unreachable(error, _name(host, address, port)), begun[address], approach)
        for address in finish.overtaken:
            self._endpoints.overtaken((address, port))
        if finish.address:
            return _Landed(host, finish.address, begun[finish.address]), list(finish.failures)
        _raise_if_hopeless(finish.failures.values(), host)
        return None, list(finish.failures)

    def _dial(self, addresses: Sequence[str], port: int, begun: dict[str, int], talk: Talk) -> Talking[Finish]:
        """begun: gets the numbers of the connections that were tried."""
        if len(addresses) == 1 and self._dial_as_told is None:
            address = addresses[0]
            begun[address] = self._endpoints.begin((address, port))
            try:
                return (yield from self._dial_alone(address, port, talk))
            except BlockingIOError:
                pass  # somebody has to come back for it

        async def dial(address: str) -> trio.abc.Stream:
            if address not in begun:
                begun[address] = self._endpoints.begin((address, port))
            return await self._dial_in_time(address, port)

        talk.limit.lift()
        finish: Finish = yield functools.partial(race, dial, addresses)
        if finish.stream is not None:
            talk.begin(Wire(finish.stream))
        return finish

    def _dial_alone(self, address: str, port: int, talk: Talk) -> Talking[Finish]:
        """With nobody to race against it needs no task.  Raises BlockingIOError where there is nothing to wait for."""
        finish = Finish()
        try:
            stream = connect_nowait(address, port, self._ways.sources.source_for(address))
            talk.begin(Wire(stream))
            if stream.is_pending:
                talk.limit.allow(self._connect_seconds)
                yield Need.ROOM
                stream.finish()
            finish.address = address
        except BlockingIOError:
            raise
        except OSError as error:
            finish.failures[address] = error
            talk.hang_up_nowait()
        except Overdue:
            finish.failures[address] = self._late()
            talk.hang_up_nowait()
        return finish

    async def _dial_in_time(self, address: str, port: int) -> trio.abc.Stream:
        with trio.move_on_after(self._connect_seconds):
            if self._dial_as_told is not None:
                return await self._dial_as_told(address, port)
            return await connect(address, port, self._ways.sources.source_for(address))
        raise self._late()

    def _late(self) -> OSError:
        return TimeoutError(errno.ETIMEDOUT, f"no answer within {self._connect_seconds:g} seconds")

    def _failed(self, address: str, trouble: Trouble, begun: int, approach: Approach) -> None:
        approach.note(trouble)
        self._endpoints.failed((address, approach.route.port), trouble, begun)

    def _get_ready(self, landed: _Landed, approach: Approach, talk: Talk) -> Talking[Connection | None]:
        host = landed.host
        avoid = {flaw for flaw in (Flaw.TLS, Flaw.EHLO) if self._known.has(host, flaw)}
        connection = yield from self._greet_until_ready(landed, avoid, approach, talk)
        if (Flaw.EHLO in avoid) is (connection is None):
            self._known.forget(host, Flaw.EHLO)  # it works, or HELO fares no better: it was something else
        return connection

    def _greet_until_ready(
        self, landed: _Landed, avoid: set[Flaw], approach: Approach, talk: Talk
    ) -> Talking[Connection | None]:
        """Greet; once more, on a new connection, where the trouble can be gone round.  avoid: gets what is then left out."""
        while True:
            try:
                return (yield from self._greet(landed, avoid, approach, talk))
            except Trouble as caught:
                trouble = caught
            if not talk.hang_up_nowait():
                yield talk.hang_up
            way = self._way_round(trouble, landed)  # is noted even where only the next attempt can take it
            if way is None or approach.sessions >= MAX_SESSIONS:
                self._give_up(landed, trouble, approach)
                return None
            avoid |= way
            approach.note(trouble)
            again, _ = yield from self._connect(landed.host, [landed.address], approach, talk)
            if again is None:
                return None
            landed = again

    def _give_up(self, landed: _Landed, trouble: Trouble, approach: Approach) -> None:
        if trouble.kind is Kind.LOOP:
            approach.looped(landed.host, trouble)
            return
        self._failed(landed.address, trouble, landed.begun, approach)
        if trouble.kind is Kind.NO_LOGIN:
            raise trouble

    def _way_round(self, trouble: Trouble, landed: _Landed) -> set[Flaw] | None:
        """What more to go without: TLS where it fails and may be done without (RFC 7435), EHLO where it is hung up on; nothing
        where resuming may have been the trouble; None where there is no point in another connection."""
        if trouble.may_be_ticket:
            return set()
        flaw = trouble.flaw
        if flaw is None or not self._may_do_without:
            return None
        host = landed.host
        self._known.note(host, flaw, begun=landed.begun, noted=self._endpoints.step())
        if self._known.has(host, flaw):
            _log.warning("host_is_flawed", host=host, flaw=flaw.value, reason=trouble.said)
        return {flaw}

    @property
    def _may_do_without(self) -> bool:
        """Whether TLS, or EHLO, may be given up where they fail: not where nobody speaks plain text or nobody should; nor with a
        login, which only EHLO leads to, and whose password whoever cuts a connection would else get to see."""
        is_open = self._tls.level in (Level.NONE, Level.OPPORTUNISTIC) and not self._terms.implicit_tls
        return is_open and self._terms.login is None

    def _greet(self, landed: _Landed, avoid: Collection[Flaw], approach: Approach, talk: Talk) -> Talking[Connection]:
        approach.sessions += 1
        host, address, route = landed.host, landed.address, approach.route
        remote = Remote(site=route.site, host=_name(host, address, route.port))
        handshake = Handshake(self._terms, avoid)
        connection = Connection(talk.wire, handshake, host, remote, (address, route.port), landed.begun)
        yield from self._greeter.greet(connection, talk)
        if self._terms.login is not None:
            remote.hide = handshake.hide
        if not route.is_trusted and self._is_ourselves(connection.name):
            raise _loop(connection)
        return connection

    def _is_ourselves(self, name: str) -> bool:
        """Only a name with a dot says who somebody is: many machines are called localhost, or mail."""
        return "." in name and name == self._terms.helo.lower()


@functools.lru_cache(maxsize=1000)  # a server that takes one message a connection is called the same each time
def _name(host: str, address: str, port: int) -> str:
    if address == host and Place(host, port).is_unix:
        return printable(str(Place(host, port)), 320)
    return printable(f"{host} [{address}]:{port}", 320)


def _unreachable(error: OSError, remote: str) -> Trouble:
    """No connection.  This machine's own lack of descriptors, memory or an address is told apart."""
    text = printable(error.strerror or str(error), 200)
    if is_local(error):
        trouble = Trouble(Kind.LOCAL, f"no connection can be made from here: {text}", "4.3.2")
    else:
        trouble = Trouble(Kind.UNREACHABLE, f"cannot connect: {text}", "4.4.1")
    trouble.remote = remote
    return trouble


def _raise_if_hopeless(errors: Iterable[OSError], host: str) -> None:
    """No descriptors, no memory: another address would fare the same.  For want of an own address of its family it would not."""
    for error in errors:
        if is_local(error) and error.errno != errno.EADDRNOTAVAIL:
            raise _unreachable(error, host) from error


def _loop(connection: Connection) -> Trouble:
    said = f"mail for the domain loops back to this host: {connection.remote.host} has our own name, {connection.name}"
    trouble = Trouble(Kind.LOOP, printable(said, 600), "4.4.6")
    trouble.remote, trouble.tls = connection.remote.host, connection.remote.tls
    return trouble
