"""What is said and heard on one connection, and how long it may take: one movable deadline for all of it.

Used by `session.py`, which decides what to say.  Each reply has one total time, however slowly its bytes drip.
"""

from __future__ import annotations

from .limit import Limit
from .protocol import Answer, Awaited, Protocol
from .settings import SmtpSettings
from .transaction import Transaction
from .trouble import Kind, Trouble
from .wire import Wire

__all__ = ["Talk"]


class Talk:
    """limit: ends the session when its deadline passes; shielded, because nothing else may.  protocol: what is awaited."""

    def __init__(self, settings: SmtpSettings) -> None:
        self.limit = Limit(shield=True)
        self.protocol: Protocol[Transaction] = Protocol()
        self._wire: Wire
        self._block_seconds = settings.block_seconds
        self._seconds = dict.fromkeys(Awaited, settings.command_seconds)  # the handshake's are in `greeting.py`
        self._seconds[Awaited.DATA] = settings.data_seconds
        self._seconds[Awaited.DOT] = self._seconds[Awaited.DOT_RCPT] = settings.dot_seconds
        self._timed = -1  # the count of answers for which the deadline is set

    def begin(self, wire: Wire) -> None:
        self._wire = wire

    async def send(self, data: bytes) -> None:
        self._timed = -1
        rest = self._wire.send_nowait(data)
        if rest:
            self.limit.allow(self._block_seconds)
            await self._wire.send_rest(rest)

    async def hear(self) -> Answer[Transaction]:
        """The next answer; something must be awaited.  Raises Trouble or ReplyError."""
        while (answer := self.protocol.next_answer()) is None:
            await self.receive()
        return answer

    async def receive(self) -> None:
        """Wait for more of an answer, within its time."""
        awaited = self.protocol.awaited
        if self.protocol.answered != self._timed and awaited is not None:
            self.limit.allow(self._seconds[awaited])
            self._timed = self.protocol.answered
        self.protocol.receive(await self._wire.receive())

    def silence(self) -> Trouble:
        """The trouble of a deadline that passed."""
        awaited = self.protocol.awaited
        what = f"no reply to {awaited.name} in time" if awaited is not None else "the server took too long"
        return Trouble(Kind.SILENT, what, "4.4.2")
