"""Wall time that follows trio's clock: a port, so that five days of retries fit into a second of test.

The clock is anchored to `time.time()` once and then counted by trio's monotonic clock.  When the two drift apart (the machine
slept, somebody set the time), it is anchored anew and the jump is remembered: nothing expires by a jump alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

__all__ = ["Clock"]

_TOLERANCE_SECONDS = 2.0  # NTP slews and leap seconds stay below


class Clock:
    """Tells wall seconds (Unix).

    `now()` is monotonic but for jumps.  jumped_at: the wall time just after the last jump, or None.
    With `follow_wall=False` (test clocks) the wall is read once and never looked at again.
    """

    def __init__(self, *, follow_wall: bool = True, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._follow = follow_wall
        self._anchor_wall = wall()
        self._anchor_trio = trio.current_time()
        self.jumped_at: float | None = None

    def now(self) -> float:
        """The wall time in seconds."""
        counted = self._anchor_wall + (trio.current_time() - self._anchor_trio)
        if not self._follow:
            return counted
        wall = self._wall()
        if abs(wall - counted) <= _TOLERANCE_SECONDS:
            return counted
        self._anchor_wall = wall
        self._anchor_trio = trio.current_time()
        self.jumped_at = wall
        return wall

    def deadline(self, when: float) -> float:
        """The trio time of a wall time (for cancel scopes and sleeping); never more than a minute ahead when following.

        A sleeper wakes at least once a minute, so that a jump of the wall is noticed and no retry stays frozen.
        """
        ahead = when - self.now()
        if self._follow:
            ahead = min(ahead, 60.0)
        return trio.current_time() + max(0.0, ahead)
