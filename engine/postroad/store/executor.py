"""Runs a synchronous store for the engine: a threaded one in worker threads of its own, a plain one in line.

`trio.to_thread` costs about 220 us a call; a thread of our own with one queue about 20 under load.  A call to `apply` is
never given up half-way: it is shielded, because a commit that is under way will happen.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import outcome
import trio

from ..errors import EngineClosed
from ..log import get_logger
from .contract import Operation, Result, Store

__all__ = ["StoreExecutor"]

_T = TypeVar("_T")
_IDLE_SECONDS = 0.5  # without a commit before the store tidies up at leisure

_log = get_logger()


class _Job(Generic[_T]):
    """What a thread shall call for a task, which waits for it and for nothing else, whatever is cancelled meanwhile."""

    __slots__ = ("_call", "_task")

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self._task = trio.lowlevel.current_task()

    def run(self, token: trio.lowlevel.TrioToken) -> None:
        answer = outcome.capture(self._call)
        with contextlib.suppress(trio.RunFinishedError):  # nobody waits any more
            token.run_sync_soon(trio.lowlevel.reschedule, self._task, answer)

    async def wait(self) -> _T:
        """Only by the task that made it, with no checkpoint in between."""
        answer: _T = await trio.lowlevel.wait_task_rescheduled(_never_given_up)
        return answer


def _never_given_up(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class _Tidy(Protocol):
    def __call__(self, *, is_idle: bool) -> None: ...


class _Worker:
    """One thread that runs jobs in order until it is told to stop.  tidy: called between jobs, and when there are none."""

    def __init__(self, name: str, tidy: _Tidy = lambda is_idle: None) -> None:
        self._tidy = tidy
        self._is_stopped = False
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            job.run(self._token)
            self._tidy(is_idle=False)

    def _next(self) -> _Job[Any] | None:
        try:
            return self._jobs.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            self._tidy(is_idle=True)
        return self._jobs.get()

    async def call(self, function: Callable[[], _T]) -> _T:
        """Raises EngineClosed after `stop`: nobody would answer."""
        if self._is_stopped:
            raise EngineClosed("the engine is closed")
        job = _Job(function)
        self._jobs.put(job)
        return await job.wait()

    def stop(self) -> None:
        self._is_stopped = True
        self._jobs.put(None)
        self._thread.join(timeout=30)


class StoreExecutor:
    """The engine's only road to its store.  Call `close` when done; the store itself is closed by whoever opened it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._writer = _Worker("postroad-store", self._maintain) if store.threaded else None
        self._reader = _Worker("postroad-reader") if store.threaded else None
        self._desk: _Worker | None = None  # made when it is needed
        self._is_closed = False

    async def apply(self, operations: Sequence[Operation]) -> list[Result]:
        """Commit operations in one durable transaction.  One caller at a time."""
        if self._writer is None:
            await trio.lowlevel.checkpoint()
            return self.store.apply(operations)
        return await self._writer.call(lambda: self.store.apply(operations))

    async def ask(self, question: Callable[[Store], _T]) -> _T:
        """Ask the store a question, beside whatever it commits."""
        if self._reader is None:
            await trio.lowlevel.checkpoint()
            return question(self.store)
        return await self._reader.call(lambda: question(self.store))

    async def write(self, work: Callable[[], _T]) -> _T:
        """Do what takes long and touches no store, such as composing a large message.

        Always in the same thread: memory for large contents is taken and given back there, and glibc keeps a pool for each.
        """
        if not self.store.threaded:
            await trio.lowlevel.checkpoint()
            return work()
        if self._is_closed:
            raise EngineClosed("the engine is closed")
        self._desk = self._desk or _Worker("postroad-desk")
        return await self._desk.call(work)

    def _maintain(self, *, is_idle: bool) -> None:
        """Off the commit path: the answer of the last commit is out already."""
        try:
            self.store.maintain(idle=is_idle)
        except Exception as error:  # the next commit meets the same trouble and tells its callers; the thread must live
            _log.warning("maintenance_failed", error=repr(error))

    def close(self) -> None:
        """Let what was asked for finish, then end the threads."""
        self._is_closed = True
        for worker in (self._writer, self._reader, self._desk):
            if worker is not None:
                worker.stop()
