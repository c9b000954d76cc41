"""Wall time that follows trio's clock: a port, so that five days of retries fit into a second of test.

The clock is anchored to `time.time()` once and then counted by trio's monotonic clock.  When the wall runs ahead (the machine
slept, somebody set the time), it is anchored anew and the jump is remembered: nothing expires by a jump alone.  When the wall is
set back, the clock goes on by itself: due times and holds lie on its scale, and would else be frozen for as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from .log import get_logger

__all__ = ["Clock"]

_log = get_logger()

_TOLERANCE_SECONDS = 2.0  # NTP slews and leap seconds stay below


class Clock:
    """Tells wall seconds (Unix).

    `now()` never goes back.  jumped_at: the time just after the last jump forward, or None.
    awake_since: the clock's beginning, or its last jump: how long time has been passing without a gap.
    ahead_seconds: how far it is ahead of a wall that was set back; what is shown to people or compared with what they
    gave is shifted by that.  is_virtual: it is a test's, whose time jumps on while a thread works: what can be done without one
    is.  With `follow_wall=False` (test clocks) the wall is read once and never looked at again.
    """

    def __init__(self, *, follow_wall: bool = True, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._follow = follow_wall
        self.is_virtual = wall is not time.time
        self.awake_since = self._anchor_wall = wall()
        # Without the calls on the way that `trio.current_time` makes.
        self._trio_time = trio.lowlevel.current_clock().current_time
        self._anchor_trio = self._trio_time()
        self.jumped_at: float | None = None
        self.ahead_seconds = 0.0

    def now(self) -> float:
        """The time in seconds, for everything that is scheduled."""
        counted = self._anchor_wall + (self._trio_time() - self._anchor_trio)
        if not self._follow:
            return counted
        gained = self._wall() - counted
        if gained > _TOLERANCE_SECONDS:
            return self._jump(counted + gained)
        if abs(gained + self.ahead_seconds) > _TOLERANCE_SECONDS:
            self.ahead_seconds = max(0.0, -gained)
            _log.warning("clock_differs", seconds=round(self.ahead_seconds, 3))
        return counted

    def _jump(self, wall: float) -> float:
        self._anchor_wall, self._anchor_trio = wall, self._trio_time()
        self.jumped_at = self.awake_since = wall
        self.ahead_seconds = 0.0
        return wall

    def deadline(self, when: float) -> float:
        """The trio time of a wall time (for cancel scopes and sleeping); never more than a minute ahead when following.

        A sleeper wakes at least once a minute, so that a jump of the wall is noticed.
        """
        ahead = when - self.now()
        if self._follow:
            ahead = min(ahead, 60.0)
        return self._trio_time() + max(0.0, ahead)
