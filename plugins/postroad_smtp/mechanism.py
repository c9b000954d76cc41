"""What every SASL mechanism is for its caller, `authentication.py`: an object that answers challenges."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["Derivation", "Mechanism", "Unfit", "decode"]


class Unfit(Exception):
    """The server's challenge does not fit: the exchange is to be given up.  The text says why, without any secret."""


class Derivation(NamedTuple):
    """A key to be derived from a password before there is an answer (PBKDF2 with SHA-256); `then` gives the answer."""

    password: bytes
    salt: bytes
    iterations: int
    then: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return f"Derivation(iterations={self.iterations})"


class Mechanism(Protocol):
    """One exchange."""

    @property
    def name(self) -> str: ...

    @property
    def initial(self) -> bytes | None:
        """What goes with AUTH itself; None where the server speaks first."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether a success may come now: all was said, and the server has proven what the mechanism lets it prove."""
        ...

    def answer(self, challenge: bytes) -> bytes | Derivation:
        """The response to the text of a 334, still in base64.  Raises Unfit."""
        ...


def decode(challenge: bytes) -> bytes:
    """A challenge out of its base64.  Raises Unfit."""
    try:
        return base64.b64decode(challenge.strip(b" \t"), validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("the server's challenge is not base64") from None
