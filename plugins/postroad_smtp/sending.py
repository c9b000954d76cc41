"""The content of a message on its way: whole, in pieces behind a 354, or in chunks by BDAT (RFC 3030); and the wait for answers.

The last octets are never sent here: they may complete the hand-over, and `session.py` says so first.  Content that cannot be
read, or must not go on the wire, ends the connection, because there is no other way to take back what was begun.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from postroad.log import printable
from postroad.verdict import Scope

from . import emit, encoding, verdicts
from .envelope import is_eight_bit
from .manner import Manner
from .needs import Need, Talking
from .protocol import Answer, Awaited
from .reply import ReplyError
from .talk import Talk
from .transaction import Transaction
from .trouble import Kind, Trouble
from .verdicts import Remote
from .wire import Wire

__all__ = ["Sending"]


class Sending:
    """Of one connection.  take: what to do with an answer."""

    def __init__(
        self,
        talk: Talk,
        wire: Wire,
        manner: Manner,
        remote: Remote,
        take: Callable[[Answer[Transaction]], None],
    ) -> None:
        self._talk = talk
        self._wire = wire
        self._manner = manner
        self._remote = remote
        self._take = take

    def listen(self) -> Talking[None]:
        """Until everything said is answered."""
        while self._has_unanswered():
            self._talk.time_answer()
            self._talk.protocol.receive((yield Need.OCTETS))

    async def _listen(self) -> None:
        """The same for a task that sends content."""
        while self._has_unanswered():
            await self._talk.receive()

    def _has_unanswered(self) -> bool:
        """Take the answers that are here; whether more are to come."""
        protocol = self._talk.protocol
        while (answer := protocol.next_answer()) is not None:
            self._take(answer)
        return protocol.awaited is not None

    def begin(self, transaction: Transaction) -> bytes | None:
        """The whole content with its end, for a small one; None where it has to be streamed.  Raises Trouble."""
        handover = transaction.handover
        if not transaction.is_chunked or handover.plain is not None:
            self._expect_end(transaction)
        if self._talk.protocol.has_more:
            raise _impatient()
        if transaction.is_chunked and handover.plain is not None:
            return emit.bdat(len(handover.plain), is_last=True) + handover.plain
        if not transaction.is_chunked and handover.payload is not None:
            return handover.payload
        return None

    def stream(self, transaction: Transaction) -> Talking[bytes | None]:
        """Send all of the content but its last octets, which are returned; None where the server refused it between two chunks.

        Raises Trouble; where the content is at fault, its recipients are settled before.
        """
        self.check_silence()
        end: bytes | None = yield functools.partial(self._stream, transaction)
        return end

    async def _stream(self, transaction: Transaction) -> bytes | None:
        send = self._send_chunks if transaction.is_chunked else self._send_pieces
        try:
            return await send(transaction)
        except (Trouble, ReplyError):
            raise
        except emit.Unsafe as error:
            transaction.handover.settle_rest(verdicts.own_refusal(str(error), "5.6.0", self._remote))
            raise Trouble(Kind.ABORTED, str(error), "4.3.0") from error
        except Exception as error:  # the spool cannot be read: `deliver` raises it, and the message alone is deferred
            said = printable(f"the content cannot be read: {error}", 200)
            trouble = Trouble(Kind.FAULT, said, "4.3.0", scope=Scope.MESSAGE)
            transaction.handover.fail(error, verdicts.of_trouble(trouble, self._remote))
            raise trouble from error

    def check_silence(self) -> None:
        """Raises Trouble where the server speaks, or went away, before all of the content is sent.  Not asked right after its
        answer was read: there is nothing new to be seen."""
        if self._wire.has_plain_news():
            raise _impatient()

    def _expect_end(self, transaction: Transaction) -> None:
        for awaited in transaction.expect_end():
            self._talk.protocol.expect(awaited, transaction)

    async def _send_pieces(self, transaction: Transaction) -> bytes:
        """Behind a 354, dots doubled."""
        request = transaction.handover.request
        encoder = encoding.ContentEncoder(request.content.size, eight_bit=is_eight_bit(request))
        self._talk.read_content()
        async with request.content.chunks() as pieces:
            async for piece in pieces:
                await self._talk.send(encoder.feed(piece))
                self.check_silence()
                self._talk.read_content()
        return encoder.finish()

    async def _send_chunks(self, transaction: Transaction) -> bytes | None:
        """By BDAT, as it is."""
        request, end = transaction.handover.request, b""
        encoder = encoding.ChunkEncoder(request.content.size, eight_bit=is_eight_bit(request))
        self._talk.read_content()
        async with request.content.chunks() as pieces:
            async for piece in pieces:
                for part in encoder.feed(piece):
                    if part.begins and not await self._begin_chunk(transaction, part):
                        return None
                    if part.ends:
                        end = part.data
                    else:
                        await self._talk.send(part.data)
                        await self._hear_news()
                self._talk.read_content()
        encoder.finish()
        return end

    async def _hear_news(self) -> None:
        """In a chunk: answers to those before it, or the end of the connection."""
        while self._wire.has_plain_news():
            if self._talk.protocol.awaited is not Awaited.BDAT:
                raise _impatient()
            self._take(await self._talk.hear())

    async def _begin_chunk(self, transaction: Transaction, part: encoding.Part) -> bool:
        """Whether the chunks so far were taken, as far as is known; without PIPELINING all is known."""
        protocol = self._talk.protocol
        if not self._manner.pipelining or self._manner.is_lmtp:
            await self._listen()  # LMTP: who refused a chunk answers the last one once, not for each recipient
        if transaction.is_judged:
            await self._listen()
            return False
        if part.is_last:
            self._expect_end(transaction)
        else:
            protocol.expect(Awaited.BDAT, transaction)
        return True


def _impatient() -> Trouble:
    """It spoke before the end of the content: what it said will be looked at (`Session._hear_last_words`)."""
    return Trouble(Kind.LOST, "the server did not wait for the end of the content", "4.4.2")
