"""One movable deadline for a whole connection: each step moves it, and a scope of its own for each reply is spared.

A phase has one total time, however slowly its bytes drip (RFC 5321 section 4.5.3.2 gives the times).
"""

from __future__ import annotations

import trio

__all__ = ["Limit"]


class Limit:
    """scope: ends the work inside it when the deadline passes.  shield: nothing else may end it."""

    __slots__ = ("_latest", "scope")

    def __init__(self, *, shield: bool = False) -> None:
        self.scope = trio.CancelScope(shield=shield)
        self._latest = float("inf")  # trio time after which all must be over

    def allow(self, seconds: float) -> None:
        """Move the deadline: what comes next may take so long, or a hundredth less (moving it costs more than a reply)."""
        wanted = min(trio.current_time() + seconds, self._latest)
        if not wanted - seconds / 100 <= self.scope.deadline <= wanted:
            self.scope.deadline = wanted

    def cap(self, seconds: float) -> None:
        """End in so many seconds, whatever is allowed later."""
        self._latest = min(self._latest, trio.current_time() + seconds)
        self.scope.deadline = min(self.scope.deadline, self._latest)
