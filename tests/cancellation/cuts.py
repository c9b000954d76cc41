"""Cancels a task at every checkpoint, one run after the other.

A task takes steps: it runs from one checkpoint to the next.  A cut is placed before each step (the task was just woken) and
behind each (it has just begun to wait).  A run is given the number of its cut; a first run without one counts how many there are.
"""

from __future__ import annotations

import operator
import os
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import outcome
import trio
from trio.testing import MockClock

__all__ = ["NEVER", "cut_at", "cut_everywhere", "points", "undisturbed"]

NEVER = -1
_MOST = int(os.environ.get("POSTROAD_CUTS", "0"))  # of each scenario, 0: as many as it asks for itself
_SECONDS = 30.0  # what hangs, fails


class _Steps(trio.abc.Instrument):
    """Counts the beginnings and ends of steps, and fires at the one that is asked for."""

    def __init__(self, number: int, is_meant: Callable[[trio.lowlevel.Task], bool], fire: Callable[[], None]) -> None:
        self.count = 0
        self._number = number
        self._is_meant = is_meant
        self._fire = fire

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._pass(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._pass(task)

    def _pass(self, task: trio.lowlevel.Task) -> None:
        if self._is_meant(task):
            if self.count == self._number:
                self._fire()
            self.count += 1


async def cut_at(number: int, work: Callable[[], Awaitable[object]], *, with_children: bool = False) -> int:
    """Do the work in a task of its own and cancel it at its n-th point; return how many points were passed.

    with_children: the steps of all tasks that it starts are points, too; it is the work as a whole that is cancelled.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        (task,) = nursery.child_tasks
        is_meant = _is_below(task) if with_children else partial(operator.is_, task)
        steps = _Steps(number, is_meant, nursery.cancel_scope.cancel)
        trio.lowlevel.add_instrument(steps)
    trio.lowlevel.remove_instrument(steps)
    return steps.count


def _is_below(root: trio.lowlevel.Task) -> Callable[[trio.lowlevel.Task], bool]:
    known = {root: True}

    def is_below(task: trio.lowlevel.Task) -> bool:
        if task not in known:
            nursery = task.parent_nursery or task.eventual_parent_nursery
            known[task] = nursery is not None and is_below(nursery.parent_task)
        return known[task]

    return is_below


def points(count: int, most: int) -> Iterator[int]:
    """The numbers of the cuts: all, or so many of them, evenly spread."""
    most = min(count, _MOST or most)
    return (index * count // most for index in range(most))


@asynccontextmanager
async def undisturbed() -> AsyncIterator[None]:
    """No task and no descriptor may be left by what happens within."""
    tasks, descriptors = trio.lowlevel.current_statistics().tasks_living, _descriptors()
    yield
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert _descriptors() <= descriptors


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def cut_everywhere(name: str, run: Callable[[int], Awaitable[int]], most: int, *, jumps: bool) -> None:
    """Run once without a cut, then with a cut at all points, or so many of them.  jumps: by a clock that does."""
    count = _run(run, NEVER, jumps=jumps)
    numbers = list(points(count, most))
    for number in numbers:
        _run(run, number, jumps=jumps)
    print(f"{name}: {len(numbers)} of {count} points")


def _run(run: Callable[[int], Awaitable[int]], number: int, *, jumps: bool) -> int:
    """In a thread that is given up when it hangs: what is shielded knows no deadline."""
    clock = MockClock(autojump_threshold=0) if jumps else None
    answers = queue.SimpleQueue[outcome.Outcome[int]]()
    answer = partial(outcome.capture, partial(trio.run, run, number, clock=clock))
    threading.Thread(target=lambda: answers.put(answer()), daemon=True).start()
    try:
        return answers.get(timeout=_SECONDS).unwrap()
    except queue.Empty:
        raise AssertionError(f"cut at point {number}, it hangs") from None
    except BaseException as error:
        error.add_note(f"cut at point {number}")
        raise
