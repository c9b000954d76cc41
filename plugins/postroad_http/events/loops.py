"""The few things that trio and asyncio do each in its own way: a time limit, and work in a thread.

The application runs under whichever loop its server has; neither is imported for the other's sake.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["TooSlow", "in_thread", "within"]

_T = TypeVar("_T")


class TooSlow(Exception):
    """The time was over."""


def _runs_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


async def within(seconds: float, work: Callable[[], Awaitable[_T]]) -> _T:
    """Raises TooSlow, after which the work was cancelled."""
    if _runs_trio():
        import trio

        try:
            with trio.fail_after(seconds):
                return await work()
        except trio.TooSlowError:
            raise TooSlow from None
    try:
        async with asyncio.timeout(seconds):
            return await work()
    except TimeoutError:
        raise TooSlow from None


async def in_thread(work: Callable[[], _T]) -> _T:
    """In a thread, which may block and cannot be cancelled."""
    if _runs_trio():
        import trio

        return await trio.to_thread.run_sync(work)
    return await asyncio.to_thread(work)
