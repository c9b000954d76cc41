"""What a conversation needs before it can go on: plain values from `conversation.py` to whoever waits for it in `session.py`."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Generator
from typing import TypeAlias, TypeVar

__all__ = ["Deed", "Need", "Talking"]

T = TypeVar("T")


class Need(enum.Enum):
    """OCTETS: something that the server says, given to the protocol.  MESSAGE: the next request, or the end.
    MOMENT: that those run who just had an answer, and may have another message that could go along."""

    OCTETS = enum.auto()
    MESSAGE = enum.auto()
    MOMENT = enum.auto()


Deed: TypeAlias = Callable[[], Awaitable[bytes | None]]  # to be done and awaited, such as a write that has no room yet
Talking: TypeAlias = Generator[Need | Deed, bytes | None, T]  # is sent what a deed returned
