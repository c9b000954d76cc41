"""Nothing of a benchmark's processes is left, whoever of them was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from processes import BENCHMARKS, Family
from tree import children_of, tree_of

# A benchmark with a server, in a session of its own, that has a process of its own.
_SERVER = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
_SCRIPT = f"""
import subprocess, sys, time
from options import run_script
from processes import Family
from tree import tree_of
def main():
    family = Family()
    with family.ended_at_exit():
        server = family.start([sys.executable, "-c", {_SERVER!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        orphan = int(server.stdout.readline())
        print(server.pid, orphan, flush=True)
        server.wait(60)
        family.end_strays()
        print("left:", len(tree_of(orphan)), repr(sys.stdin.read()), flush=True)
        return 3
sys.exit(run_script(main))
"""


def _benchmark() -> tuple[subprocess.Popen[bytes], list[int]]:
    """Its process and, when all are there, the ones of the script proper, of its server, and of what that started."""
    running = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT],
        cwd=BENCHMARKS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    pids = [int(pid) for pid in running.stdout.readline().split()]
    return running, [*children_of(running.pid), *pids]


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if tree_of(pid)]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
@pytest.mark.parametrize("to_the_guard", [True, False])
def test_a_signal_to_either_process_of_a_benchmark_ends_all(
    number: signal.Signals, status: int, to_the_guard: bool
) -> None:
    running, pids = _benchmark()
    os.kill(running.pid if to_the_guard else pids[0], number)
    running.communicate(timeout=20)
    assert running.returncode == status
    assert not _alive(pids)


def test_a_killed_benchmark_leaves_nothing_behind() -> None:
    running, pids = _benchmark()
    os.kill(pids[0], signal.SIGKILL)
    _, said = running.communicate(timeout=20)
    assert (running.returncode, b"ended by signal 9" in said) == (137, True)
    assert not _alive(pids)


def test_a_benchmark_whose_guard_was_killed_ends_all() -> None:
    running, pids = _benchmark()
    running.kill()
    running.communicate(timeout=20)  # the pipes are closed when the last of them has ended
    deadline = time.monotonic() + 20
    while _alive(pids) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _alive(pids)


def test_what_a_killed_server_leaves_behind_is_ended_while_the_benchmark_goes_on() -> None:
    running, (_, server, _) = _benchmark()
    os.kill(server, signal.SIGKILL)
    said, _ = running.communicate(timeout=20)
    assert said == b"left: 0 ''\n"  # nor does anybody read from the terminal
    assert running.returncode == 3


def test_a_process_that_was_there_before_is_no_stray() -> None:
    other = subprocess.Popen(["sleep", "600"])
    family = Family()
    with family.ended_at_exit():
        mine = family.start(["sleep", "600"])
        family.end_strays()
        assert _alive([other.pid, mine.pid]) == [other.pid, mine.pid]
    assert _alive([other.pid, mine.pid]) == [other.pid]
    other.kill()
    other.wait()
