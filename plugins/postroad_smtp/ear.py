"""Hears for all sessions of a transport: one task that reads whatever servers say, and lets the session go on at once.

What a session spares by it is a wait of its own for each answer: a switch of tasks and a change of what the system watches.  Its
socket is registered once and stays so.  Knows no SMTP.  Where there is no ear (no selector with a descriptor of its own, as on
Windows, or none left), sessions wait for themselves; and once it is closed, of which the clock tells them (`clock.py`), which is
closed with it.
"""

from __future__ import annotations

import selectors
import socket
from typing import Protocol

import trio

__all__ = ["GIVE_WAY", "Ear", "Listener"]

_AT_ONCE = 32  # reads between two checkpoints, each with what follows from it: a few milliseconds
GIVE_WAY = 2  # checkpoints: trio runs what became ready together in any order, so that all of it has run by the second


class Listener(Protocol):
    """A session, as its ear sees it."""

    def hear(self) -> bool:
        """Its socket can be read, or written where that is waited for, or could a moment ago.  Never raises.

        True: `go_on_if_waiting` is to be called when others have run.
        """
        ...

    def go_on_if_waiting(self) -> None:
        """The others have run."""
        ...


class Ear:
    """nursery: for its task, which begins with the first socket and ends when the nursery is cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._selector: selectors.BaseSelector | None = None
        self.is_closed = False

    def attend(self, sock: socket.socket, listener: Listener, events: int = selectors.EVENT_READ) -> bool:
        """Hear a socket from now on; False where that cannot be.  events: the selector's, until it can be read or written."""
        try:
            if self._selector is None and not self._open():
                return False
            assert self._selector is not None
            self._selector.register(sock, events, listener)
        except OSError:  # no descriptor left, or no room for one more to watch
            return False
        return True

    def _open(self) -> bool:
        if self.is_closed:
            return False
        selector = selectors.DefaultSelector()
        if not hasattr(selector, "fileno"):
            self.is_closed = True
            return False
        self._selector = selector
        self._nursery.start_soon(self._run, selector)
        return True

    def forget(self, sock: socket.socket) -> None:
        """Hear it no more: before it is closed, or while its words are not wanted."""
        if self._selector is not None:
            self._selector.unregister(sock)

    async def _run(self, selector: selectors.BaseSelector) -> None:
        try:
            while True:
                await trio.lowlevel.wait_readable(selector)  # type: ignore[arg-type] # `_open` saw that it has a descriptor
                await self._hear(selector)
        finally:
            self._close(selector)

    async def _hear(self, selector: selectors.BaseSelector) -> None:
        waiting: list[Listener] = []
        for count, (key, _) in enumerate(selector.select(0), 1):
            if key.data.hear():
                waiting.append(key.data)
            if count % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        if not waiting:
            return
        for _ in range(GIVE_WAY):
            await trio.lowlevel.checkpoint()
        for listener in waiting:
            listener.go_on_if_waiting()

    def _close(self, selector: selectors.BaseSelector) -> None:
        self.is_closed = True
        self._selector = None
        selector.close()
