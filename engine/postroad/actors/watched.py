"""Finds out which transport keeps everybody waiting: a call that does not come back to trio for half a second is told.

Nothing can be done about it while it lasts, for there is one thread; but whose fault it was must not be a riddle.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["SLOW_SECONDS", "Watched"]

_T = TypeVar("_T")
SLOW_SECONDS = 0.5  # of one step: what is busy with a large content, or kept from the processor, is no fault


class Watched(Generic[_T]):
    """Awaits what it is given, and tells of each step that took long: `tell(seconds)`."""

    __slots__ = ("_awaited", "_tell")

    def __init__(self, awaited: Awaitable[_T], tell: Callable[[float], None]) -> None:
        self._awaited = awaited
        self._tell = tell

    def __await__(self) -> Generator[Any, Any, _T]:
        steps: Any = self._awaited.__await__()
        clock = time.perf_counter
        step: Callable[[Any], Any] = next
        given: Any = steps
        while True:
            begun = clock()
            try:
                trap = step(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                if clock() - begun > SLOW_SECONDS:
                    self._tell(clock() - begun)
            try:
                given = yield trap
                step = steps.send
            except BaseException as error:  # noqa: ASYNC103  # it is raised in what is awaited
                step, given = steps.throw, error
