"""One movable deadline for a whole connection: each step moves it, and a scope of its own for each reply is spared.

A phase has one total time, however slowly its bytes drip (RFC 5321 section 4.5.3.2 gives the times).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["Limit", "Overdue"]


class Overdue(Exception):
    """The deadline has passed while somebody else was to go on."""


class Limit:
    """scope: ends the work inside it when the deadline passes.  shield: nothing else may end it.  now: tells trio's time."""

    __slots__ = ("_alarm", "_due", "_latest", "now", "scope")

    def __init__(self, *, shield: bool = False) -> None:
        self.scope = trio.CancelScope(shield=shield)
        self.now = (
            trio.lowlevel.current_clock().current_time
        )  # without the calls on the way that `trio.current_time` makes
        self._alarm: trio.CancelScope | None = None  # in `watch`: rings in time, but perhaps too early
        self._due = float("inf")  # trio time: the deadline
        self._latest = float("inf")  # trio time after which all must be over

    def allow(self, seconds: float) -> None:
        """Move the deadline: what comes next may take so long, or a hundredth less (moving trio's costs more than a reply)."""
        self._due = due = min(self.now() + seconds, self._latest)
        if self._alarm is None:
            if not due - seconds / 100 <= self.scope.deadline <= due:
                self.scope.deadline = due
        elif due < self._alarm.deadline:
            self._alarm.deadline = due

    def cap(self, seconds: float) -> None:
        """End in so many seconds, whatever is allowed later."""
        self._latest = min(self._latest, self.now() + seconds)
        self._due = min(self._due, self._latest)
        ring = self._alarm or self.scope
        ring.deadline = min(ring.deadline, self._due)

    async def watch(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Call `wait`, which may be cancelled and called again, while others go on and move the deadline.  Raises Overdue.

        To move it costs them no more than an assignment: the clock has the earliest one so far, and the rest when it rings.
        """
        self.scope.deadline = float("inf")
        try:
            while True:
                with trio.CancelScope(deadline=self._due) as self._alarm:
                    await wait()
                    return
                if self.now() >= self._due:
                    raise Overdue
        finally:
            self._alarm = None
            self.scope.deadline = self._due
