"""From the greeting to the first envelope: EHLO or HELO, STARTTLS, EHLO anew, AUTH.  No I/O: answers go in, what to do comes out.

Whatever was learnt before TLS is forgotten (RFC 3207 section 4.2).  No login without TLS unless the configuration says so.
Trouble of this phase says nothing about any message: it is the host's, or the login's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from postroad.verdict import Scope

from . import emit, sasl
from .features import NOTHING, Features, read_features
from .protocol import Answer, Awaited, Step
from .settings import Login
from .tls import Level
from .trouble import Kind, Trouble
from .verdicts import broken, trouble_of

__all__ = ["Handshake", "Ready", "Say", "Secure", "Terms"]


class Say(NamedTuple):
    """Write the line and wait for the answer."""

    awaited: Awaited
    line: bytes


class Secure(NamedTuple):
    """Negotiate TLS now, then call `secured`."""


class Ready(NamedTuple):
    """The first envelope may go."""


Deed: TypeAlias = Say | Secure | Ready


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration asks of a connection."""

    helo: str
    level: Level
    login: Login | None = None
    login_without_tls: bool = False
    is_lmtp: bool = False


class Handshake:
    """One connection's beginning.  features: what the server offers now.  Every method may raise Trouble."""

    def __init__(self, terms: Terms, *, avoid_tls: bool = False, avoid_ehlo: bool = False) -> None:
        self._terms = terms
        self._avoid_ehlo = avoid_ehlo
        self._avoid_tls = avoid_tls
        self._is_secure = False
        self._mechanism: sasl.Mechanism | None = None
        self.features: Features = NOTHING

    def take(self, answer: Answer[None]) -> Deed:
        """What to do after this answer."""
        awaited, step, reply, _ = answer
        if reply.code == 421:
            raise trouble_of(Kind.CLOSING, awaited, reply)
        match step:
            case Step.SAY_EHLO:
                return self._hello()
            case Step.SAY_HELO:
                return Say(Awaited.HELO, emit.helo(self._terms.helo))
            case Step.GREETED:
                self.features = NOTHING if awaited is Awaited.HELO else read_features(reply)
                return self._greeted()
            case Step.SECURE:
                return Secure()
            case Step.STAY_PLAIN:
                return self._refused_tls(answer)
            case Step.ANSWER:
                return self._answer(reply.lines[0])
            case Step.LOGGED_IN:
                return Ready()
            case Step.LEAVE:
                raise trouble_of(Kind.LEFT, awaited, reply)
            case Step.NO_LOGIN:
                raise trouble_of(Kind.NO_LOGIN, awaited, reply)
            case _:
                raise broken(awaited, reply)

    def secured(self) -> Deed:
        """TLS stands: begin anew."""
        self._is_secure = True
        self.features = NOTHING
        return self._hello()

    def _hello(self) -> Deed:
        if self._terms.is_lmtp:
            return Say(Awaited.LHLO, emit.lhlo(self._terms.helo))
        if self._avoid_ehlo and not self._is_secure:
            return Say(Awaited.HELO, emit.helo(self._terms.helo))
        return Say(Awaited.EHLO, emit.ehlo(self._terms.helo))

    def _greeted(self) -> Deed:
        if self._is_secure or self._terms.level is Level.NONE:
            return self._log_in()
        if self.features.starttls and not self._avoid_tls:
            return Say(Awaited.STARTTLS, emit.starttls())
        if self._terms.level is not Level.OPPORTUNISTIC:
            raise Trouble(Kind.NO_TLS, "TLS is required, and the server does not offer it", "4.7.4")
        return self._log_in()

    def _refused_tls(self, answer: Answer[None]) -> Deed:
        if self._terms.level is not Level.OPPORTUNISTIC:
            raise trouble_of(Kind.NO_TLS, answer.awaited, answer.reply)
        return self._log_in()

    def _log_in(self) -> Deed:
        login = self._terms.login
        if login is None:
            return Ready()
        if not (self._is_secure or self._terms.login_without_tls):
            raise _no_login("the login needs TLS, and there is none")
        mechanism = self._mechanism = sasl.choose(self.features.mechanisms, login)
        if mechanism is None:
            offered = " ".join(sorted(self.features.mechanisms)) or "none"
            raise _no_login(f"the server offers no login that is known here (it offers: {offered[:100]})")
        return Say(Awaited.AUTH, emit.auth(mechanism.name, mechanism.initial))

    def _answer(self, challenge: bytes) -> Deed:
        assert self._mechanism is not None  # AUTH was said
        return Say(Awaited.AUTH, emit.auth_answer(self._mechanism.answer(sasl.read_challenge(challenge))))


def _no_login(said: str) -> Trouble:
    return Trouble(Kind.NO_LOGIN, said, "4.7.0", scope=Scope.TRANSPORT)
