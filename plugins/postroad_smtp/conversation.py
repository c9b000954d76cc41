"""What is said on one connection: one message after the other, until it is time to go.  Waits for nothing.

A generator says as much as can be said at once, and yields what it needs before it can go on (`needs.py`); `session.py` sees to
that.  Where the server pipelines, the next envelope, or QUIT, goes out in the same write as the content before it: one write and
one read per message (RFC 2920 section 3.1).  Decides nothing about retries.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import emit, verdicts
from .greeting import Connection
from .handover import Handover
from .manner import Manner
from .needs import Need, Talking
from .opening import Opener
from .ports import Pool
from .protocol import ENDS, Answer, Awaited
from .sending import Sending
from .settings import SmtpSettings
from .talk import Talk
from .transaction import Transaction
from .trouble import Kind, Trouble, out_of_turn

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Conversation"]

_BYE = 221
_QUIT_SECONDS = 2.0  # QUIT is a courtesy; its reply changes nothing


class Conversation:
    """coming: the session's own from now on, though no transaction was begun for it yet.  current, follower: the transactions
    under way, the latter being behind the former.  has_quit: QUIT went out behind the last content.  is_parting: nothing is left
    but the answer to QUIT, and whatever happens to it is no trouble.

    session: whose it is; `stopped` says why nothing more is to begin, nor to go out that can be kept.
    """

    def __init__(
        self,
        session: Session,
        pool: Pool,
        talk: Talk,
        opener: Opener,
        settings: SmtpSettings,
        connection: Connection,
        manner: Manner,
        first: Handover,
    ) -> None:
        self.coming: Handover | None = first
        self.current: Transaction | None = None
        self.follower: Transaction | None = None
        self.has_quit = self.is_parting = False
        self._session = session
        self._pool = pool
        self._talk = talk
        self._opener = opener
        self._settings = settings
        self._connection = connection
        self._wire, self._remote = connection.wire, connection.remote
        self._manner = manner
        self._sending = Sending(talk, connection.wire, manner, connection.remote, self.take)
        self._born = session.born
        self._carried = 0
        self._mails = 0  # MAIL commands so far (RFC 9422 section 4.1: failed ones count)
        self._needs_reset = False

    # --- For its session ---

    @property
    def committed(self) -> Handover | None:
        """The request whose final dot is out, or is about to be."""
        return self.current.handover if self.current is not None and self.current.is_committed else None

    @property
    def has_anything(self) -> bool:
        """Whether it holds a request."""
        return self.current is not None or self.follower is not None or self.coming is not None

    def let_go(self) -> None:
        """It is over: what refers to it in a circle, which only the garbage collector would find, does so no more."""
        del self._sending

    def talk(self) -> Talking[None]:
        """All of it.  Raises Trouble or ReplyError, and whatever is raised where it waits."""
        handover = self.coming
        while handover is not None:
            yield from self._carry(handover)
            self.current = handover = None  # a resting session holds no message: there may be a thousand of them
            if self._session.stopped is not None or self._is_worn():
                break
            if not self._pool.has_waiting:
                self._talk.limit.allow(self._settings.idle_seconds)
                yield Need.MESSAGE
                handover = self.coming
            elif not self._wire.has_news():
                handover = self._take_waiting()
        yield from self._part()

    def _part(self) -> Talking[None]:
        """QUIT, where it has not gone out, and its answer: the server then has heard it before another connection is made."""
        self.is_parting = True
        if self.has_quit and self._talk.protocol.has_more:
            return  # the answer has come, or begins to
        self._talk.limit.allow(_QUIT_SECONDS)
        if not self.has_quit and (rest := self._wire.send_nowait(emit.quit())):
            yield functools.partial(self._wire.send_rest, rest)
        yield Need.OCTETS

    def take(self, answer: Answer[Transaction]) -> None:
        if answer.awaited in ENDS:
            self._take_end(answer)
        elif answer.reply.code == 421:
            raise verdicts.trouble_of(Kind.CLOSING, answer.awaited, answer.reply)
        else:
            answer.owner.take(answer)
            if not self._connection.has_served:
                self._opener.served(self._connection)

    # --- One message after the other ---

    def _is_worn(self) -> bool:
        mail_max = self._manner.features.mail_max
        if self._carried >= self._settings.messages_per_session or (mail_max is not None and self._mails >= mail_max):
            return True
        return self._talk.limit.now() - self._born > self._settings.session_seconds

    def _check_stopped(self) -> None:
        if self._session.stopped is not None:
            raise self._session.stopped

    def _take_waiting(self) -> Handover | None:
        handover = self._pool.take_nowait()
        if handover is not None:
            handover.session = self._session
        return handover

    def _carry(self, handover: Handover) -> Talking[None]:
        """A request, what of it goes in further transactions, and those whose envelopes follow it."""
        following: Transaction | None = self._begin(handover)
        while following is not None:
            self.current, self.follower = following, None
            if not following.is_follower and not following.is_judged:
                yield from self._say_envelope(following)
            following = (yield from self._hand_over(following)) or self._rest_of(following)

    def _begin(
        self, handover: Handover, recipients: Sequence[int] | None = None, *, is_follower: bool = False
    ) -> Transaction:
        self.coming = handover
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
        self.coming = None
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

    def _say_envelope(self, transaction: Transaction) -> Talking[None]:
        while group := self._expect_group(transaction):
            self._check_turn()
            if rest := self._talk.send_nowait(group):
                yield functools.partial(self._talk.send_rest, rest)
            yield from self._sending.listen()

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

    def _hand_over(self, transaction: Transaction) -> Talking[Transaction | None]:
        """Content and its end for an envelope that is answered; returns the follower, its envelope answered too."""
        self._check_stopped()  # a 354 may be waiting: closing is the only way out that sends nothing
        if not transaction.may_send:
            self._needs_reset = self._needs_reset or transaction.answers > 0
            transaction.settle()
            return None
        if transaction.is_judged:
            yield from self._send_lone_dot(transaction)
            return None
        if transaction.is_follower and not self._pool.has_waiting:
            yield Need.MOMENT
            self._sending.check_silence()
        end = self._sending.begin(transaction)
        if end is None:
            end = yield from self._sending.stream(transaction)
        if end is None:
            self._needs_reset = True
            transaction.settle()
            return None
        self._needs_reset = transaction.is_chunked  # a BDAT that fails must be followed by RSET (RFC 3030 section 2)
        follower = self.follower = self._take_follower(transaction)
        group = self._expect_group(follower) if follower is not None else self._parting()
        self._check_stopped()  # the last moment: what was taken back since must not get its dot
        transaction.is_committed = True
        transaction.handover.request.committing()
        if rest := self._talk.send_nowait(end + group if group else end):
            yield functools.partial(self._talk.send_rest, rest)
        transaction.is_handed_over = True
        yield from self._sending.listen()
        return follower

    def _take_follower(self, transaction: Transaction) -> Transaction | None:
        """The next transaction, if its envelope may go out with this content: the message's rest, or the next that waits."""
        while self._manner.takes_followers and self._session.stopped is None and not self._is_worn():
            rest = transaction.rest()
            handover = transaction.handover if rest else self._take_waiting()
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
        self.has_quit = self._manner.takes_followers and self._is_worn()
        return emit.quit() if self.has_quit else b""

    def _send_lone_dot(self, transaction: Transaction) -> Talking[None]:
        """Nobody was accepted, and the server waits for content nevertheless."""
        if self._manner.is_lmtp:
            raise _out_of_step()  # there would be no reply: one comes for each accepted recipient
        self._check_turn()
        transaction.settle()  # whatever comes: a 250 to nothing delivers nothing
        self._talk.protocol.expect(Awaited.DOT, transaction)
        if rest := self._talk.send_nowait(emit.lone_dot()):
            yield functools.partial(self._talk.send_rest, rest)
        yield from self._sending.listen()

    def _take_end(self, answer: Answer[Transaction]) -> None:
        transaction = answer.owner
        if self.has_quit and answer.reply.code == _BYE:
            raise verdicts.broken(answer.awaited, answer.reply)  # that is QUIT's answer: the content has none
        transaction.take(answer)
        if transaction.ends <= 0:
            transaction.settle()
            transaction.is_committed = False
            self.current = None if transaction.handover.is_settled else transaction
        if answer.reply.code == 421:
            raise verdicts.trouble_of(Kind.CLOSING, answer.awaited, answer.reply)
        if self.follower is not None and transaction.ends <= 0:
            self._check_stopped()


def _out_of_step() -> Trouble:
    return Trouble(Kind.GARBAGE, "the server waits for content although it accepted nobody", "4.5.0")
