"""A trio run that stands still between two commands, so that synchronous rules can have an engine live through virtual time.

The run blocks its own thread while it waits for a command: no task moves and the clock does not jump.  Threads are taken in line,
because the clock would jump while they work.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from unittest import mock

import outcome
import trio
from trio.testing import MockClock

__all__ = ["Stage"]

_T = TypeVar("_T")
_REAL_SECONDS = 60.0  # no command takes longer, whatever the virtual time


class Stage:
    """nursery: for what goes on from command to command."""

    nursery: trio.Nursery

    def __init__(self) -> None:
        self._commands: queue.SimpleQueue[Callable[[], Awaitable[Any]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[outcome.Outcome[Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="stage", daemon=True)
        self._thread.start()

    def play(self, command: Callable[[], Awaitable[_T]]) -> _T:
        """Let the run go on until the command has ended."""
        self._commands.put(command)
        answer: _T = self._answers.get(timeout=_REAL_SECONDS).unwrap()
        return answer

    def close(self) -> None:
        self._commands.put(None)
        self._thread.join(_REAL_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with mock.patch("trio.to_thread.run_sync", _in_line):
            trio.run(self._obey, clock=MockClock(autojump_threshold=0))

    async def _obey(self) -> None:
        async with trio.open_nursery() as self.nursery:
            while (command := self._commands.get()) is not None:
                self._answers.put(await outcome.acapture(command))
            self.nursery.cancel_scope.cancel()


async def _in_line(function: Callable[..., _T], *args: Any, **_: Any) -> _T:
    await trio.lowlevel.checkpoint()
    return function(*args)
