"""Opens a connection to a site: address after address, greeting, EHLO, STARTTLS, login.  The only caller of `dial`.

At most five addresses and two sessions in an attempt, as Postfix: one dead or unwilling server must not hold up the mail, and a
site must not be knocked at for ever.  Each step has a total time, however slowly its bytes drip.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol as Port
from typing import TypeVar

import trio

from postroad.log import get_logger, printable

from .dial import Dial, Guard
from .handshake import Handshake, Ready, Say, Terms
from .known import Flaw, KnownHosts
from .mx import Route
from .protocol import Answer, Awaited, Protocol
from .reply import ReplyError
from .settings import SmtpSettings
from .tls import Level, Tls
from .trouble import Kind, Trouble, is_local
from .verdicts import Remote
from .wire import Wire

__all__ = ["Connection", "Opener"]

_MAX_ADDRESSES = 5
_MAX_SESSIONS = 2
_log = get_logger()
T = TypeVar("T")


class Addresses(Port):
    """Finds the addresses of a host.  Raises Trouble."""

    async def addresses(self, host: str) -> Sequence[str]: ...


@dataclass(slots=True)
class Connection:
    """A connection ready for its first envelope."""

    wire: Wire
    handshake: Handshake
    host: str
    remote: Remote


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
        try:
            stream = await self._within(
                self._settings.connect_seconds, self._dial(address, route.port), "the connection"
            )
        except (OSError, Trouble) as error:
            raise _unreachable(error, remote) from error
        attempt.sessions += 1
        wire = Wire(stream)
        try:
            handshake = Handshake(self._terms, avoid_tls=self._known.has(host, Flaw.TLS))
            await self._greet(wire, handshake, host, remote)
        except BaseException as error:
            with trio.move_on_after(1, shield=True):
                await wire.close_forcefully()
            if isinstance(error, Trouble):
                error.remote, error.tls = remote.host, remote.tls
            raise
        return Connection(wire, handshake, host, remote)

    # --- The beginning of a connection ---

    async def _greet(self, wire: Wire, handshake: Handshake, host: str, remote: Remote) -> None:
        remote.tls = "none"
        protocol: Protocol[None] = Protocol()
        protocol.expect(Awaited.GREETING, None)
        answer = await self._answer(wire, protocol, self._settings.greeting_seconds)
        deed = handshake.take(answer)
        while not isinstance(deed, Ready):
            if isinstance(deed, Say):
                deed = handshake.take(await self._say(wire, protocol, deed))
            else:
                await self._secure(wire, protocol, host, remote)
                protocol = Protocol()
                deed = handshake.secured()
        if protocol.has_more:
            raise _out_of_turn()

    async def _say(self, wire: Wire, protocol: Protocol[None], deed: Say) -> Answer[None]:
        if protocol.has_more:
            raise _out_of_turn()
        protocol.expect(deed.awaited, None)
        await self._within(self._settings.block_seconds, wire.send(deed.line), deed.awaited.name)
        return await self._answer(wire, protocol, self._settings.command_seconds)

    async def _answer(self, wire: Wire, protocol: Protocol[None], seconds: float) -> Answer[None]:
        """The next answer, within so many seconds in all."""
        awaited = protocol.awaited
        assert awaited is not None
        return await self._within(seconds, self._read(wire, protocol), f"the reply to {awaited.name}")

    async def _read(self, wire: Wire, protocol: Protocol[None]) -> Answer[None]:
        try:
            while (answer := protocol.next_answer()) is None:
                protocol.receive(await wire.receive())
        except ReplyError as error:
            raise Trouble(Kind.GARBAGE, str(error), "4.5.0") from error
        return answer

    async def _secure(self, wire: Wire, protocol: Protocol[None], host: str, remote: Remote) -> None:
        if protocol.has_more:  # an attacker's words, to be taken for the server's own after TLS (CVE-2011-0411's twin)
            raise Trouble(Kind.GARBAGE, "the server spoke behind its answer to STARTTLS", "4.7.0")
        securing = self._tls.secure(wire.stream, host)
        try:
            secured = await self._within(self._settings.tls_seconds, securing, "the TLS handshake")
        except Trouble as trouble:
            trouble.kind = Kind.TLS_FAILED
            raise
        wire.secured(secured)
        remote.tls = self._tls.reached(secured)

    async def _within(self, seconds: float, work: Awaitable[T], what: str) -> T:
        with trio.move_on_after(seconds):
            return await work
        raise Trouble(Kind.SILENT, f"{what} took over {seconds:g} seconds", "4.4.2")


def _name(host: str, address: str, port: int) -> str:
    return printable(f"{host} [{address}]:{port}", 320)


def _out_of_turn() -> Trouble:
    return Trouble(Kind.GARBAGE, "the server spoke out of turn", "4.5.0")


def _prohibited(host: str, address: str) -> Trouble:
    said = f"{printable(host, 255)} has the address {address}, which is not public and not allowed"
    return Trouble(Kind.PROHIBITED, said, "5.4.4")


def _unreachable(error: OSError | Trouble, remote: Remote) -> Trouble:
    """No connection.  This machine's own lack of descriptors or memory is told apart."""
    if is_local(error):
        trouble = Trouble(Kind.LOCAL, f"no connection can be made from here: {_text(error)}", "4.3.2")
    else:
        trouble = Trouble(Kind.UNREACHABLE, f"cannot connect: {_text(error)}", "4.4.1")
    trouble.remote = remote.host
    return trouble


def _text(error: OSError | Trouble) -> str:
    return error.said if isinstance(error, Trouble) else printable(error.strerror or str(error), 200)
