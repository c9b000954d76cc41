"""Trees of processes on Linux: who is in one, what it used, and that nothing of it is left when its root has ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["END_SIGNALS", "adopting", "children_of", "cpu_of_tree", "end_below", "guarded", "tree_of"]

END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed, or the connection to it lost
_DEATH_SIGNAL, _SET_SUBREAPER, _GET_SUBREAPER = 1, 36, 37  # linux/prctl.h
_GRACE_SECONDS = 3.0
_LOOK_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


def _stats() -> Iterator[tuple[int, int, int]]:
    """(pid, parent, ticks) of every process; ticks include children that were waited for."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        yield int(entry.name), int(fields[1]), sum(map(int, fields[11:15]))


def tree_of(pid: int) -> dict[int, int]:
    """A process and its descendants, each with its CPU ticks."""
    stats = {child: (parent, ticks) for child, parent, ticks in _stats()}
    tree: dict[int, int] = {}
    found = [pid] if pid in stats else []
    while found:
        here = found.pop()
        tree[here] = stats[here][1]
        found += [child for child, (parent, _) in stats.items() if parent == here]
    return tree


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process and its descendants so far, in steps of the kernel's clock tick (10 ms)."""
    return sum(tree_of(pid).values()) / _TICKS


def children_of(pid: int) -> set[int]:
    return {child for child, parent, _ in _stats() if parent == pid}


def _prctl(option: int, value: object) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not look after orphans")


@contextmanager
def adopting() -> Generator[None]:
    """Who loses its parent below this process becomes its child, not init's."""
    before = ctypes.c_int()
    _prctl(_GET_SUBREAPER, ctypes.byref(before))
    _prctl(_SET_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(_SET_SUBREAPER, before.value)


def end_below(*, sparing: Collection[int] = ()) -> None:
    """End all descendants, first kindly, and wait a moment for each.  sparing: children that are left alone with their trees."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE_SECONDS
        for pid in _below(sparing):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while _below(sparing) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)


def _below(sparing: Collection[int]) -> set[int]:
    """Descendants that live; children that ended are waited for."""
    strays = children_of(os.getpid()) - set(sparing)
    for pid in list(strays):
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                strays.remove(pid)
    return {pid for stray in strays for pid in tree_of(stray)}


def guarded(main: Callable[[], int]) -> int:
    """Run a script's main function in a child, and end all that it leaves behind: also where it was killed, or ran out of memory.

    Ctrl-C, SIGTERM and SIGHUP are handed on to it.
    """
    sys.stdout.flush()
    guard = os.getpid()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)  # a terminal's Ctrl-C comes to it once, from the guard
        _leave_the_terminal()
        _prctl(_DEATH_SIGNAL, signal.SIGTERM)
        return main() if os.getppid() == guard else 1
    for number in (signal.SIGINT, *END_SIGNALS):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda given, _: _hand_on(child, given))
    with adopting():
        status = _wait(child)
        end_below()
    if status < 0:
        print(f"the benchmark was ended by signal {-status}, and so were its processes", file=sys.stderr)
    return 128 - status if status < 0 else status


def _leave_the_terminal() -> None:
    """A terminal stops those in the background who read from it or, where it is told so, write to it."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def _hand_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _wait(child: int) -> int:
    """Its exit code, negative for a signal; orphans that end meanwhile are waited for, too."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)
