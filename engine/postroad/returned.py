"""Mail that came back, on its way from the application to the bounce actor: few at a time, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from .actors.bounce import RETURNED_AT_ONCE
from .actors.notes import Returned
from .arrivals import check_raw
from .config import Limits
from .errors import EngineClosed

__all__ = ["ReturnedMail"]


class ReturnedMail:
    """The returned mail that the bounce actor has not read yet."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots = trio.CapacityLimiter(RETURNED_AT_ONCE)
        self._unread: dict[trio.Event, None] = {}  # also those whose callers were cancelled: they are in the inbox
        self._is_closed = False

    async def hand_over(self, raw: Any, give: Callable[[Returned], None]) -> None:
        """Give it to the bounce actor, and wait until it was read.

        Raises SubmissionError (field "raw"), or EngineClosed where nobody reads it any more.
        """
        check_raw(raw, self._limits.message_bytes)
        async with self._slots:
            await self._wait_for_room()
            if self._is_closed:
                raise _closed()
            note = Returned(raw, trio.Event())
            give(note)
            self._unread[note.done] = None
            await self._wait_read(note.done)

    def close(self) -> None:
        """Let nobody wait any more: what is unread stays unread."""
        self._is_closed = True
        for done in list(self._unread):
            if done.is_set():
                del self._unread[done]  # it was read just now
            done.set()

    async def _wait_for_room(self) -> None:
        """What cancelled callers left in the inbox takes room there until it is read."""
        while not self._is_closed:
            self._unread = {done: None for done in self._unread if not done.is_set()}
            if len(self._unread) < RETURNED_AT_ONCE:
                return
            await next(iter(self._unread)).wait()

    async def _wait_read(self, done: trio.Event) -> None:
        await done.wait()
        if self._is_closed and done in self._unread:
            raise _closed()
        self._unread.pop(done, None)


def _closed() -> EngineClosed:
    return EngineClosed("the engine is closed; nobody read this returned mail")
