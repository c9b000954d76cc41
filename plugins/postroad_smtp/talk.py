"""What is said and heard on one connection, and how long it may take: one movable deadline for all of it.

Used by `session.py`, which decides what to say.  Each reply has one total time, however slowly its bytes
drip, and an envelope has one in all, however many recipients it has.
"""

from __future__ import annotations

from .limit import Limit
from .protocol import ENDS, Answer, Awaited, Protocol
from .settings import SmtpSettings
from .transaction import Transaction
from .trouble import Kind, Trouble
from .wire import Wire

__all__ = ["Talk"]

_ENVELOPE = frozenset({Awaited.MAIL, Awaited.RCPT, Awaited.DATA})


class Talk:
    """limit: ends the session when its deadline passes; shielded, because nothing else may.  protocol: what is awaited."""

    def __init__(self, settings: SmtpSettings) -> None:
        self.limit = Limit(shield=True)
        self.protocol: Protocol[Transaction] = Protocol()
        self._wire: Wire
        self._block_seconds = settings.block_seconds
        self._command_seconds = settings.command_seconds  # the handshake's are in `greeting.py`
        self._data_seconds = settings.data_seconds
        self._dot_seconds = settings.dot_seconds
        self._envelope_seconds = settings.envelope_seconds
        self._timed = -1  # the count of answers for which the deadline is set
        self._is_reading = False  # the content, from the spool

    def begin(self, wire: Wire) -> None:
        self._wire = wire

    def read_content(self) -> None:
        """The next piece of a content is about to be read: however long that takes, it is no silence of the server."""
        self._timed = -1
        self._is_reading = True
        self.limit.allow(self._block_seconds)

    def send_nowait(self, data: bytes) -> bytes | memoryview:
        """Send what can be sent without waiting; what is left of it is for `send_rest`."""
        self._timed = -1
        self._is_reading = False
        return self._wire.send_nowait(data)

    async def send_rest(self, rest: bytes | memoryview) -> None:
        self.limit.allow(self._block_seconds)
        await self._wire.send_rest(rest)

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
        self.protocol.receive(await self._wire.receive())

    def receive_nowait(self) -> None:
        """Take what is here of an answer, if anything is."""
        if data := self._wire.receive_nowait():
            self.protocol.receive(data)

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
