"""One connection and its work: a long-lived task that carries one message after the other.

Where the server pipelines, the next envelope, or QUIT, goes out in the same write as the content before it: one write and one
read per message (RFC 2920 section 3.1).  The task shields itself; everything that ends it early goes through its one movable
deadline, so that the time between a final dot and its reply is never cut short by accident.  Used by `pool.py`; decides nothing
about retries.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from postroad.log import get_logger
from postroad.verdict import Scope

from . import emit, verdicts
from .greeting import Connection
from .handover import Handover
from .known import KnownHosts
from .leftovers import Leftovers
from .manner import PLAIN, choose_manner
from .opening import Opener
from .ports import Pool
from .protocol import Answer, Awaited
from .reply import ReplyError
from .sending import Sending
from .settings import SmtpSettings
from .talk import Talk
from .transaction import Transaction
from .trouble import Kind, Trouble, out_of_turn
from .verdicts import Remote
from .wire import Wire

__all__ = ["Session"]

_LAST_WORDS_SECONDS = 2.0  # for what the server said before it stopped listening
_QUIT_SECONDS = 2.0  # QUIT is a courtesy; its reply changes nothing
_BYE = 221
_log = get_logger()


class Session:
    """One connection of a site.  `assign` and `dismiss` are for its pool, `withdraw` for `deliver`."""

    def __init__(self, pool: Pool, first: Handover, opener: Opener, settings: SmtpSettings, known: KnownHosts) -> None:
        self._pool = pool
        self._opener = opener
        self._settings = settings
        self._known = known
        self._talk = Talk(settings)
        self._born = trio.current_time()
        self._carried = 0
        self._connection: Connection | None = None
        self._wire: Wire
        self._sending: Sending
        self._manner = PLAIN
        self._remote = Remote(site=first.route.site)
        self._current: Transaction | None = None
        self._follower: Transaction | None = None
        self._mails = 0  # MAIL commands so far (RFC 9422 section 4.1: failed ones count)
        self._needs_reset = False
        self._bell: trio.Event | None = None  # set while resting
        self._coming: Handover | None = first  # its own from now on, though no transaction was begun for it yet
        self._stopped: Trouble | None = None  # why it is to end, once somebody said so
        self._has_quit = False  # QUIT went out behind its last content
        first.session = self

    # --- For others ---

    def assign(self, handover: Handover) -> None:
        """Give a resting session its next request."""
        assert self._bell is not None
        assert self._coming is None
        handover.session = self
        self._coming = handover
        self._bell.set()

    def dismiss(self) -> None:
        """End soon: at once, but with the request's `doubt_seconds` for the reply to a final dot."""
        self._stop()
        if self._bell is not None:
            self._bell.set()
        elif self._is_committed() and self._current is not None:
            self._talk.limit.cap(self._current.handover.request.doubt_seconds)
        else:
            self._talk.limit.scope.cancel()

    def withdraw(self, handover: Handover) -> bool:
        """The request's call was cancelled.  False: its final dot is out; its verdicts will come within `doubt_seconds`.

        Either way the session takes nothing else along: what would come behind it would have to share these seconds.
        """
        self._stop()
        if not self._is_committed():
            self._talk.limit.scope.cancel()
        elif self._current is not None and self._current.handover is handover:
            self._talk.limit.cap(handover.request.doubt_seconds)
            return False
        return True

    def _stop(self) -> None:
        if self._stopped is None:
            self._stopped = Trouble(Kind.ABORTED, "the attempt was cancelled", "4.3.2", scope=Scope.LOCAL)

    def _check_stopped(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    def _is_committed(self) -> bool:
        return self._current is not None and self._current.is_committed

    # --- Life ---

    async def run(self) -> None:
        """Open, carry, close.  Never raises: whatever happens becomes verdicts."""
        trouble: Trouble | None = None
        with self._talk.limit.scope:
            try:
                await self._live()
            except Trouble as caught:
                trouble = caught
            except ReplyError as caught:
                trouble = Trouble(Kind.GARBAGE, str(caught), "4.5.0")
            except Exception as caught:
                _log.exception("session_crashed", remote=self._remote.host)
                trouble = Trouble(
                    Kind.FAULT, f"the transport failed: {type(caught).__name__}", "4.3.0", scope=Scope.MESSAGE
                )
        if self._talk.limit.scope.cancelled_caught:
            trouble = self._stopped or (None if self._bell is not None else self._talk.silence())  # resting may end
        await self._end(trouble)

    async def _live(self) -> None:
        handover = self._coming
        assert handover is not None
        self._connection = connection = await self._opener.open(handover.route)
        self._wire, self._remote = connection.wire, connection.remote
        self._talk.begin(self._wire)
        self._manner = choose_manner(connection.handshake.features, self._settings, self._known, connection.host)
        self._sending = Sending(self._talk, self._wire, self._manner, self._remote, self._take)
        while handover is not None:
            await self._carry(handover)
            self._current = handover = None  # a resting session holds no message: there may be a thousand of them
            if self._stopped is None:
                handover = await self._next()

    def _is_worn(self) -> bool:
        mail_max = self._manner.features.mail_max
        if self._carried >= self._settings.messages_per_session or (mail_max is not None and self._mails >= mail_max):
            return True
        return trio.current_time() - self._born > self._settings.session_seconds

    async def _next(self) -> Handover | None:
        """The next request, now or within the idle time; None when it is time to go."""
        if self._is_worn() or self._wire.has_news():
            return None
        return self._pool.take_nowait() or await self._rest()

    async def _rest(self) -> Handover | None:
        self._bell = trio.Event()
        self._talk.limit.allow(self._settings.idle_seconds)
        self._pool.rest(self)
        await self._bell.wait()
        self._bell = None
        handover = self._coming
        if handover is None or (self._stopped is None and not self._wire.has_news()):
            return handover
        self._pool.retire(self)  # somebody closes the transport, or the server closed, or said that it will
        self._coming = None
        self._pool.put_back(handover)
        return None

    # --- One message after the other ---

    async def _carry(self, handover: Handover) -> None:
        """A request, what of it goes in further transactions, and those whose envelopes follow it."""
        following: Transaction | None = self._begin(handover)
        while following is not None:
            self._current, self._follower = following, None
            if not following.is_follower and not following.is_judged:
                await self._say_envelope(following)
            following = await self._hand_over(following) or self._rest_of(following)

    def _begin(
        self, handover: Handover, recipients: Sequence[int] | None = None, *, is_follower: bool = False
    ) -> Transaction:
        handover.session = self
        self._coming = handover
        self._carried += 1
        transaction = Transaction(
            handover,
            self._manner,
            self._remote,
            is_follower=is_follower,
            is_fresh=self._carried == 1,
            needs_reset=self._needs_reset,
            recipients=recipients,
        )
        self._coming = None
        if transaction.has_lines:
            self._needs_reset = False
        return transaction

    def _rest_of(self, transaction: Transaction) -> Transaction | None:
        """A further transaction for the recipients that this one had no room for."""
        handover = transaction.handover
        rest = () if handover.is_settled else transaction.rest()
        if not rest:
            return None
        self._check_stopped()
        if self._is_worn():
            self._pool.put_back(handover)
            return None
        return self._begin(handover, rest)

    async def _say_envelope(self, transaction: Transaction) -> None:
        while group := self._expect_group(transaction):
            self._check_turn()
            await self._talk.send(group)
            await self._sending.listen()

    def _check_turn(self) -> None:
        """What came before anything was said must not be taken for the answer."""
        if self._talk.protocol.has_more:
            raise out_of_turn()

    def _expect_group(self, transaction: Transaction) -> bytes:
        """The next lines of an envelope as bytes, their replies now expected; empty when it is said."""
        expect = self._talk.protocol.expect
        parts: list[bytes] = []
        for awaited, line in transaction.next_lines():
            expect(awaited, transaction)
            parts.append(line)
            self._mails += awaited is Awaited.MAIL
        return b"".join(parts)

    async def _hand_over(self, transaction: Transaction) -> Transaction | None:
        """Content and its end for an envelope that is answered; returns the follower, its envelope answered too."""
        self._check_stopped()  # a 354 may be waiting: closing is the only way out that sends nothing
        if not transaction.may_send:
            self._needs_reset = self._needs_reset or transaction.answers > 0
            transaction.settle()
            return None
        if transaction.is_judged:
            await self._send_lone_dot(transaction)
            return None
        if transaction.is_follower:
            await self._wait_for_another()
        end = await self._sending.send(transaction)
        if end is None:
            self._needs_reset = True
            transaction.settle()
            return None
        self._needs_reset = transaction.is_chunked  # a BDAT that fails must be followed by RSET (RFC 3030 section 2)
        follower = self._follower = self._take_follower(transaction)
        group = self._expect_group(follower) if follower is not None else self._parting()
        transaction.is_committed = True
        transaction.handover.request.committing()
        await self._talk.send(end + group if group else end)
        transaction.is_handed_over = True
        await self._sending.listen()
        return follower

    async def _wait_for_another(self) -> None:
        """Whoever got the answer before this one may have another message that can go along; he is run by the second checkpoint,
        because trio runs what became ready together in any order."""
        for _ in range(2):
            if self._pool.has_waiting:
                return
            await trio.lowlevel.checkpoint()

    def _take_follower(self, transaction: Transaction) -> Transaction | None:
        """The next transaction, if its envelope may go out with this content: the message's rest, or the next that waits."""
        while self._manner.takes_followers and self._stopped is None and not self._is_worn():
            rest = transaction.rest()
            handover = transaction.handover if rest else self._pool.take_nowait()
            if handover is None:
                return None
            follower = self._begin(handover, rest or None, is_follower=True)
            if not follower.is_judged:
                return follower
            follower.settle()
        return None

    def _parting(self) -> bytes:
        """QUIT, where nothing can follow the content any more: it may end a group (RFC 2920 section 3.1), and then costs no write
        and no round trip of its own.  Once worn, a session stays so: what is left of the message goes elsewhere."""
        self._has_quit = self._manner.takes_followers and self._is_worn()
        return emit.quit() if self._has_quit else b""

    async def _send_lone_dot(self, transaction: Transaction) -> None:
        """Nobody was accepted, and the server waits for content nevertheless."""
        if self._manner.is_lmtp:
            raise _out_of_step()  # there would be no reply: one comes for each accepted recipient
        self._check_turn()
        transaction.settle()  # whatever comes: a 250 to nothing delivers nothing
        self._talk.protocol.expect(Awaited.DOT, transaction)
        await self._talk.send(emit.lone_dot())
        await self._sending.listen()

    # --- Answers ---

    def _take(self, answer: Answer[Transaction]) -> None:
        if answer.awaited in (Awaited.DOT, Awaited.DOT_RCPT):
            self._take_end(answer)
        elif answer.reply.code == 421:
            raise verdicts.trouble_of(Kind.CLOSING, answer.awaited, answer.reply)
        else:
            answer.owner.take(answer)
            if self._connection is not None and not self._connection.has_served:
                self._opener.served(self._connection)

    def _take_end(self, answer: Answer[Transaction]) -> None:
        transaction = answer.owner
        if self._has_quit and answer.reply.code == _BYE:
            raise verdicts.broken(answer.awaited, answer.reply)  # that is QUIT's answer: the content has none
        transaction.take(answer)
        if transaction.ends <= 0:
            transaction.settle()
            transaction.is_committed = False
            self._current = None if transaction.handover.is_settled else transaction
        if answer.reply.code == 421:
            raise verdicts.trouble_of(Kind.CLOSING, answer.awaited, answer.reply)
        if self._follower is not None and transaction.ends <= 0:
            self._check_stopped()

    # --- The end ---

    async def _end(self, trouble: Trouble | None) -> None:
        if self._connection is None:
            assert trouble is not None
            assert self._coming is not None
            self._pool.could_not_open(self, self._coming, trouble)
            self._pool.tidy()
            return
        self._pool.retire(self)
        if trouble is not None and trouble.kind in (Kind.LOST, Kind.SILENT) and self._stopped is None:
            await self._hear_last_words()
        if trouble is None:
            await self._quit()
        await self._wire.close_forcefully()
        self._opener.closed(self._connection, trouble)
        self._pool.leave(self)  # only now: a server that counts connections must not see one more
        if trouble is not None and trouble.flaw is not None:
            self._known.note(self._connection.host, trouble.flaw)
        left = Leftovers(self._current, self._follower, self._coming)
        left.give_up(trouble or _over(), self._pool, self._remote)
        self._pool.tidy()

    async def _hear_last_words(self) -> None:
        """What the server said before it stopped listening: a refusal in mid-content is a refusal, not a lost connection."""
        with trio.move_on_after(_LAST_WORDS_SECONDS, shield=True):
            try:
                while self._current is not None and self._talk.protocol.awaited is not None:
                    self._take(await self._talk.hear())
            except (Trouble, ReplyError):
                return
            except Exception:  # whatever it is, what is left behind must be settled
                _log.exception("session_crashed", remote=self._remote.host)

    async def _quit(self) -> None:
        if self._has_quit and self._talk.protocol.has_more:
            return  # its answer has come, or begins to
        with trio.move_on_after(_QUIT_SECONDS, shield=True):
            try:
                if not self._has_quit:
                    await self._wire.send(emit.quit())
                await self._wire.receive()
            except Trouble:
                return


def _over() -> Trouble:
    return Trouble(Kind.ABORTED, "the transport ended the session", "4.3.2", scope=Scope.LOCAL)


def _out_of_step() -> Trouble:
    return Trouble(Kind.GARBAGE, "the server waits for content although it accepted nobody", "4.5.0")
