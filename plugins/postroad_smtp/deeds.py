"""What the beginning of a connection asks its caller to do next: plain values from `handshake.py` to `greeting.py`."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .mechanism import Derivation
from .protocol import Awaited

__all__ = ["Deed", "Derive", "Ready", "Say", "Secure"]


class Say(NamedTuple):
    """Write the line and wait for the answer."""

    awaited: Awaited
    line: bytes

    def __repr__(self) -> str:
        return f"Say({self.awaited.name})"  # the line may hold a secret


class Secure(NamedTuple):
    """Negotiate TLS now, then call `secured`."""


class Derive(NamedTuple):
    """Derive the key now, then call `derived`."""

    wanted: Derivation


class Ready(NamedTuple):
    """The first envelope may go."""


Deed: TypeAlias = Say | Secure | Derive | Ready
