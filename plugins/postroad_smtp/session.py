"""One connection: begun, carried on and ended in whatever turn brings it what it needs, or by a task of its own.

Where the transport's ear hears the connection and its clock looks at the deadline, a session has no task: it begins in the call
that needs it, and goes on in the ear's turn, or in the call that brings a resting one a message.  What has to be waited for
otherwise (TLS, look-ups, several addresses, a write without room, a large content, last words) is a task's, which is shielded and
ends when others can wait again.  Everything that ends a session early goes through its one movable deadline, so that the time
between a final dot and its reply is never cut short by accident.  Used by `pool.py`; `conversation.py` says what is said.
"""

from __future__ import annotations

import trio

from postroad.log import get_logger
from postroad.verdict import Scope

from .conversation import Conversation
from .ear import GIVE_WAY
from .greeting import Connection
from .handover import Handover
from .known import KnownHosts
from .leftovers import Leftovers
from .limit import Overdue
from .manner import choose_manner
from .needs import Deed, Need, Talking
from .opening import Opener
from .ports import Pool
from .reply import ReplyError
from .settings import SmtpSettings
from .talk import Talk
from .trouble import Kind, Trouble
from .verdicts import Remote

__all__ = ["Session"]

_LAST_WORDS_SECONDS = 2.0  # for what the server said before it stopped listening
_log = get_logger()


class Session:
    """One connection of a site.  `assign` and `dismiss` are for its pool, `withdraw` for `deliver`, the rest for ear and clock.

    nursery: for its tasks.
    """

    def __init__(
        self,
        pool: Pool,
        first: Handover,
        opener: Opener,
        settings: SmtpSettings,
        known: KnownHosts,
        talk: Talk,
        nursery: trio.Nursery,
    ) -> None:
        self._pool = pool
        self._first: Handover | None = first  # until there is a connection
        self._opener = opener
        self._settings = settings
        self._known = known
        self._nursery = nursery
        self.stopped: Trouble | None = None  # why it is to end, once somebody said so
        self._is_aborted = False  # it is to end at once, whatever it waits for
        self._talk = talk
        self.born = trio.current_time()
        self._connection: Connection | None = None
        self._conversation: Conversation
        self._talking: Talking[Connection] | Talking[None] = opener.open(first.route, talk)
        self._remote = Remote(site=first.route.site)
        self._need: Need | Deed | None = None  # of what is opened or said; None while it goes on, and when it is over
        self._is_over = False
        self._trouble: Trouble | None = None  # by which it is over; None: in peace
        self._has_task = False
        first.session = self
        talk.limit.sleeper = self

    def begin(self) -> None:
        """Open a connection for the first request.  Nothing comes of it before this returns."""
        self._advance()
        self._arrange()

    # --- For others ---

    def assign(self, handover: Handover) -> bool:
        """Give a resting session its next request.  False: the server closed, or said that it will; the session ends."""
        assert self._need is Need.MESSAGE
        if self._talk.wire.has_news():
            self._end_rest()
            return False
        handover.session = self
        self._conversation.coming = handover
        self._advance()
        self._arrange()
        return True

    def dismiss(self) -> None:
        """End soon: at once, but with the request's `doubt_seconds` for the reply to a final dot."""
        self._stop()
        if self._need is Need.MESSAGE:
            self._end_rest()
        elif (committed := self._committed()) is not None:
            self._talk.limit.cap(committed.request.doubt_seconds)
        else:
            self._abort()

    def withdraw(self, handover: Handover) -> bool:
        """The request's call was cancelled.  False: its final dot is out; its verdicts will come within `doubt_seconds`.

        Either way the session takes nothing else along: what would come behind it would have to share these seconds.
        """
        self._stop()
        committed = self._committed()
        if committed is None:
            self._abort()
        elif committed is handover:
            self._talk.limit.cap(handover.request.doubt_seconds)
            return False
        return True

    def _stop(self) -> None:
        if self.stopped is None:
            self.stopped = Trouble(Kind.ABORTED, "the attempt was cancelled", "4.3.2", scope=Scope.LOCAL)

    def _committed(self) -> Handover | None:
        """The request whose final dot is out."""
        return None if self._connection is None else self._conversation.committed

    def _abort(self) -> None:
        if self._connection is not None and self._conversation.is_parting:
            return  # it ends as it is
        self._is_aborted = True
        if self._has_task:
            self._talk.limit.cancel()
        elif self._need is not None:
            self._be_over(self.stopped)
            self._arrange()

    def _end_rest(self) -> None:
        self._pool.retire(self)
        self._advance()  # without a request: it parts
        self._arrange()

    # --- For the ear and the clock ---

    def hear(self) -> bool:
        """Its socket can be read, or written where that is waited for, or could a moment ago.  True: `go_on_if_waiting` is to be
        called when others have run."""
        if self._has_task:  # it is at something else: what the server says lies there until it is asked for
            self._talk.be_unheard()
        elif self._need is Need.OCTETS:
            self._take_octets()
            self._arrange(in_turn=True)
        elif self._need is Need.MESSAGE:
            self._end_rest()  # it closed, or said that it will
        elif self._need is Need.ROOM:
            self._advance()
            self._arrange(in_turn=True)
        return self._need is Need.MOMENT and not self._has_task

    def _take_octets(self) -> None:
        try:
            data = self._talk.wire.receive_nowait()
        except Trouble as trouble:
            self._advance(error=trouble)
        else:
            if data is not None:
                self._advance(data)

    def go_on_if_waiting(self) -> None:
        """The others have run."""
        if self._need is Need.MOMENT and not self._has_task:
            self._advance()
            self._arrange(in_turn=True)

    def overdue(self) -> None:
        """Its deadline has passed."""
        if not self._has_task and not self._is_over:
            self._be_late()
            self._arrange()

    def unwatched(self) -> None:
        """The clock is closed, and with it the ear."""
        self._arrange()

    # --- Life ---

    def _advance(self, got: object = None, error: Exception | None = None) -> None:
        """Go on with what was needed, or with what came instead of it, until something is needed or it is over.  Never raises."""
        self._need = None
        try:
            need = self._talking.send(got) if error is None else self._talking.throw(error)
        except StopIteration as end:
            if self._connection is None:
                self._converse(end.value)
            else:
                self._be_over(None)
        except Exception as caught:
            self._be_over(self._trouble_of(caught))
        else:
            self._need = need
            if need is Need.MESSAGE:
                self._pool.rest(self)

    def _converse(self, connection: Connection) -> None:
        """There is a connection."""
        assert self._first is not None
        self._remote = connection.remote
        manner = choose_manner(connection.handshake.features, self._settings, self._known, connection.host)
        self._conversation = Conversation(
            self, self._pool, self._talk, self._opener, self._settings, connection, manner, self._first
        )
        self._connection, self._first = connection, None
        self._talking = self._conversation.talk()
        self._advance()

    def _be_late(self) -> None:
        if self._need is Need.MESSAGE:
            self._pool.retire(self)
            self._advance()
        else:
            self._advance(error=Overdue())

    def _be_over(self, trouble: Trouble | None) -> None:
        self._need, self._is_over, self._trouble = None, True, trouble

    def _trouble_of(self, error: Exception) -> Trouble | None:
        """What ended it; None where nothing was left to be troubled."""
        if self._connection is not None and self._conversation.is_parting:
            return None
        if isinstance(error, Trouble):
            return error
        if isinstance(error, Overdue):
            return self.stopped or self._talk.silence()
        if isinstance(error, ReplyError):
            return Trouble(Kind.GARBAGE, str(error), "4.5.0")
        _log.exception("session_crashed", remote=self._remote.host, exc_info=error)
        return Trouble(Kind.FAULT, f"the transport failed: {type(error).__name__}", "4.3.0", scope=Scope.MESSAGE)

    # --- Who waits for it ---

    def _arrange(self, *, in_turn: bool = False) -> None:
        """See that somebody waits for what is needed: its task, if it has one, else ear and clock, else a new task.

        in_turn: it is the ear's turn, where a session may end, and who needs a moment is called again.
        """
        if self._has_task:
            return
        if self._is_aborted and not self._is_over:
            self._be_over(self.stopped)
        if self._is_left_to_others():
            return
        if in_turn and (self._need is Need.MOMENT or (self._is_over and self._end_nowait())):
            return
        self._has_task = True
        self._nursery.start_soon(self.run)

    def _is_left_to_others(self) -> bool:
        """Whether ear and clock see to it from now on."""
        need = self._need
        if need is Need.OCTETS or need is Need.ROOM:
            return self._talk.is_heard(need, self) and self._talk.limit.is_watched()
        if need is Need.MESSAGE:
            self._talk.is_heard(need, self)  # where it can be
            return self._talk.limit.is_watched()
        return False

    async def run(self) -> None:
        """Wait for what nobody else waits for, and for the end.  Never raises: whatever happens becomes verdicts."""
        try:
            while not self._is_over and not self._is_left_to_others():
                await self._work_until_late()
        except Exception as error:
            self._be_over(self._trouble_of(error))
        if self._is_over:
            await self._end()
        self._has_task = False

    async def _work_until_late(self) -> None:
        with self._talk.limit.scope() as scope:
            while not (self._is_over or self._is_aborted or self._is_left_to_others()):
                await self._work()
                if scope.cancel_called:  # for a deadline that was met after all: what comes next has its own
                    break
        self._talk.limit.leave_scope()
        if self._is_aborted and not self._is_over:
            self._be_over(self.stopped)
        elif scope.cancelled_caught:
            self._be_late()

    async def _work(self) -> None:
        """Do what is needed, and go on with what came of it."""
        need, got = self._need, None
        try:
            if need is Need.OCTETS:
                got = await self._talk.wire.receive()
            elif need is Need.ROOM:
                await self._talk.wire.wait_for_room()
            elif need is Need.MOMENT:
                await self._give_way()
            elif need is Need.MESSAGE:  # nobody would notice that it has to end: it does now
                self._pool.retire(self)
            else:
                assert callable(need)
                got = await need()
        except Exception as error:
            self._advance(error=error)
        else:
            self._advance(got)

    async def _give_way(self) -> None:
        for _ in range(GIVE_WAY):
            if self._pool.has_waiting:
                return
            await trio.lowlevel.checkpoint()

    # --- The end ---

    def _end_nowait(self) -> bool:
        """End in peace; False where there is more to do, for which others may have to be waited for."""
        if self._trouble is not None or self._connection is None or self._conversation.has_anything:
            return False
        if not self._talk.hang_up_nowait():
            return False
        self._leave()
        return True

    async def _end(self) -> None:
        trouble = self._trouble
        if self._connection is None:
            assert trouble is not None
            assert self._first is not None
            await self._talk.hang_up()
            self._talk.limit.end()
            self._pool.could_not_open(self, self._first, trouble)
            self._pool.tidy()
            return
        self._pool.retire(self)
        self._talk.be_unheard()
        if trouble is not None and trouble.kind in (Kind.LOST, Kind.SILENT) and self.stopped is None:
            await self._hear_last_words()
        await self._talk.hang_up()
        self._leave()

    def _leave(self) -> None:
        """The connection is closed: settle or put back what it leaves behind, and let another one have its place."""
        connection, trouble = self._connection, self._trouble
        assert connection is not None
        self._talk.limit.end()
        self._opener.closed(connection, trouble)
        self._pool.leave(self)  # only now: a server that counts connections must not see one more
        if trouble is not None and trouble.flaw is not None:
            self._known.note(connection.host, trouble.flaw)
        talked = self._conversation
        if talked.has_anything:
            left = Leftovers(talked.current, talked.follower, talked.coming)
            left.give_up(trouble or _over(), self._pool, self._remote)
        self._pool.tidy()
        talked.let_go()
        self._connection = None
        del self._conversation

    async def _hear_last_words(self) -> None:
        """What the server said before it stopped listening: a refusal in mid-content is a refusal, not a lost connection."""
        with trio.move_on_after(_LAST_WORDS_SECONDS, shield=True):
            try:
                while self._conversation.current is not None and self._talk.protocol.awaited is not None:
                    self._conversation.take(await self._talk.hear())
            except (Trouble, ReplyError):
                return
            except Exception:  # whatever it is, what is left behind must be settled
                _log.exception("session_crashed", remote=self._remote.host)


def _over() -> Trouble:
    return Trouble(Kind.ABORTED, "the transport ended the session", "4.3.2", scope=Scope.LOCAL)
