"""Opens a connection to a site: address after address, until one is ready for mail (`greeting.py`).  The only caller of `dial`.

At most five addresses and two sessions in an attempt, as Postfix: one dead or unwilling server must not hold up the mail, and a
site must not be knocked at for ever.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Port

import trio

from postroad.log import get_logger, printable

from .dial import Dial, Guard
from .greeting import Connection, Greeter
from .handshake import Handshake, Terms
from .known import Flaw, KnownHosts
from .mx import Route
from .settings import SmtpSettings
from .tls import Level, Tls
from .trouble import Kind, Trouble, is_local
from .verdicts import Remote
from .wire import Wire

__all__ = ["Opener"]

_MAX_ADDRESSES = 5
_MAX_SESSIONS = 2
_log = get_logger()


class Addresses(Port):
    """Finds the addresses of a host.  Raises Trouble."""

    async def addresses(self, host: str) -> Sequence[str]: ...


@dataclass(slots=True)
class _Attempt:
    """One round over a route.  first: the trouble to tell; later ones are often only its consequence."""

    addresses: int = 0
    sessions: int = 0
    first: Trouble | None = None

    @property
    def is_over(self) -> bool:
        return self.addresses >= _MAX_ADDRESSES or self.sessions >= _MAX_SESSIONS

    def note(self, trouble: Trouble) -> None:
        if self.first is None or self.first.kind is Kind.PROHIBITED:
            self.first = trouble


class Opener:
    """Opens connections on one transport's terms."""

    def __init__(
        self,
        settings: SmtpSettings,
        terms: Terms,
        tls: Tls,
        dial: Dial,
        guard: Guard,
        names: Addresses,
        known: KnownHosts,
    ) -> None:
        self._settings = settings
        self._terms = terms
        self._tls = tls
        self._greeter = Greeter(settings, tls)
        self._dial = dial
        self._guard = guard
        self._names = names
        self._known = known
        self._rng = random.Random()  # noqa: S311 - spreads load, hides nothing

    async def open(self, route: Route) -> Connection:
        """A connection to one of the route's hosts.  Raises Trouble: what the first host that was tried had to say."""
        attempt = _Attempt()
        for host in route.ordered(self._rng):
            for address in self._allowed(route, host, await self._addresses(host, attempt), attempt):
                if attempt.is_over:
                    break
                connection = await self._try(route, host, address, attempt)
                if connection is not None:
                    return connection
        raise attempt.first or Trouble(Kind.NO_SUCH_HOST, "no mail server of the domain has an address", "5.4.4")

    def _allowed(self, route: Route, host: str, addresses: Sequence[str], attempt: _Attempt) -> list[str]:
        if route.is_trusted:
            return list(addresses)
        for address in addresses:
            if not self._guard.allows(address):
                attempt.note(_prohibited(host, address))
        return [address for address in addresses if self._guard.allows(address)]

    async def _addresses(self, host: str, attempt: _Attempt) -> Sequence[str]:
        try:
            return await self._names.addresses(host)
        except Trouble as trouble:
            attempt.note(trouble)
            return ()

    async def _try(self, route: Route, host: str, address: str, attempt: _Attempt) -> Connection | None:
        """One address; twice if its TLS fails and may be done without (RFC 7435)."""
        attempt.addresses += 1
        for _ in range(2):
            try:
                return await self._open_at(route, host, address, attempt)
            except Trouble as trouble:
                attempt.note(trouble)
                if trouble.kind is Kind.NO_LOGIN or trouble.kind is Kind.LOCAL:
                    raise
                if not self._may_fall_back(trouble, host) or attempt.sessions >= _MAX_SESSIONS:
                    return None
        return None

    def _may_fall_back(self, trouble: Trouble, host: str) -> bool:
        if trouble.kind is not Kind.TLS_FAILED or self._tls.level is not Level.OPPORTUNISTIC:
            return False
        self._known.note(host, Flaw.TLS)
        _log.warning("tls_given_up", host=host, reason=trouble.said)
        return True

    async def _open_at(self, route: Route, host: str, address: str, attempt: _Attempt) -> Connection:
        remote = Remote(site=route.site, host=_name(host, address, route.port))
        stream = await self._connect(address, route.port, remote)
        attempt.sessions += 1
        handshake = Handshake(self._terms, avoid_tls=self._known.has(host, Flaw.TLS))
        connection = Connection(Wire(stream), handshake, host, remote)
        try:
            await self._greeter.greet(connection)
        except BaseException:
            with trio.move_on_after(1, shield=True):
                await connection.wire.close_forcefully()
            raise
        return connection

    async def _connect(self, address: str, port: int, remote: Remote) -> trio.abc.Stream:
        seconds = self._settings.connect_seconds
        try:
            with trio.move_on_after(seconds):
                return await self._dial(address, port)
        except OSError as error:
            raise _unreachable(error, remote) from error
        raise _trouble(Kind.UNREACHABLE, f"the connection took over {seconds:g} seconds", "4.4.1", remote)


def _name(host: str, address: str, port: int) -> str:
    return printable(f"{host} [{address}]:{port}", 320)


def _prohibited(host: str, address: str) -> Trouble:
    said = f"{printable(host, 255)} has the address {address}, which is not public and not allowed"
    return Trouble(Kind.PROHIBITED, said, "5.4.4")


def _unreachable(error: OSError, remote: Remote) -> Trouble:
    """No connection.  This machine's own lack of descriptors or memory is told apart."""
    text = printable(error.strerror or str(error), 200)
    if is_local(error):
        return _trouble(Kind.LOCAL, f"no connection can be made from here: {text}", "4.3.2", remote)
    return _trouble(Kind.UNREACHABLE, f"cannot connect: {text}", "4.4.1", remote)


def _trouble(kind: Kind, said: str, status: str, remote: Remote) -> Trouble:
    trouble = Trouble(kind, said, status)
    trouble.remote = remote.host
    return trouble
