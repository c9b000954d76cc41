"""What a transport, or a plugin, leaves open: descriptors of this process, and trio's tasks."""

from __future__ import annotations

import os

import trio
import trio.testing

__all__ = ["open_descriptors", "open_things", "wait_closed"]

_DESCRIPTORS = "/proc/self/fd"  # Linux; elsewhere descriptors are not counted
_TURNS, _TURN_SECONDS = 20, 0.001  # for what closes in the background; a sound transport needs one


def open_descriptors() -> int:
    return len(os.listdir(_DESCRIPTORS)) if os.path.isdir(_DESCRIPTORS) else 0


def open_things() -> tuple[int, int]:
    """How many descriptors and tasks there are now."""
    return open_descriptors(), trio.lowlevel.current_statistics().tasks_living


async def wait_closed(before: tuple[int, int]) -> str:
    """Wait a moment for what has come since to go; what did not, in words, or ""."""
    await trio.lowlevel.checkpoint()
    files = tasks = 0
    for _ in range(_TURNS):
        await trio.testing.wait_all_tasks_blocked(_TURN_SECONDS)
        files, tasks = (max(0, now - then) for now, then in zip(open_things(), before, strict=True))
        if files == tasks == 0:
            return ""
    return f"left {files} descriptors and {tasks} tasks open after its context"
