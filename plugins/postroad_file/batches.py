"""Batches work of many tasks for one worker thread: a hop into a thread costs 220 us, and a folder is synced once for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

__all__ = ["Batcher"]

_T = TypeVar("_T")
_MOST = 64  # items in one batch: the first does not wait for more than these


@dataclass(slots=True, eq=False)
class _Job(Generic[_T]):
    item: _T
    taken: bool = False
    error: Exception | None = None
    done: trio.Event = field(default_factory=trio.Event)


class Batcher(Generic[_T]):
    """Calls `work` with all that gathered while the thread was busy.  One `run` task serves it."""

    def __init__(self, work: Callable[[Sequence[_T]], None], thread: trio.CapacityLimiter) -> None:
        self._work = work
        self._thread = thread
        self._waiting: deque[_Job[_T]] = deque()
        self._serving: list[_Job[_T]] = []
        self._bell = trio.Event()

    async def do(self, item: _T) -> None:
        """Wait until the item's batch is done.  When cancelled, work already begun goes on; other work is withdrawn."""
        job = self._put(item)
        try:
            await job.done.wait()
        finally:
            if not job.taken:
                self._waiting.remove(job)
        if job.error:
            raise job.error

    def post(self, item: _T) -> None:
        """Have it done some time, and not hear of it."""
        self._put(item)

    def leftovers(self) -> list[_T]:
        """What was posted and not done, once `run` has ended."""
        return [job.item for job in (*self._serving, *self._waiting)]

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            while self._waiting:
                self._serving = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                await self._serve(self._serving)
                self._serving = []

    def _put(self, item: _T) -> _Job[_T]:
        job = _Job(item)
        self._waiting.append(job)
        self._bell.set()
        return job

    async def _serve(self, batch: list[_Job[_T]]) -> None:
        for job in batch:
            job.taken = True
        error = await trio.to_thread.run_sync(self._try, [job.item for job in batch], limiter=self._thread)
        for job in batch:
            job.error = error
            job.done.set()

    def _try(self, items: list[_T]) -> Exception | None:
        try:
            self._work(items)
        except Exception as error:  # it defers these deliveries, and the next go on
            return error
        return None
