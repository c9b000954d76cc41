"""The processes that a benchmark starts: each is remembered, and ended by its pid when the benchmark ends, however it ends.

A worker is a process of ours that takes orders: one JSON line in, one JSON line out.  It ends by itself when its standard
input closes, so that nothing is left behind even when the benchmark is killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from tree import END_SIGNALS, adopting, children_of, end_below

__all__ = ["BENCHMARKS", "Crew", "Family", "Gone", "OutOfTime", "Worker", "lead", "say", "shares", "take_orders"]

BENCHMARKS = Path(__file__).resolve().parent
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 1.0


class OutOfTime(Exception):
    """Something took longer than the benchmark allows."""


class Gone(RuntimeError):
    """A process ended that should not have; the text says which, and how."""


class Family:
    """All processes of one benchmark."""

    def __init__(self) -> None:
        self._members: list[subprocess.Popen[bytes]] = []
        self._titles: dict[int, str] = {}
        self._others: set[int] | None = None  # children that are none of ours; None: orphans are not adopted

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: int | None = subprocess.DEVNULL,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        title: str = "",
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own: Ctrl-C reaches the benchmark alone, which then ends its processes.

        title: what it is called where it ends too soon.
        """
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
        )
        self._members.append(process)
        self._titles[process.pid] = title or Path(argv[0]).name
        return process

    def worker(
        self,
        module: str,
        settings: Mapping[str, Any],
        errors: Path,
        *,
        python: str | Path = sys.executable,
        title: str = "",
    ) -> Worker:
        """Start a module of this folder as a worker.  errors: where its standard error goes."""
        argv = [python, "-m", module, json.dumps(settings)]
        with errors.open("wb") as file:
            process = self.start(
                argv,
                cwd=BENCHMARKS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                title=title or module.rpartition(".")[2],
            )
        return Worker(process, errors, self)

    def title_of(self, process: subprocess.Popen[bytes]) -> str:
        return f"{self._titles[process.pid]} (process {process.pid})"

    def gone(self, told: str = "") -> str:
        """Which processes ended though nobody here ended them, and how; "" for none but those whom a text tells of."""
        ended = [(self.title_of(one), one.returncode) for one in self._members if one.poll() is not None]
        return ", ".join(f"{title} {_how(status)}" for title, status in ended if title not in told)

    def end_strays(self) -> None:
        """End what processes of ours left behind: whose parent is gone."""
        if self._others is not None:
            end_below(sparing={process.pid for process in self._members} | self._others)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        for end in (process.terminate, process.kill):
            if process.poll() is not None:
                break
            end()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._members.remove(process)
        del self._titles[process.pid]

    @contextmanager
    def those_started_here(self) -> Generator[None]:
        """End what was started within, on the way out."""
        before = list(self._members)
        try:
            yield
        finally:
            for process in [member for member in reversed(self._members) if member not in before]:
                self.end(process)
            self.end_strays()

    @contextmanager
    def ended_at_exit(self) -> Generator[None]:
        """End everything on the way out, also on Ctrl-C, SIGTERM and SIGHUP, and what lost its parent."""
        before = {number: signal.getsignal(number) for number in END_SIGNALS}
        heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]  # ignored under nohup
        for number in heard:
            signal.signal(number, _leave)
        self._others = children_of(os.getpid())
        with adopting():
            try:
                yield
            finally:
                for process in reversed(list(self._members)):
                    self.end(process)
                self.end_strays()
                for number in heard:
                    signal.signal(number, before[number])


def _how(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Worker:
    """One worker process, seen from the benchmark."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path, family: Family) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._errors = errors
        self._orders = process.stdin
        self._answers = process.stdout.fileno()
        self._buffer = b""
        self._family = family
        self._title = family.title_of(process)

    def ask(self, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        try:
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self.answer(seconds)

    def answer(self, seconds: float) -> dict[str, Any]:
        """Wait for one answer.  Raises OutOfTime, or Gone when it, or another process, ended."""
        answer: dict[str, Any] = json.loads(self._line(time.monotonic() + seconds))
        if "failed" in answer:
            raise RuntimeError(f"{self._title} failed: {answer['failed']}")
        return answer

    def let_end(self, seconds: float) -> None:
        """Give no more orders, and wait for it to end by itself."""
        self._orders.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def _line(self, deadline: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = max(0.0, deadline - time.monotonic())
                if selector.select(min(left, _LOOK_SECONDS)):
                    data = os.read(self._answers, 65536)
                    if not data:
                        raise self._ended()
                    self._buffer += data
                elif gone := self._family.gone():
                    raise Gone(gone)
                elif left <= _LOOK_SECONDS:
                    raise OutOfTime(f"{self._title} did not answer in time")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> Gone:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_SECONDS)
        status = self.process.poll()
        how = "closed its output" if status is None else _how(status)
        return Gone(f"{self._title} {how} without an answer: {self._last_words()}")

    def _last_words(self) -> str:
        """The last line of what it complained of; an ExceptionGroup is printed in a frame, which says nothing."""
        lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line.strip(" |+-") for line in lines]
        return next((line[:500] for line in reversed(told) if line), "it said nothing")


class Crew:
    """Several workers that get their orders at the same moment."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(len(workers))

    def __len__(self) -> int:
        return len(self._workers)

    def wait_ready(self, seconds: float) -> None:
        for worker in self._workers:
            worker.answer(seconds)

    def ask(self, orders: Sequence[Mapping[str, Any]], seconds: float) -> list[dict[str, Any]]:
        """An order and an answer each."""
        asked = [
            self._pool.submit(worker.ask, order, seconds) for worker, order in zip(self._workers, orders, strict=True)
        ]
        return [one.result() for one in asked]


def shares(count: int, number: int) -> list[int]:
    """`count` in so many parts that differ by one at most."""
    share, more = divmod(count, number)
    return [share + (part < more) for part in range(number)]


def take_orders(obey: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """A worker's loop: say that it is ready, then answer order by order until standard input closes."""
    say({"ready": True})
    for line in sys.stdin:
        say(obey(json.loads(line)))


def lead(make: Callable[[Family, dict[str, Any]], Callable[[dict[str, Any]], Mapping[str, Any]]]) -> None:
    """The life of a worker that has processes of its own, which end with it.  make: gives its `obey`, from its settings."""
    family = Family()
    with family.ended_at_exit():
        take_orders(make(family, json.loads(sys.argv[1])))


def say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
