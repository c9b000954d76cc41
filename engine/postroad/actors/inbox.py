"""An actor's inbox: a bounded channel that is read by the handful."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

__all__ = ["Inbox"]

_T = TypeVar("_T")


class Inbox(Generic[_T]):
    """Notes for one actor.  `put` never blocks: a full inbox is a bug of the ring and crashes loudly (trio.WouldBlock)."""

    def __init__(self, room: int) -> None:
        self._send, self._receive = trio.open_memory_channel[_T](room)

    def put(self, note: _T) -> None:
        self._send.send_nowait(note)

    async def take_all(self) -> list[_T]:
        """Wait for a note, then take everything at hand."""
        notes = [await self._receive.receive()]
        notes += self.take_nowait()
        return notes

    def take_nowait(self) -> list[_T]:
        """Take everything at hand, which may be nothing."""
        notes: list[_T] = []
        receive = self._receive.receive_nowait
        try:
            while True:
                notes.append(receive())
        except trio.WouldBlock:
            return notes
