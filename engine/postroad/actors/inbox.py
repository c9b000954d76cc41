"""An actor's inbox: a bounded list of notes that is read by the handful, and a channel that says when there are some.

A channel costs 12 us for each thing that passes and wakes its reader; here that is paid once for all that wait together.
"""

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
        self._room = room
        self._send, self._receive = trio.open_memory_channel[None](1)  # says that something is there
        self._has_said = False  # and nobody took it yet
        self._notes: list[_T] = []
        self._latest: dict[Hashable, _T] = {}

    def put(self, note: _T) -> None:
        if len(self._notes) >= self._room:
            raise trio.WouldBlock
        self._notes.append(note)
        if not self._has_said:
            self._say()

    def _say(self) -> None:
        self._has_said = True
        self._send.send_nowait(None)

    def put_latest(self, key: Hashable, note: _T) -> None:
        """Put a note that takes the place of one with the same key that nobody took yet: it needs no room of its own.

        Such notes are taken after the others, in the order in which they were put last.
        """
        self._latest.pop(key, None)
        self._latest[key] = note
        if not self._has_said:
            self._say()

    async def take_all(self) -> list[_T]:
        """Wait for a note, then take everything at hand."""
        notes: list[_T] = []
        while not notes:  # what was said of may be taken already
            await self._receive.receive()
            self._has_said = False
            notes = self.take_nowait()
        return notes

    def take_nowait(self) -> list[_T]:
        """Take everything at hand, which may be nothing."""
        notes, self._notes = self._notes, []
        if self._latest:
            notes += self._latest.values()
            self._latest.clear()
        return notes
