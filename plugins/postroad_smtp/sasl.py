"""SASL mechanisms of a client (RFC 4954): each an object that answers challenges.  No I/O, nothing logged."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Protocol

from .settings import Login

__all__ = ["Mechanism", "choose", "read_challenge"]


class Mechanism(Protocol):
    """One exchange.  `initial` goes with AUTH itself; None where the server speaks first."""

    @property
    def name(self) -> str: ...

    @property
    def initial(self) -> bytes | None: ...

    def answer(self, challenge: bytes) -> bytes | None:
        """The response to a challenge, or None to give up."""
        ...


class Plain:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"

    def __init__(self, login: Login) -> None:
        self.initial: bytes | None = f"\0{login.username}\0{login.password}".encode()

    def answer(self, challenge: bytes) -> bytes | None:
        """All was said; a server that wants more speaks something else."""
        return None


class LoginMechanism:
    """LOGIN: no RFC; user name and password, each asked for.  What the challenges say is not looked at."""

    name = "LOGIN"
    initial: bytes | None = None

    def __init__(self, login: Login) -> None:
        self._answers: Iterator[bytes] = iter((login.username.encode(), login.password.encode()))

    def answer(self, challenge: bytes) -> bytes | None:
        return next(self._answers, None)


_BY_PREFERENCE: tuple[tuple[str, Callable[[Login], Mechanism]], ...] = (("PLAIN", Plain), ("LOGIN", LoginMechanism))


def choose(offered: frozenset[str], login: Login) -> Mechanism | None:
    """The best mechanism that the server offers, or None."""
    return next((make(login) for name, make in _BY_PREFERENCE if name in offered), None)


def read_challenge(line: bytes) -> bytes:
    """A 334's text; what is not base64 counts as empty, because nothing sent here depends on it."""
    try:
        return base64.b64decode(line.strip())
    except (binascii.Error, ValueError):
        return b""
