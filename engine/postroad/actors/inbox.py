"""An actor's inbox: a bounded channel that is read by the handful."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

import trio

__all__ = ["Inbox", "Outbox"]

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)


class Outbox(Protocol[_T_contra]):
    """Another actor's inbox, as somebody sees it who puts notes into it."""

    def put(self, note: _T_contra, /) -> None: ...

    def put_latest(self, key: Hashable, note: _T_contra, /) -> None: ...


class Inbox(Generic[_T]):
    """Notes for one actor.  `put` never blocks: a full inbox is a bug of the ring and crashes loudly (trio.WouldBlock)."""

    def __init__(self, room: int) -> None:
        # None says that there is something in _latest; it has a place of its own
        self._send, self._receive = trio.open_memory_channel[_T | None](room + 1)
        self._latest: dict[Hashable, _T] = {}

    def put(self, note: _T) -> None:
        self._send.send_nowait(note)

    def put_latest(self, key: Hashable, note: _T) -> None:
        """Put a note that takes the place of one with the same key that nobody took yet: it needs no room of its own.

        Such notes are taken after the others, in the order in which they were put last.
        """
        if not self._latest:
            self._send.send_nowait(None)
        self._latest.pop(key, None)
        self._latest[key] = note

    async def take_all(self) -> list[_T]:
        """Wait for a note, then take everything at hand."""
        first = await self._receive.receive()
        rest = self.take_nowait()
        return rest if first is None else [first, *rest]

    def take_nowait(self) -> list[_T]:
        """Take everything at hand, which may be nothing."""
        notes: list[_T] = []
        receive = self._receive.receive_nowait
        try:
            while True:
                note = receive()
                if note is not None:
                    notes.append(note)
        except trio.WouldBlock:
            notes += self._latest.values()
            self._latest.clear()
            return notes
