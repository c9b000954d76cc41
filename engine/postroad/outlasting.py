"""Work that outlasts the cancellation of who waits for it, by so many seconds: an answer that nobody reads makes a duplicate.

For transports: T9 of `postroad.transport.Transport`.  The work runs in a task of its own, in the nursery of the transport's
factory, and lives no longer than its caller waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

__all__ = ["outlast"]

_T = TypeVar("_T")


async def outlast(
    nursery: trio.Nursery, work: Callable[[], Awaitable[_T]], grace_seconds: Callable[[], float]
) -> _T | None:
    """Run the work and return what it does; None where it was ended before.

    Where this call is cancelled the work has `grace_seconds()` more, 0 to end it at once, and then this returns and does not
    raise Cancelled.  Raises what the work raises, if that is an Exception.
    """
    running = _Work(work, grace_seconds)
    nursery.start_soon(running.run)
    await running.wait_ended()
    if running.error is not None:
        raise running.error
    return running.answer


class _Work(Generic[_T]):
    """Its scope is shielded: its caller alone ends it."""

    def __init__(self, work: Callable[[], Awaitable[_T]], grace_seconds: Callable[[], float]) -> None:
        self._work = work
        self._grace_seconds = grace_seconds
        self._scope = trio.CancelScope(shield=True)
        self._waiter: trio.lowlevel.Task | None = None
        self._is_over = False
        self.answer: _T | None = None
        self.error: Exception | None = None

    async def run(self) -> None:
        try:
            with self._scope:
                self.answer = await self._work()
        except Exception as error:  # the caller's, and not the nursery's
            self.error = error
        finally:
            self._is_over = True
            if self._waiter is not None:
                trio.lowlevel.reschedule(self._waiter)

    async def wait_ended(self) -> None:
        if self._is_over:
            await trio.lowlevel.checkpoint()
            return
        self._waiter = trio.lowlevel.current_task()

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._grace_seconds())
            return trio.lowlevel.Abort.FAILED  # it ends soon, and then says how

        await trio.lowlevel.wait_task_rescheduled(abort)
