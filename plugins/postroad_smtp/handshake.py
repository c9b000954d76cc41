"""From the greeting to the first envelope: EHLO or HELO, STARTTLS, EHLO anew, AUTH.  No I/O: answers go in, what to do comes out.

Whatever was learnt before TLS is forgotten (RFC 3207 section 4.2).  No login without TLS unless the configuration says so.
Trouble of this phase says nothing about any message: it is the host's, or the login's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from postroad.errors import ConfigError
from postroad.log import printable

from . import emit, sasl
from .authentication import Authentication, no_login
from .deeds import Deed, Derive, Ready, Say, Secure
from .features import NOTHING, UNASKED, read_features
from .known import Flaw
from .login import Login, Source
from .protocol import Answer, Awaited, Step
from .tls import Level
from .trouble import Kind, Trouble
from .verdicts import broken, trouble_of

__all__ = ["Derive", "Handshake", "Ready", "Say", "Secure", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration asks of a connection.

    mechanisms: those that a login may use; none: all.  implicit_tls: TLS from the first byte on (RFC 8314), not by STARTTLS.
    """

    helo: str
    level: Level
    login: Source | None = None
    login_without_tls: bool = False
    mechanisms: Sequence[str] = ()
    implicit_tls: bool = False
    is_lmtp: bool = False


class Handshake:
    """One connection's beginning.  avoid: flaws of the host to go round.  features: what the server offers now.

    Every method may raise Trouble.
    """

    def __init__(self, terms: Terms, avoid: Collection[Flaw] = ()) -> None:
        self._terms = terms
        self._avoid = avoid
        self._is_secure = terms.implicit_tls
        self._authentication: Authentication | None = None
        self._unoffered = NOTHING  # what HELO tells
        self.features = NOTHING

    @property
    def begins_with_tls(self) -> bool:
        """Whether TLS comes before the greeting."""
        return self._terms.implicit_tls

    def take(self, answer: Answer[None]) -> Deed:
        """What to do after this answer."""
        awaited, step, reply = answer.awaited, answer.step, answer.reply
        if reply.code == 421:
            raise trouble_of(Kind.CLOSING, awaited, reply)
        match step:
            case Step.SAY_EHLO:
                return self._hello()
            case Step.SAY_HELO:
                return Say(Awaited.HELO, emit.helo(self._terms.helo))
            case Step.GREETED:
                self.features = self._unoffered if awaited is Awaited.HELO else read_features(reply)
                return self._greeted()
            case Step.SECURE:
                return Secure()
            case Step.STAY_PLAIN:
                return self._refused_tls(answer)
            case Step.ANSWER | Step.LOGGED_IN | Step.NO_LOGIN if self._authentication is not None:
                return self._authentication.take(answer)
            case Step.LEAVE:
                raise trouble_of(Kind.LEFT, awaited, reply)
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
        if Flaw.EHLO in self._avoid and not self._is_secure:
            self._unoffered = UNASKED
            return Say(Awaited.HELO, emit.helo(self._terms.helo))
        return Say(Awaited.EHLO, emit.ehlo(self._terms.helo))

    def _greeted(self) -> Deed:
        if self._is_secure or self._terms.level is Level.NONE:
            return self._log_in()
        if self.features.starttls and Flaw.TLS not in self._avoid:
            return Say(Awaited.STARTTLS, emit.starttls())
        if self._terms.level is not Level.OPPORTUNISTIC:
            raise Trouble(Kind.NO_TLS, "TLS is required, and the server does not offer it", "4.7.4")
        return self._log_in()

    def _refused_tls(self, answer: Answer[None]) -> Deed:
        """Go on without, unless TLS is required, or was offered and a password is to be sent: the line may be somebody else's."""
        if self._terms.level is not Level.OPPORTUNISTIC or self._terms.login is not None:
            raise trouble_of(Kind.NO_TLS, answer.awaited, answer.reply)
        return self._log_in()

    def _log_in(self) -> Deed:
        source = self._terms.login
        if source is None:
            return Ready()
        if not (self._is_secure or self._terms.login_without_tls):
            raise no_login("the login needs TLS, and there is none")
        login = _read(source)
        names = sasl.choose(self.features.mechanisms, login, self._terms.mechanisms, is_secure=self._is_secure)
        if not names:
            raise no_login(self._no_mechanism())
        self._authentication = Authentication(login, names)
        return self._authentication.begin()

    def _no_mechanism(self) -> str:
        offered = " ".join(sorted(self.features.mechanisms)) or "none"
        return printable(f"the server offers no login that is known and allowed here; it offers: {offered}", 200)

    def derived(self, key: bytes) -> Deed:
        """The key that `Derive` asked for."""
        assert self._authentication is not None
        return self._authentication.derived(key)

    def hide(self, said: str) -> str:
        """A server's words without the secrets of the login."""
        return said if self._authentication is None else self._authentication.hide(said)


def _read(source: Source) -> Login:
    try:
        return source.read()
    except ConfigError as error:
        raise no_login(f"the login cannot be read: {error}") from None
