"""An actor's inbox: a bounded list of notes, read by the handful by the actor's one task, which is woken once for all of them.

A channel would cost 12 us for each note.
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
        self._reader: trio.lowlevel.Task | None = None  # sleeps until something is there
        self._notes: list[_T] = []
        self._latest: dict[Hashable, _T] = {}

    def put(self, note: _T) -> None:
        if len(self._notes) >= self._room:
            raise trio.WouldBlock
        self._notes.append(note)
        if self._reader is not None:
            self._wake(self._reader)

    def _wake(self, reader: trio.lowlevel.Task) -> None:
        self._reader = None
        trio.lowlevel.reschedule(reader)

    def put_latest(self, key: Hashable, note: _T) -> None:
        """Put a note that takes the place of one with the same key that nobody took yet: it needs no room of its own.

        Such notes are taken after the others, in the order in which they were put last.
        """
        self._latest.pop(key, None)
        self._latest[key] = note
        if self._reader is not None:
            self._wake(self._reader)

    async def take_all(self) -> list[_T]:
        """Wait for a note, then take everything at hand."""
        if self._notes or self._latest:
            await trio.lowlevel.checkpoint()
        while not (notes := self.take_nowait()):  # what woke it may be taken already
            await self._wait_for_note()
        return notes

    async def _wait_for_note(self) -> None:
        self._reader = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def take_nowait(self) -> list[_T]:
        """Take everything at hand, which may be nothing."""
        notes, self._notes = self._notes, []
        if self._latest:
            notes += self._latest.values()
            self._latest.clear()
        return notes
