"""A connection from its first byte to its first envelope: greeting, EHLO, STARTTLS, login.  `handshake.py` decides what to say.

Waits for nothing: it yields what it needs (`needs.py`), under one deadline that each step moves.  What the server says out of
turn ends the connection.  Used by `opening.py`, which made the connection and closes it where this fails.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from .endpoints import Endpoint
from .handshake import Derive, Handshake, Ready, Say
from .known import Flaw
from .limit import Overdue
from .needs import Need, Talking
from .protocol import Answer, Awaited, Protocol
from .reply import Reply, ReplyError
from .salting import Salting
from .settings import SmtpSettings
from .talk import Talk
from .tls import Secured, Tls, alert_of, failed
from .trouble import Kind, Trouble, out_of_turn
from .verdicts import Remote
from .wire import Wire

__all__ = ["Connection", "Greeter"]

_TLS = "the TLS handshake"


@dataclass(slots=True)
class Connection:
    """A connection ready for its first envelope.

    begun: its number among the endpoint's.  hello: the answer to EHLO or HELO.
    has_served: whether it answered about a message.
    """

    wire: Wire
    handshake: Handshake
    host: str
    remote: Remote
    endpoint: Endpoint
    begun: int
    hello: Reply | None = None
    has_served: bool = False

    @property
    def name(self) -> str:
        """What the server calls itself: the domain that begins its answer (RFC 5321 section 4.1.1.1), in lower case."""
        if self.hello is None:
            return ""
        word, _, _ = self.hello.lines[0].decode("ascii", "replace").strip().partition(" ")
        return word.lower().removesuffix(".")


class Greeter:
    """Makes connections of one transport ready for mail."""

    def __init__(self, settings: SmtpSettings, tls: Tls) -> None:
        self._settings = settings
        self._tls = tls
        self._salting = Salting()

    def greet(self, connection: Connection, talk: Talk) -> Talking[None]:
        """Everything up to the first envelope.  Raises Trouble, with who said it and the level of TLS."""
        step = _Step(self._settings, self._tls, self._salting, connection, talk)
        try:
            yield from step.run()
        except Overdue:
            raise self._about(connection, step, step.silence()) from None
        except ReplyError as error:
            raise self._about(connection, step, Trouble(Kind.GARBAGE, str(error), "4.5.0")) from None
        except Trouble as trouble:
            raise self._about(connection, step, trouble) from trouble.__cause__

    def _about(self, connection: Connection, step: _Step, trouble: Trouble) -> Trouble:
        trouble.remote, trouble.tls = connection.remote.host, connection.remote.tls
        if trouble.kind is Kind.TLS_FAILED:
            trouble.flaw = Flaw.TLS
        elif trouble.kind is Kind.LOST and step.awaited is Awaited.EHLO and trouble.tls == "none":
            trouble.flaw = Flaw.EHLO  # some hang up at a word that they do not know
        trouble.said = connection.handshake.hide(trouble.said) + self._hint(connection, step, trouble)
        trouble.args = (trouble.said,)
        return trouble

    def _hint(self, connection: Connection, step: _Step, trouble: Trouble) -> str:
        """What may be wrong with our own configuration: a smarthost that begins in the other way than we do."""
        if not self._settings.smarthost or self._settings.tls == "none":
            return ""
        if connection.handshake.begins_with_tls:
            is_at_fault = trouble.kind is Kind.TLS_FAILED and "certificate" not in trouble.said
            return '; does it begin in plain text? Then set implicit_tls = "off"' if is_at_fault else ""
        if step.awaited is Awaited.GREETING and trouble.kind in (Kind.SILENT, Kind.GARBAGE, Kind.LOST):
            return '; does it wait for TLS from the first byte on? Then set implicit_tls = "on"'
        return ""


class _Step:
    """The conversation of one connection."""

    def __init__(self, settings: SmtpSettings, tls: Tls, salting: Salting, connection: Connection, talk: Talk) -> None:
        self._talk = talk
        self._what: Awaited | str = ""  # the phase under way
        self._seconds = 0.0  # its time in all
        self._settings = settings
        self._tls = tls
        self._salting = salting
        self._connection = connection
        self._protocol: Protocol[None] = Protocol()
        self._fresh: Secured | None = None  # TLS stands, and nothing was heard over it yet

    @property
    def awaited(self) -> Awaited | None:
        """What is unanswered."""
        return self._protocol.awaited

    def run(self) -> Talking[None]:
        handshake, remote = self._connection.handshake, self._connection.remote
        remote.tls = "none"
        if handshake.begins_with_tls:
            yield from self._secure()
        self._protocol.expect(Awaited.GREETING, None)
        self._begin("the greeting", self._settings.greeting_seconds)
        deed = handshake.take((yield from self._answer()))
        while not isinstance(deed, Ready):
            if isinstance(deed, Say):
                deed = handshake.take((yield from self._say(deed)))
            elif isinstance(deed, Derive):
                deed = handshake.derived((yield functools.partial(self._salting.key, deed.wanted)))
            else:
                yield from self._secure()
                deed = handshake.secured()
        if self._protocol.has_more:
            raise out_of_turn()

    def _begin(self, what: Awaited | str, seconds: float) -> None:
        self._what, self._seconds = what, seconds
        self._talk.limit.allow(seconds)

    def silence(self) -> Trouble:
        """The trouble of a phase whose time is over."""
        kind = Kind.TLS_FAILED if self._what == _TLS else Kind.SILENT
        what = f"the reply to {self._what.name}" if isinstance(self._what, Awaited) else self._what
        return Trouble(kind, f"{what} took over {self._seconds:g} seconds", "4.4.2")

    def _say(self, deed: Say) -> Talking[Answer[None]]:
        if self._protocol.has_more:
            raise out_of_turn()
        self._protocol.expect(deed.awaited, None)
        self._begin(deed.awaited, self._settings.command_seconds)
        wire = self._connection.wire
        try:
            if rest := wire.send_nowait(deed.line):
                yield functools.partial(wire.send_rest, rest)
        except Trouble as trouble:
            raise self._told_apart(trouble) from trouble.__cause__
        answer = yield from self._answer()
        if deed.awaited in (Awaited.EHLO, Awaited.HELO):
            self._connection.hello = answer.reply
        return answer

    def _answer(self) -> Talking[Answer[None]]:
        while (answer := self._protocol.next_answer()) is None:
            try:
                self._protocol.receive((yield Need.OCTETS))
            except Trouble as trouble:
                raise self._told_apart(trouble) from trouble.__cause__
        if self._fresh is not None:
            self._tls.keep(self._fresh)
            self._fresh = None
        return answer

    def _told_apart(self, trouble: Trouble) -> Trouble:
        """With TLS 1.3 a server that refuses our certificate says so after the handshake (RFC 8446 section 4.4.2.4)."""
        if self._fresh is None:
            return trouble
        if alert := alert_of(trouble):
            return failed(alert)
        if self._tls.shows_certificate:
            return failed(
                "the server left right after the handshake; perhaps it does not take the client's certificate"
            )
        return trouble

    def _secure(self) -> Talking[None]:
        """Negotiate TLS, and forget all that was said before it."""
        if (
            self._protocol.has_more
        ):  # an attacker's words, to pass for the server's own after TLS (CVE-2011-0411's twin)
            raise Trouble(Kind.GARBAGE, "the server spoke behind its answer to STARTTLS", "4.7.0")
        wire = self._connection.wire
        self._begin(_TLS, self._settings.tls_seconds)
        self._talk.be_unheard()
        secured: Secured = yield functools.partial(
            self._tls.secure, wire.stream, self._connection.host, self._connection.remote.host
        )
        self._fresh = secured
        wire.secured(secured.stream)
        self._connection.remote.tls = self._tls.reached(secured)
        self._protocol = Protocol()
