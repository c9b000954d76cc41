"""Where everybody who wants something written waits for the queue's next commit.

Submissions, reports, doors of other processes and operators' commands all come through here, so that the queue actor is the
store's only writer and a commit serves all who wait.  It outlives the ring: who waits while the actors restart, goes on waiting.
It is bounded by number and octets; further callers wait in line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from .config import Limits
from .errors import EngineClosed, PostroadError
from .store.contract import Accept, Operation, Result

__all__ = ["COMMIT_ENTRIES", "COMMIT_OCTETS", "Entry", "Intake"]


COMMIT_ENTRIES = 1000  # that one commit holds at most: `submit_many` promises these bounds, queue takes no more at once
COMMIT_OCTETS = 16_000_000


class Entry:
    """One operation and the task that waits for its answer.  Filled in by the queue actor only."""

    __slots__ = ("_waiter", "answer", "error", "held_until", "is_finished", "is_taken", "operation", "size")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        content = operation.content if isinstance(operation, Accept) else None
        self.size = len(content) if isinstance(content, bytes) else 0
        self.answer: Result = None
        self.error: Exception | None = None
        self.is_taken = False
        self.held_until = 0.0  # wall seconds; queue lets it wait for room until then
        self.is_finished = False
        self._waiter: trio.lowlevel.Task | None = None  # only one task ever waits for an entry: whoever put it in

    def finish(self, answer: Result) -> None:
        self.answer = answer
        self._wake()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._wake()

    def _wake(self) -> None:
        self.is_finished = True
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    async def wait_finished(self) -> None:
        """No checkpoint where it is finished already."""
        if not self.is_finished:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED


class Intake:
    """The line of waiting operations.  ring_bell is called (synchronously) when something new waits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[Entry] = deque()
        self._octets = 0  # of those waiting
        self._line: deque[list[Entry]] = deque()  # further callers, first come first; not woken to move up
        self._closed: Exception | None = None
        self.ring_bell: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        return self._closed is not None

    def close(self, error: PostroadError | None = None) -> None:
        """Refuse what waits and what comes."""
        self._closed = error or EngineClosed("the engine is closed; it takes no more submissions")
        while self._waiting:
            self._waiting.popleft().fail(self._closed)
        while self._line:
            for entry in self._line.popleft():
                entry.fail(self._closed)
        self._octets = 0

    def put(self, operations: Sequence[Operation]) -> Awaitable[list[Any]]:
        """Wait until operations are committed and return their answers, in order.

        When cancelled, what was not taken by a commit yet is withdrawn; what was taken will be committed.  Raises the first
        error of any of them.
        """
        return self.put_entries([Entry(operation) for operation in operations])

    async def put_entries(self, entries: list[Entry]) -> list[Any]:
        """As `put`, for who must know of each entry afterwards whether a commit took it (`is_taken`)."""
        if self._closed is not None:
            raise self._closed.with_traceback(None)
        if self._line or not self._let_in(entries):
            self._line.append(entries)
        self.ring_bell()
        try:
            for entry in entries:
                if not entry.is_finished:
                    await entry.wait_finished()
        except trio.Cancelled:
            self._withdraw(entries)
            raise
        for entry in entries:
            if entry.error is not None:
                raise entry.error.with_traceback(None)
        return [entry.answer for entry in entries]

    def _move_up(self) -> None:
        while self._line and self._let_in(self._line[0]):
            self._line.popleft()

    def _let_in(self, entries: list[Entry]) -> bool:
        """Whether there was room for them.  One that is larger than the limit alone still gets in."""
        octets = sum([entry.size for entry in entries])
        waiting, limits = self._waiting, self._limits
        if waiting and (len(waiting) >= limits.intake_messages or self._octets + octets > limits.intake_bytes):
            return False
        waiting.extend(entries)
        self._octets += octets
        return True

    def _withdraw(self, entries: list[Entry]) -> None:
        if entries in self._line:
            self._line.remove(entries)
            return
        gone = {id(entry) for entry in entries if not entry.is_taken}
        if gone:
            self._waiting = deque(entry for entry in self._waiting if id(entry) not in gone)
            self._octets = sum(entry.size for entry in self._waiting)
            self._move_up()

    def take(self, count: int, octets: int) -> list[Entry]:
        """Take what the next commit shall hold: at most so many entries and octets, but always one.  Never blocks.

        `put_back` must follow, before anybody else runs.
        """
        taken: list[Entry] = []
        size = 0
        while self._waiting and len(taken) < count:
            entry = self._waiting[0]
            if taken and size + entry.size > octets:
                break
            self._waiting.popleft()
            entry.is_taken = True
            size += entry.size
            taken.append(entry)
        self._octets -= size
        return taken

    def put_back(self, entries: Sequence[Entry]) -> None:
        """End a take: what was taken too early goes to the head of the line, and those behind move up."""
        for entry in reversed(entries):
            entry.is_taken = False
            self._octets += entry.size
            self._waiting.appendleft(entry)
        self._move_up()
