"""Starts the processes that are killed, kills them, and waits for those that shall end by themselves.  Every wait is bounded."""

from __future__ import annotations

import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kill_points import KillPoint

__all__ = ["Lives", "lives_in"]

_BEGIN_SECONDS = 30.0
_HERE = Path(__file__).parent


class Lives:
    """kills: how many were killed; the ledger is where they write what was acknowledged."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.kills = 0
        self._ledger = folder / "ledger"
        self._process = process
        assert process.stdout is not None
        self._answers = process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def kill_at_random(self, seed: str, delay_seconds: float) -> None:
        """Once it acknowledged something, and the delay is over."""
        size = self._ledger.stat().st_size
        self._begin("submit", seed, "-")
        deadline = time.monotonic() + _BEGIN_SECONDS
        while self._ledger.stat().st_size <= size:
            assert time.monotonic() < deadline, f"nothing was submitted within {_BEGIN_SECONDS} s of a start"
            status = self._answer(0.005)
            assert status is None, f"the engine ended by itself with {status}"
        status = self._answer(delay_seconds)
        assert status is None, f"the engine ended by itself with {status}"
        self._kill()

    def kill_at(self, point: KillPoint, seed: str, seconds: float) -> bool:
        """It kills itself at the point; should it not come there in time, it is killed all the same.  Return whether it came."""
        self._begin("submit", seed, str(point))
        status = self._answer(seconds)
        if status is None:
            self._kill()
            return False
        assert status == -signal.SIGKILL, f"the engine ended by itself with {status}, on its way to {point}"
        self.kills += 1
        return True

    def finish(self, seconds: float) -> None:
        self._begin("finish", "finish", "-")
        status = self._answer(seconds)
        if status is None:
            self._kill()
        assert status == 0, f"the queue was not drained within {seconds} s, or the engine failed: {status}"

    def _begin(self, mode: str, seed: str, point: str) -> None:
        self._tell(f"{mode} {seed} {point}")
        assert self._line(_BEGIN_SECONDS) == "begun", "no process was begun"

    def _kill(self) -> None:
        self._tell("")
        self.kills += 1
        status = self._answer(_BEGIN_SECONDS)
        assert status == -signal.SIGKILL, f"the engine ended by itself with {status}"

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()

    def _answer(self, seconds: float) -> int | None:
        """How the process ended, None where it did not in time."""
        line = self._line(seconds)
        return None if line is None else int(line)

    def _line(self, seconds: float) -> str | None:
        if not self._selector.select(seconds):
            return None
        line = self._answers.readline()
        assert line, "the parent of all lives ended"
        return line.decode().strip()


@contextmanager
def lives_in(folder: Path) -> Iterator[Lives]:
    command = [sys.executable, str(_HERE / "engine_under_fire.py"), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield Lives(folder, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # which ends it, and the life that may be under way
            try:
                process.wait(_BEGIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
