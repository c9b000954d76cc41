"""The sessions of each site, and the requests that wait for one.  Synchronous; starts sessions, does no I/O of its own.

A request goes to a resting session, else to a new one while there are fewer than allowed, else it waits; a session that sends
content takes the next one along.  What lost its connection through no fault of its own is put back once and gets a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import trio

from postroad.verdict import Scope

from .handover import Handover
from .session import Session
from .trouble import Kind, Trouble
from .verdicts import Remote, of_trouble

__all__ = ["Site", "Sites"]

_RESTING_MOST = (
    250  # connections of all sites: each holds a descriptor, of which a process has 1,024 if nobody asks for more
)
_CROWDED_SECONDS = 60.0  # how long a site that refused one more connection is not asked for more

StartSession = Callable[["Site", Handover], Session]
# Calls something after so many seconds, while the transport is open.
Later = Callable[[float, Callable[[], None]], None]


class _Rest:
    """The sessions that rest, of all sites, the longest first.  Where one more would be too many, the longest ends."""

    def __init__(self) -> None:
        self._sites: dict[Session, Site] = {}

    def add(self, session: Session, site: Site) -> None:
        self._sites[session] = site
        if len(self._sites) > _RESTING_MOST:
            longest, its_site = next(iter(self._sites.items()))
            its_site.retire(longest)
            longest.dismiss()

    def discard(self, session: Session) -> None:
        self._sites.pop(session, None)


class Site:
    """One set of servers.  Used by its sessions and by Sites only."""

    def __init__(
        self, name: str, limit: int, start: StartSession, later: Later, forget: Callable[[Site], None], rest: _Rest
    ) -> None:
        self.name = name
        self._limit = limit
        self._start = start
        self._later = later
        self._forget = forget
        self._rest = rest
        self._sessions: set[Session] = set()
        self._resting: list[Session] = []  # the last one to rest is the first to work: the others may time out
        self._queue: deque[Handover] = deque()
        self._crowded_until = float("-inf")
        self._crowd = limit  # sessions while it is crowded
        self._is_closing = False

    # --- For Sites ---

    def submit(self, handover: Handover) -> None:
        self._queue.append(handover)
        self._dispatch()

    def withdraw(self, handover: Handover) -> None:
        """Take a request out of the queue."""
        if handover in self._queue:
            self._queue.remove(handover)

    def close(self) -> None:
        """No more: what waits is postponed, sessions end."""
        self._is_closing = True
        for handover in self._drained():
            self._postpone(handover)
        for session in list(self._sessions):
            session.dismiss()

    # --- For sessions ---

    @property
    def has_waiting(self) -> bool:
        return bool(self._queue)

    def take_nowait(self) -> Handover | None:
        return self._queue.popleft() if self._queue else None

    def rest(self, session: Session) -> None:
        if self._is_closing:
            session.dismiss()
            return
        self._resting.append(session)
        self._rest.add(session, self)
        self._dispatch()

    def retire(self, session: Session) -> None:
        """The session takes no more work; it counts until it has left."""
        if session in self._resting:
            self._resting.remove(session)
            self._rest.discard(session)

    def leave(self, session: Session) -> None:
        """Forget a session: there is room for another one.  Calling it twice does no harm."""
        self._sessions.discard(session)
        self.retire(session)

    def tidy(self) -> None:
        """A session has left and settled or put back everything: another one is started where requests wait; where there is
        neither, the site is forgotten."""
        self._dispatch()
        if not self._sessions and not self._queue:
            self._forget(self)

    def put_back(self, handover: Handover) -> None:
        """To the head of the queue, and to a new connection if one may be opened."""
        handover.session = None
        if handover.is_withdrawn:
            self._settle(handover, _aborted("the attempt was cancelled"))
        elif self._is_closing:
            self._postpone(handover)
        elif handover.had_trouble and len(self._sessions) < self._room():
            self._open(handover)
        else:
            self._queue.appendleft(handover)
            self._dispatch()

    def could_not_open(self, session: Session, handover: Handover, trouble: Trouble) -> None:
        """The session ends without a connection; what becomes of its request."""
        handover.session = None
        self._sessions.discard(session)
        others = len(self._sessions)  # opening ones too: if none of them gets through, the last one fails all
        if trouble.kind is Kind.ABORTED or self._is_closing:
            self.put_back(handover)
        elif others and not handover.was_returned:
            handover.was_returned = True
            self._crowd, self._crowded_until = others, trio.current_time() + _CROWDED_SECONDS
            self._later(_CROWDED_SECONDS, self._dispatch)
            self._queue.appendleft(handover)
        else:
            self._fail(handover, trouble)
        self.leave(session)

    # --- Inside ---

    def _dispatch(self) -> None:
        while self._queue and self._resting:
            session = self._resting.pop()
            self._rest.discard(session)
            handover = self._queue.popleft()
            if not session.assign(handover):
                self._queue.appendleft(handover)
        while self._queue and len(self._sessions) < self._room():
            self._open(self._queue.popleft())

    def _room(self) -> int:
        """How many sessions there may be now; at least one."""
        if self._crowd >= self._limit:  # nobody ever said that there are enough
            return self._limit
        return max(1, self._crowd) if trio.current_time() < self._crowded_until else self._limit

    def _open(self, handover: Handover) -> None:
        self._sessions.add(self._start(self, handover))

    def _drained(self) -> Iterable[Handover]:
        waiting = list(self._queue)
        self._queue.clear()
        return waiting

    def _fail(self, handover: Handover, trouble: Trouble) -> None:
        """With no other session, everything that waits would fare the same, unless the trouble is the one request's own."""
        self._settle(handover, trouble)
        if not self._sessions and trouble.scope is not Scope.RECIPIENT:
            for waiting in self._drained():
                self._settle(waiting, trouble)

    def _settle(self, handover: Handover, trouble: Trouble) -> None:
        if not handover.is_settled:
            handover.settle_rest(of_trouble(trouble, Remote(site=self.name)))

    def _postpone(self, handover: Handover) -> None:
        self._settle(handover, _aborted("the transport is closing"))


class Sites:
    """All sites that have work or sessions."""

    def __init__(self, limit: int, start: StartSession, later: Later) -> None:
        self._limit = limit
        self._start = start
        self._later = later
        self._sites: dict[str, Site] = {}
        self._rest = _Rest()
        self._is_closing = False

    def submit(self, handover: Handover) -> None:
        if self._is_closing:
            raise trio.ClosedResourceError("the transport is closed")
        name = handover.route.site
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = Site(name, self._limit, self._start, self._later, self._drop, self._rest)
        site.submit(handover)

    def has(self, name: str) -> bool:
        """Whether a site has work or sessions."""
        return name in self._sites

    def withdraw(self, handover: Handover) -> bool:
        """Its call was cancelled.  False: its verdicts are here, or, its final dot being out, will come in time."""
        handover.is_withdrawn = True
        if not self._take_back(handover):
            return False
        if handover.was_handed_over:  # by an earlier transaction: that must not be thrown away
            handover.settle_rest(of_trouble(_aborted("the attempt was cancelled"), Remote(site=handover.route.site)))
            return False
        return True

    def _take_back(self, handover: Handover) -> bool:
        if handover.session is not None:
            return handover.session.withdraw(handover)
        site = self._sites.get(handover.route.site)
        if site is not None:
            site.withdraw(handover)
        return True

    def close(self) -> None:
        self._is_closing = True
        for site in list(self._sites.values()):
            site.close()

    def _drop(self, site: Site) -> None:
        if self._sites.get(site.name) is site:
            del self._sites[site.name]


def _aborted(said: str) -> Trouble:
    return Trouble(Kind.ABORTED, said, "4.3.2", scope=Scope.LOCAL)
