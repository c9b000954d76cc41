"""One connection and the task that waits for it: opens it, sees to what its conversation needs, and closes it.

Where the transport's ear hears the connection, the task sleeps while small messages go: the conversation goes on in the
ear's turn, or in the call that brings a message to a resting session.  What has to be waited for otherwise wakes the task.  It
shields itself; everything that ends it early goes through its one movable deadline, so that the time between a final dot and its
reply is never cut short by accident.  Used by `pool.py`; `conversation.py` says what is said.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from postroad.log import get_logger
from postroad.verdict import Scope

from . import emit
from .conversation import Conversation
from .ear import GIVE_WAY, Ear
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
from .wire import Wire

__all__ = ["Session"]

_LAST_WORDS_SECONDS = 2.0  # for what the server said before it stopped listening
_QUIT_SECONDS = 2.0  # QUIT is a courtesy; its reply changes nothing
_log = get_logger()


class Session:
    """One connection of a site.  `assign` and `dismiss` are for its pool, `withdraw` for `deliver`, the rest for its ear."""

    def __init__(
        self, pool: Pool, first: Handover, opener: Opener, settings: SmtpSettings, known: KnownHosts, ear: Ear
    ) -> None:
        self._pool = pool
        self._first: Handover | None = first  # until there is a connection
        self._opener = opener
        self._settings = settings
        self._known = known
        self._ear = ear
        self.stopped: Trouble | None = None  # why it is to end, once somebody said so
        self._talk = Talk(settings)
        self.born = trio.current_time()
        self._connection: Connection | None = None
        self._wire: Wire
        self._conversation: Conversation
        self._talking: Talking[None]
        self._remote = Remote(site=first.route.site)
        self._need: Need | Deed | None = None  # of the conversation; None before it begins and when it is over
        self._failure: Exception | None = None  # how it ended while the task slept
        self._task: trio.lowlevel.Task | None = None  # while it sleeps
        self._heard: socket.socket | None = None  # while it is registered with the ear
        first.session = self

    # --- For others ---

    def assign(self, handover: Handover) -> bool:
        """Give a resting session its next request.  False: the server closed, or said that it will; the session ends."""
        assert self._need is Need.MESSAGE
        if self._wire.has_news():
            self._end_rest()
            return False
        handover.session = self
        self._conversation.coming = handover
        self._go_on()
        return True

    def dismiss(self) -> None:
        """End soon: at once, but with the request's `doubt_seconds` for the reply to a final dot."""
        self._stop()
        if self._need is Need.MESSAGE:
            self._end_rest()
        elif (committed := self._committed()) is not None:
            self._talk.limit.cap(committed.request.doubt_seconds)
        else:
            self._talk.limit.scope.cancel()

    def withdraw(self, handover: Handover) -> bool:
        """The request's call was cancelled.  False: its final dot is out; its verdicts will come within `doubt_seconds`.

        Either way the session takes nothing else along: what would come behind it would have to share these seconds.
        """
        self._stop()
        committed = self._committed()
        if committed is None:
            self._talk.limit.scope.cancel()
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

    def _end_rest(self) -> None:
        self._pool.retire(self)
        self._need = None
        self._wake()

    # --- For its ear ---

    def hear(self) -> bool:
        """Its socket can be read, or was a moment ago.  True: `go_on_if_waiting` is to be called when others have run."""
        if self._task is None:  # it is at something else: what the server says lies there until it is asked for
            self._be_unheard()
        elif self._need is Need.MESSAGE:
            self._end_rest()  # it closed, or said that it will
        else:
            self._hear()
        return self._need is Need.MOMENT

    def _hear(self) -> None:
        self._do(self._take_octets)
        if self._need is not Need.MOMENT:
            self._wake_if_needed()

    def _take_octets(self) -> None:
        self._talk.receive_nowait()
        if self._need is Need.OCTETS:
            self._advance()

    def go_on_if_waiting(self) -> None:
        """The others have run."""
        if self._task is not None and self._need is Need.MOMENT:
            self._go_on()

    def _go_on(self) -> None:
        """What its conversation needed is here."""
        self._do(self._advance)
        self._wake_if_needed()

    def _do(self, step: Callable[[], None]) -> None:
        """A step in another's turn, to whom nothing is raised: it is the session's end, which its task sees to."""
        try:
            step()
        except Exception as error:
            self._need, self._failure = None, error

    def unheard(self) -> None:
        """The ear is closed."""
        self._heard = None
        self._wake()

    # --- Life ---

    async def run(self) -> None:
        """Open, carry, close.  Never raises: whatever happens becomes verdicts."""
        trouble: Trouble | None = None
        is_late = False
        with self._talk.limit.scope:
            try:
                await self._live()
            except Trouble as caught:
                trouble = caught
            except ReplyError as caught:
                trouble = Trouble(Kind.GARBAGE, str(caught), "4.5.0")
            except Overdue:
                is_late = True
            except Exception as caught:
                _log.exception("session_crashed", remote=self._remote.host)
                trouble = Trouble(
                    Kind.FAULT, f"the transport failed: {type(caught).__name__}", "4.3.0", scope=Scope.MESSAGE
                )
        if is_late or self._talk.limit.scope.cancelled_caught:
            is_resting = self._need is Need.MESSAGE  # that may end
            trouble = self.stopped or (None if is_resting else self._talk.silence())
        await self._end(trouble)

    async def _live(self) -> None:
        await self._begin()
        while (need := self._need) is not None:
            if not isinstance(need, Need):
                self._advance(await need())
            elif need is Need.MOMENT:
                await self._give_way()
                self._advance()
            elif self._is_heard() or need is Need.MESSAGE:
                await self._talk.limit.watch(self._sleep)
            else:
                await self._talk.receive()
                self._advance()
        if self._failure is not None:
            raise self._failure

    async def _begin(self) -> None:
        assert self._first is not None
        connection = await self._opener.open(self._first.route)
        self._wire, self._remote = connection.wire, connection.remote
        self._talk.begin(self._wire)
        manner = choose_manner(connection.handshake.features, self._settings, self._known, connection.host)
        self._conversation = Conversation(
            self, self._pool, self._talk, self._opener, self._settings, connection, manner, self._first
        )
        self._connection, self._first = connection, None
        self._talking = self._conversation.talk()
        self._advance()

    def _advance(self, got: bytes | None = None) -> None:
        """Let the conversation go on until it needs something.  Raises what it raises, and it is over then."""
        self._need = None
        try:
            self._need = self._talking.send(got)
        except StopIteration:
            return
        if self._need is Need.MESSAGE:
            self._pool.rest(self)

    async def _give_way(self) -> None:
        for _ in range(GIVE_WAY):
            if self._pool.has_waiting:
                return
            await trio.lowlevel.checkpoint()

    # --- Asleep, while the ear hears or there is nothing to do ---

    def _is_heard(self) -> bool:
        """Whether the ear hears it from now on."""
        if self._heard is None:
            sock = self._wire.plain_socket
            if sock is not None and self._ear.attend(sock, self):
                self._heard = sock
        return self._heard is not None

    def _be_unheard(self) -> None:
        if self._heard is not None:
            self._ear.forget(self._heard)
            self._heard = None

    async def _sleep(self) -> None:
        self._is_heard()  # again, where the ear heard it while this task was about to run
        if self._may_sleep():
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._wake_up)

    def _may_sleep(self) -> bool:
        """Whether the task is not needed: others will see to what the conversation needs."""
        return self._need is Need.MESSAGE or (self._need is Need.OCTETS and self._heard is not None)

    def _wake_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake_if_needed(self) -> None:
        if not self._may_sleep():
            self._wake()

    def _wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    # --- The end ---

    async def _end(self, trouble: Trouble | None) -> None:
        if self._connection is None:
            assert trouble is not None
            assert self._first is not None
            self._pool.could_not_open(self, self._first, trouble)
            self._pool.tidy()
            return
        self._pool.retire(self)
        self._be_unheard()
        if trouble is not None and trouble.kind in (Kind.LOST, Kind.SILENT) and self.stopped is None:
            await self._hear_last_words()
        if trouble is None:
            await self._quit()
        await self._wire.close_forcefully()
        self._opener.closed(self._connection, trouble)
        self._pool.leave(self)  # only now: a server that counts connections must not see one more
        if trouble is not None and trouble.flaw is not None:
            self._known.note(self._connection.host, trouble.flaw)
        talked = self._conversation
        left = Leftovers(talked.current, talked.follower, talked.coming)
        left.give_up(trouble or _over(), self._pool, self._remote)
        self._pool.tidy()

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

    async def _quit(self) -> None:
        if self._conversation.has_quit and self._talk.protocol.has_more:
            return  # its answer has come, or begins to
        with trio.move_on_after(_QUIT_SECONDS, shield=True):
            try:
                if not self._conversation.has_quit:
                    await self._wire.send(emit.quit())
                await self._wire.receive()
            except Trouble:
                return


def _over() -> Trouble:
    return Trouble(Kind.ABORTED, "the transport ended the session", "4.3.2", scope=Scope.LOCAL)
