"""What a session needs of the site it belongs to; `pool.py` provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .handover import Handover
from .trouble import Trouble

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Pool"]


class Pool(Protocol):
    """What a session needs of its site."""

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for a session."""
        ...

    def take_nowait(self) -> Handover | None:
        """The next request that waits, if one does."""
        ...

    def rest(self, session: Session) -> None:
        """The session has nothing to do."""
        ...

    def retire(self, session: Session) -> None:
        """The session ends: it gets no more work, and counts until it has left."""
        ...

    def leave(self, session: Session) -> None:
        """The connection is closed: there is room for another one."""
        ...

    def tidy(self) -> None:
        """All that the session left behind is settled or put back: the others may have its place."""
        ...

    def put_back(self, handover: Handover) -> None:
        """The request lost its connection through no fault of its own."""
        ...

    def could_not_open(self, session: Session, handover: Handover, trouble: Trouble) -> None:
        """The session ends, and there is no connection for the request that it was made for."""
        ...
