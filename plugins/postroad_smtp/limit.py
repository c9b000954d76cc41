"""One movable deadline for a whole connection: each step moves it, and a scope of its own for each reply is spared.

A phase has one total time, however slowly its bytes drip (RFC 5321 section 4.5.3.2 gives the times).  While a session has a task,
the deadline is that of the task's scope; else the transport's clock (`clock.py`) looks at it.
"""

from __future__ import annotations

import trio

from .clock import Clock, Sleeper

__all__ = ["Limit", "Overdue"]


class Overdue(Exception):
    """The deadline has passed: what was waited for has not come."""


class Limit:
    """due: trio time, the deadline.  rings: trio time at which the clock looks at it, infinite where it does not.
    now: tells trio's time.

    sleeper: whom the clock tells, once there is somebody and until it is over.
    """

    __slots__ = ("_clock", "_latest", "_scope", "due", "now", "rings", "sleeper")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.now = clock.now
        self._scope: trio.CancelScope | None = None  # of the task that waits
        self._latest = float("inf")  # trio time after which all must be over
        self.due = self.rings = float("inf")
        self.sleeper: Sleeper | None = None

    def allow(self, seconds: float) -> None:
        """Move the deadline: what comes next may take so long, or a hundredth less (moving trio's costs more than a reply)."""
        self.due = due = min(self.now() + seconds, self._latest)
        if self._scope is not None and not due - seconds / 100 <= self._scope.deadline <= due:
            self._scope.deadline = due

    def lift(self) -> None:
        """What comes next has deadlines of its own."""
        self.allow(float("inf"))

    def cap(self, seconds: float) -> None:
        """End in so many seconds, whatever is allowed later."""
        self._latest = min(self._latest, self.now() + seconds)
        self.due = min(self.due, self._latest)
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, self.due)
        else:
            self.is_watched()

    # --- Who looks at it ---

    def is_watched(self) -> bool:
        """Whether the clock looks at it from now on.  A deadline that moves away later costs nothing: the clock has the earliest
        one so far, and the rest when it rings."""
        return self.rings <= self.due or self._clock.watch(self)

    def scope(self) -> trio.CancelScope:
        """For a task that waits: ends the work inside it when the deadline passes; shielded, because nothing else may."""
        self._scope = trio.CancelScope(deadline=self.due, shield=True)
        return self._scope

    def leave_scope(self) -> None:
        """The task waits no more."""
        self._scope = None

    def cancel(self) -> None:
        """End what a task waits for."""
        if self._scope is not None:
            self._scope.cancel()

    def end(self) -> None:
        """It is over: nobody looks at it any more."""
        self.sleeper = None
        self._clock.forget(self)
