"""What is said and heard on one connection, and how long it may take: one movable deadline for all of it.

Used by `opening.py` and `conversation.py`, which decide what to say, and by `session.py`, which waits.  Each reply has one total
time, however slowly its bytes drip, and an envelope has one in all, however many recipients it has.
"""

from __future__ import annotations

import selectors
import socket

from .clock import Clock
from .ear import Ear, Listener
from .limit import Limit
from .needs import Need
from .protocol import ENDS, Answer, Awaited, Protocol
from .settings import SmtpSettings
from .transaction import Transaction
from .trouble import Kind, Trouble
from .wire import Wire

__all__ = ["Talk"]

_ENVELOPE = frozenset({Awaited.MAIL, Awaited.RCPT, Awaited.DATA})


class Talk:
    """limit: its one deadline.  protocol: what is awaited of the conversation; the handshake has its own.  wire: where to."""

    wire: Wire

    def __init__(self, settings: SmtpSettings, ear: Ear, clock: Clock) -> None:
        self.limit = Limit(clock)
        self.protocol: Protocol[Transaction] = Protocol()
        self._ear = ear
        self._heard: socket.socket | None = None  # while it is registered with the ear
        self._hears_for = 0  # what it is registered for
        self._block_seconds = settings.block_seconds
        self._command_seconds = settings.command_seconds  # the handshake's are in `greeting.py`
        self._data_seconds = settings.data_seconds
        self._dot_seconds = settings.dot_seconds
        self._envelope_seconds = settings.envelope_seconds
        self._timed = -1  # the count of answers for which the deadline is set
        self._is_reading = False  # the content, from the spool

    # --- The connection ---

    def begin(self, wire: Wire) -> None:
        """Go on over this one; the one before is closed."""
        self.wire = wire

    def is_heard(self, need: Need, listener: Listener) -> bool:
        """Whether the ear hears it from now on: for what the server says, or until there is room."""
        events = selectors.EVENT_WRITE if need is Need.ROOM else selectors.EVENT_READ
        if self._hears_for == events:
            return True
        self.be_unheard()
        sock = self.wire.plain_socket
        if sock is not None and self._ear.attend(sock, listener, events):
            self._heard, self._hears_for = sock, events
        return self._heard is not None

    def be_unheard(self) -> None:
        """The ear hears it no more."""
        if self._heard is not None:
            self._ear.forget(self._heard)
            self._heard, self._hears_for = None, 0

    def hang_up_nowait(self) -> bool:
        """Close the connection, if there is one; False where that takes a checkpoint."""
        self.be_unheard()
        return not hasattr(self, "wire") or self.wire.close_nowait()

    async def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if not self.hang_up_nowait():
            await self.wire.close_forcefully()

    # --- What is said ---

    def read_content(self) -> None:
        """The next piece of a content is about to be read: however long that takes, it is no silence of the server."""
        self._timed = -1
        self._is_reading = True
        self.limit.allow(self._block_seconds)

    def send_nowait(self, data: bytes) -> bytes | memoryview:
        """Send what can be sent without waiting; what is left of it is for `send_rest`."""
        self._timed = -1
        self._is_reading = False
        return self.wire.send_nowait(data)

    async def send_rest(self, rest: bytes | memoryview) -> None:
        self.limit.allow(self._block_seconds)
        await self.wire.send_rest(rest)

    async def send(self, data: bytes) -> None:
        if rest := self.send_nowait(data):
            await self.send_rest(rest)

    async def hear(self) -> Answer[Transaction]:
        """The next answer; something must be awaited.  Raises Trouble or ReplyError."""
        while (answer := self.protocol.next_answer()) is None:
            await self.receive()
        return answer

    async def receive(self) -> None:
        """Wait for more of an answer, within its time."""
        self.time_answer()
        self.protocol.receive(await self.wire.receive())

    def time_answer(self) -> None:
        """The answer to the oldest command is waited for from now on, unless it was already."""
        self._is_reading = False
        if self.protocol.answered != self._timed and self.protocol.awaited is not None:
            self.limit.allow(self._time_for(self.protocol.awaited))
            self._timed = self.protocol.answered

    def _time_for(self, awaited: Awaited) -> float:
        """The time for a reply, and no more than the envelope it belongs to has left in all."""
        seconds, owner = self._seconds_for(awaited), self.protocol.owner
        if awaited not in _ENVELOPE or owner is None:
            return seconds
        now = self.limit.now()
        if owner.answered_by is None:
            owner.answered_by = now + self._envelope_seconds
        return min(seconds, max(owner.answered_by - now, 0.0))

    def _seconds_for(self, awaited: Awaited) -> float:
        if awaited in ENDS:
            return self._dot_seconds
        return self._data_seconds if awaited is Awaited.DATA else self._command_seconds

    def silence(self) -> Trouble:
        """The trouble of a deadline that passed."""
        if self._is_reading:
            return Trouble(Kind.LOCAL, "the content was not read from the spool in time", "4.3.2")
        awaited = self.protocol.awaited
        if awaited is None:
            return Trouble(Kind.SILENT, "the server took too long", "4.4.2")
        what = "the end of the content" if awaited in ENDS else awaited.name
        return Trouble(Kind.SILENT, f"no reply to {what} in time", "4.4.2")
