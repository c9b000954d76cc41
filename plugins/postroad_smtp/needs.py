"""What must be waited for before a connection's opening or its conversation can go on: plain values to `session.py`, which sees
to it.  What came of it is sent into the generator; what went wrong, `limit.Overdue` among it, is raised there."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias, TypeVar

__all__ = ["Deed", "Need", "Talking"]

T = TypeVar("T")


class Need(enum.Enum):
    """OCTETS: something that the server says, which is sent.  ROOM: that the socket can be written, or has failed.
    MESSAGE: the next request, or the end.  MOMENT: that those run who just had an answer, and may have another message that could
    go along."""

    OCTETS = enum.auto()
    ROOM = enum.auto()
    MESSAGE = enum.auto()
    MOMENT = enum.auto()


Deed: TypeAlias = Callable[[], Awaitable[Any]]  # to be done and awaited, such as a write that has no room yet
Talking: TypeAlias = Generator[Need | Deed, Any, T]  # is sent what a deed returned
