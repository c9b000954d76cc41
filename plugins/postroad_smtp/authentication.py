"""The login of one connection (RFC 4954): which mechanism, its challenges and answers, and when to give up.  No I/O.

Trouble here is the login's and holds the transport: it says nothing about any message.  What the server says is stripped of our
secrets before it goes anywhere: servers repeat lines that they do not understand.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from postroad.log import CUT, printable
from postroad.verdict import Scope

from . import emit, sasl
from .deeds import Deed, Derive, Ready, Say
from .login import Login
from .mechanism import Derivation, Mechanism, Unfit
from .protocol import Answer, Awaited, Step
from .trouble import Kind, Trouble
from .verdicts import broken, trouble_of

__all__ = ["Authentication", "no_login"]

_UNKNOWN = 504  # RFC 4954 section 6: it does not know the mechanism after all; nothing was judged
_CHALLENGE = 334
_HIDDEN = "***"
_WORD = 3  # characters: as much of a secret may end any text by chance, and tells nothing
_PIECE = 8
_RUN = re.compile(r"[A-Za-z0-9+/]{8,}")  # what may be base64, or a piece of it


def no_login(said: str) -> Trouble:
    """The trouble of a login that cannot be."""
    return Trouble(Kind.NO_LOGIN, said, "4.7.0", scope=Scope.TRANSPORT)


class Authentication:
    """One connection's login.  names: the mechanisms to try, the best first; at least one."""

    def __init__(self, login: Login, names: Sequence[str]) -> None:
        self._login = login
        self._names = list(names)
        self._mechanism: Mechanism
        self._held: bytes | None = None  # an initial response that is too long for the command
        self._derivation: Derivation | None = None
        self._was_challenged = False
        self._given_up = ""  # why, once `*` was said
        self._shown = [base64.b64encode(login.secret.encode()).decode().lower()]
        if login.is_token:  # a piece of a password may be any word
            self._shown.append(login.secret.lower())

    def begin(self) -> Deed:
        """AUTH by the next mechanism."""
        mechanism = self._mechanism = sasl.make(self._names.pop(0), self._login)
        initial = mechanism.initial
        if initial is None or emit.auth_fits(mechanism.name, initial):
            self._show(initial)
            return Say(Awaited.AUTH, emit.auth(mechanism.name, initial))
        self._held = initial
        return Say(Awaited.AUTH, emit.auth(mechanism.name, None))

    def take(self, answer: Answer[None]) -> Deed:
        """What to do after an answer to AUTH or to a response.  Raises Trouble."""
        step, reply = answer.step, answer.reply
        if self._given_up:
            raise no_login(self._given_up)
        match step:
            case Step.ANSWER if reply.code == _CHALLENGE:
                return self._challenge(reply.lines)
            case Step.LOGGED_IN:
                return self._succeed()
            case Step.NO_LOGIN:
                return self._refused(answer)
            case _:
                raise broken(Awaited.AUTH, reply)

    def derived(self, key: bytes) -> Deed:
        """Go on with the key that was asked for."""
        assert self._derivation is not None
        derivation, self._derivation = self._derivation, None
        return self._respond(derivation.then(key))

    def hide(self, said: str) -> str:
        """A server's words without the secrets that it was shown, whole or in pieces of eight base64 characters and more."""
        secret = self._login.secret
        for text in (secret, printable(secret, len(secret) * 10)):
            said = _without_beginning(said.replace(text, _HIDDEN), text)
        return _RUN.sub(lambda run: _HIDDEN if self._was_shown(run[0].lower()) else run[0], said)

    def _was_shown(self, run: str) -> bool:
        pieces = [run[start : start + _PIECE] for start in range(len(run) - _PIECE + 1)]
        return any(piece in shown for shown in self._shown for piece in pieces)

    def _show(self, response: bytes | None) -> None:
        if response:
            self._shown.append(base64.b64encode(response).decode().lower())

    # --- Answers ---

    def _challenge(self, lines: Sequence[bytes]) -> Deed:
        self._was_challenged = True
        if self._held is not None:  # the challenge should be empty; what it says changes nothing of what is due
            initial, self._held = self._held, None
            return self._respond(initial)
        try:
            if len(lines) != 1:
                raise Unfit("the server's challenge has several lines")
            response = self._mechanism.answer(lines[0])
        except Unfit as unfit:
            self._given_up = f"{self._mechanism.name}: {unfit}"
            return Say(Awaited.AUTH, emit.auth_answer(None))
        if isinstance(response, Derivation):
            self._derivation = response
            return Derive(response)
        return self._respond(response)

    def _respond(self, response: bytes) -> Deed:
        self._show(response)
        return Say(Awaited.AUTH, emit.auth_answer(response))

    def _succeed(self) -> Deed:
        if not self._mechanism.is_done or self._held is not None:
            raise no_login(f"{self._mechanism.name}: the server speaks of success out of turn, and has proven nothing")
        return Ready()

    def _refused(self, answer: Answer[None]) -> Deed:
        if answer.reply.code == _UNKNOWN and self._names and not self._was_challenged:
            return self.begin()
        raise trouble_of(Kind.NO_LOGIN, Awaited.AUTH, answer.reply)


def _without_beginning(said: str, secret: str) -> str:
    """A text that was cut short, without the beginning of a secret at its end."""
    text = said.removesuffix(CUT)
    if text == said:
        return said
    for length in range(min(len(secret), len(text)), _WORD, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + _HIDDEN + CUT
    return said
