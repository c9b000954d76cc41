"""Looks at the deadlines of all sessions that have no task: one task that sleeps until the first of them.

Knows no SMTP.  Once it is closed, which is when the transport and its ear are, sessions that wait for something have tasks.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Protocol

import trio

__all__ = ["Alarm", "Clock", "Sleeper"]

_AT_ONCE = 32  # that are told between two checkpoints, as the ear has it
_STALE_MOST = 64  # entries of the line that mean nothing any more, beyond as many as do


class Sleeper(Protocol):
    """A session, as the clock sees it."""

    def overdue(self) -> None:
        """Its deadline has passed.  Never raises."""
        ...

    def unwatched(self) -> None:
        """The clock is closed, and nobody looks at its deadline.  Never raises."""
        ...


class Alarm(Protocol):
    """A deadline.  due, in trio time, may move; rings is the clock's own: when it looks next, infinite where it does not."""

    due: float
    rings: float
    sleeper: Sleeper | None


class Clock:
    """nursery: for its task, which begins with the first deadline and ends when the nursery is cancelled.

    now: tells trio's time.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        # Trio's time, without the calls on the way that `trio.current_time` makes.
        self.now = trio.lowlevel.current_clock().current_time
        # A heap; an entry counts where its moment is the alarm's `rings`.
        self._line: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._stale = 0
        self._is_running = False
        self._sleep: trio.CancelScope | None = None
        self.is_closed = False

    def watch(self, alarm: Alarm) -> bool:
        """Look at it when it is due: again, where that is sooner than before.  False where the clock is closed."""
        if self.is_closed:
            return False
        if alarm.rings < float("inf"):
            self._stale += 1
        alarm.rings = due = alarm.due
        heapq.heappush(self._line, (due, next(self._numbers), alarm))
        if self._line[0][2] is alarm:
            self._set()
        return True

    def _set(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._nursery.start_soon(self._run)
        elif self._sleep is not None:
            self._sleep.deadline = self._line[0][0]

    def forget(self, alarm: Alarm) -> None:
        """Look at it no more."""
        if alarm.rings == float("inf"):
            return
        alarm.rings = float("inf")
        self._stale += 1
        if self._stale > _STALE_MOST + len(self._line) // 2:
            self._line = [entry for entry in self._line if entry[0] == entry[2].rings]
            heapq.heapify(self._line)
            self._stale = 0

    async def _run(self) -> None:
        try:
            while True:
                with trio.CancelScope(deadline=self._line[0][0] if self._line else float("inf")) as self._sleep:
                    await trio.sleep_forever()
                self._sleep = None
                await self._ring()
        finally:
            self._close()

    async def _ring(self) -> None:
        now, told = self.now(), 0
        while self._line and self._line[0][0] <= now:
            rang, _, alarm = heapq.heappop(self._line)
            if rang != alarm.rings:
                self._stale -= 1
                continue
            alarm.rings = float("inf")
            if alarm.due > now:
                self.watch(alarm)
            elif alarm.sleeper is not None:
                alarm.sleeper.overdue()
                told += 1
                if told % _AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        self.is_closed = True
        line, self._line = self._line, []
        for rang, _, alarm in line:
            if rang == alarm.rings:
                alarm.rings = float("inf")
                if alarm.sleeper is not None:
                    alarm.sleeper.unwatched()
