"""Attempts that their transport began at once (`postroad.transport.Beginning`): no task and no scope for each, one watch for all.

Only used by delivery.  Whatever a transport does, each of them comes home once: with its verdicts, with what went wrong, or
taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import get_ident
from typing import Any, NoReturn

import trio

from ..strangers import as_exceptions
from ..transport import Beginning, DeliveryRequest, Withdraw
from .notes import Attempt
from .watched import SLOW_SECONDS

__all__ = ["BegunAttempts", "TakenBack"]

_ELSEWHERE = "`done` was called on another thread than trio's; trio.from_thread.run_sync calls it there"
_GRACE_SECONDS = 5.0  # behind `doubt_seconds`: who keeps his duties is never cut short by it


def _refuse(withdraw: object) -> NoReturn:
    """Raises TypeError at once, not at the deadline, of what takes nothing back."""
    kind = type(withdraw).__name__
    raise TypeError(f"begin_delivery returned a {kind}; a function that takes the attempt back, or None, was expected")


class TakenBack:
    """The answer to an attempt that was withdrawn."""


_TAKEN_BACK = TakenBack()


class _Begun:
    """One attempt.  done: what its transport calls; on another thread that is trouble of the transport, told on trio's."""

    __slots__ = ("_all", "attempt", "deadline", "is_over", "octets", "token", "withdraw")

    def __init__(self, all: BegunAttempts, attempt: Attempt, octets: int, deadline: float) -> None:
        self._all = all
        self.attempt = attempt
        self.token = attempt.lease.token
        self.octets = octets
        self.deadline = deadline
        self.is_over = False
        self.withdraw: Withdraw | None = None

    def done(self, answer: Any) -> None:
        if get_ident() != self._all.thread:
            self._all.trio.run_sync_soon(self.done, RuntimeError(_ELSEWHERE))
        elif not self.is_over:
            self.is_over = True
            self._all.end(self, answer)


class _Line:
    """Attempts by token, in the order of their deadlines.

    act: what is done when that of one has passed; it takes it out.  behind: the line where it may go then.
    """

    def __init__(self, act: Callable[[_Begun], None], behind: _Line | None = None) -> None:
        self._act = act
        self._behind = behind
        self.attempts: dict[int, _Begun] = {}
        self._is_watched = False

    def watch(self, nursery: trio.Nursery) -> None:
        if self.attempts and not self._is_watched:
            self._is_watched = True
            nursery.start_soon(self._watch, nursery)

    async def _watch(self, nursery: trio.Nursery) -> None:
        while self.attempts:
            await trio.sleep_until(next(iter(self.attempts.values())).deadline)
            now = trio.current_time()
            for begun in [begun for begun in self.attempts.values() if begun.deadline <= now]:
                self._act(begun)
            if self._behind is not None:
                self._behind.watch(nursery)
        self._is_watched = False


class BegunAttempts:
    """Those under way.

    home: called at the end of each with its octets of credit, and verdicts, an Exception, TakenBack, or whatever its transport
    said.  slow: told of a call that kept the thread.  fail: told of what `home` raised, a bug of the ring that is no affair of a
    transport's.
    late_seconds: how long one that was withdrawn may be waited for.
    """

    def __init__(
        self,
        doubt_seconds: float,
        home: Callable[[Attempt, int, Any], None],
        slow: Callable[[Attempt, float], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.thread = get_ident()
        self.trio = trio.lowlevel.current_trio_token()
        self.late_seconds = doubt_seconds + _GRACE_SECONDS
        self._home = home
        self._slow = slow
        self._fail = fail
        self._late = _Line(self._give_up)  # withdrawn, and their answer is waited for
        self._under_way = _Line(self._take_back, self._late)
        self._last = trio.lowlevel.ParkingLot()  # who waits until nothing is late

    def begin(self, transport: Beginning, attempt: Attempt, request: DeliveryRequest, octets: int) -> bool:
        """Whether the attempt is under way, or over already; False: nothing was done, and `deliver` has to be called."""
        begun = _Begun(self, attempt, octets, request.deadline)
        self._under_way.attempts[begun.token] = begun
        started = time.perf_counter()
        try:
            with as_exceptions():
                withdraw = begun.withdraw = transport.begin_delivery(request, begun.done)
                if withdraw is not None and not callable(withdraw):
                    _refuse(withdraw)
        except Exception as error:
            begun.done(error)
        except BaseException:  # it ends the program, and is no answer
            self._forget(begun)
            raise
        self._look_at_clock(attempt, started)
        if begun.withdraw is None and not begun.is_over:
            self._forget(begun)
            return False
        return True

    def _forget(self, begun: _Begun) -> None:
        """Its transport has no say in it any more."""
        begun.is_over = True
        self._under_way.attempts.pop(begun.token, None)

    def end(self, begun: _Begun, answer: Any) -> None:
        """Called once by each that is over."""
        if self._under_way.attempts.pop(begun.token, None) is None:
            self._end_late(begun)
        try:
            self._home(begun.attempt, begun.octets, answer)
        except Exception as error:
            self._fail(error)

    def _end_late(self, begun: _Begun) -> None:
        self._late.attempts.pop(begun.token, None)
        if not self._late.attempts:
            self._last.unpark_all()

    # --- Deadlines, and the engine's end ---

    def watch(self, nursery: trio.Nursery) -> None:
        """See to it that what is under way meets its deadline; called when something was begun or taken back."""
        self._under_way.watch(nursery)
        self._late.watch(nursery)

    def take_back_all(self) -> bool:
        """Whether the answer to some of them is waited for."""
        for begun in list(self._under_way.attempts.values()):
            self._take_back(begun)
        return bool(self._late.attempts)

    async def wait_late(self) -> None:
        """Wait for those whose answer alone is missing: `late_seconds` at the longest, then `give_up_late`."""
        while self._late.attempts:
            await self._last.park()

    def give_up_late(self) -> None:
        for begun in list(self._late.attempts.values()):
            self._give_up(begun)

    def _take_back(self, begun: _Begun) -> None:
        """Withdraw it; where its answer is waited for, it is late from now on.  Taking back another one may have ended it."""
        if begun.is_over:
            return
        assert begun.withdraw is not None, "it is under way"
        del self._under_way.attempts[begun.token]
        self._late.attempts[begun.token] = begun
        begun.deadline = trio.current_time() + self.late_seconds
        started = time.perf_counter()
        try:
            with as_exceptions():
                if begun.withdraw():
                    begun.done(_TAKEN_BACK)
        except Exception as error:
            begun.done(error)
        self._look_at_clock(begun.attempt, started)

    def _give_up(self, begun: _Begun) -> None:
        """A transport that never answers must not keep a lease for ever."""
        begun.done(_TAKEN_BACK)

    def _look_at_clock(self, attempt: Attempt, started: float) -> None:
        seconds = time.perf_counter() - started
        if seconds > SLOW_SECONDS:
            self._slow(attempt, seconds)
