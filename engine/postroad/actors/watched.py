"""Finds out which transport keeps everybody waiting: a call that does not come back to trio for half a second is told.

Nothing can be done about it while it lasts, for there is one thread; but whose fault it was must not be a riddle.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Watched"]

_T = TypeVar("_T")
_SLOW_SECONDS = 0.5  # of one step: what is busy with a large content, or kept from the processor, is no fault


class Watched(Generic[_T]):
    """Awaits what it is given, and tells of each step that took long: `tell(seconds)`."""

    __slots__ = ("_awaited", "_tell")

    def __init__(self, awaited: Awaitable[_T], tell: Callable[[float], None]) -> None:
        self._awaited = awaited
        self._tell = tell

    def __await__(self) -> Generator[Any, Any, _T]:
        steps = self._awaited.__await__()
        step: Callable[[], Any] = steps.__next__
        while True:
            begun = time.perf_counter()
            try:
                trap = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                seconds = time.perf_counter() - begun
                if seconds > _SLOW_SECONDS:
                    self._tell(seconds)
            try:
                sent = yield trap
            except BaseException as error:  # noqa: ASYNC103  # it is raised in what is awaited
                step = _throwing(steps, error)
            else:
                step = _sending(steps, sent)


def _throwing(steps: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(error)


def _sending(steps: Any, sent: Any) -> Callable[[], Any]:
    return lambda: steps.send(sent)
