"""The SMTP clients as peers of a benchmark: where each comes from, and how it is started and asked."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import Level, Place, Sent
from peers.debian import find_programs, find_python
from processes import OutOfTime, Worker

__all__ = ["SmtpSource", "WorkerClient", "find_aiosmtplib"]


class WorkerClient:
    """One of the worker modules beside this one.  shape: sessions, kept, tls.  absent: why it cannot run, if so."""

    level: Level = "no queue"
    durability = "none"

    def __init__(
        self, name: str, module: str, shape: Mapping[str, Any], *, python: str | Path = sys.executable, absent: str = ""
    ) -> None:
        self.name = name
        kept = "kept" if shape["kept"] else "one for each message"
        security = ", STARTTLS" if shape["tls"] else ""
        self.settings = f"{shape['sessions']} connections, {kept}{security}; ready octets, made before the run"
        self._module = f"clients.{module}"
        self._shape = shape
        self._python = python
        self._absent = absent
        self._answer: dict[str, Any] = {}
        self._worker: Worker
        self._starts = 0

    def available(self) -> str | None:
        return self._absent or None

    def start(self, place: Place) -> None:
        self._starts += 1
        tag = f"{self.name.split(' ')[0]}.{self._starts}"
        settings = {"port": place.sink.port, "octets": place.load.octets, "tag": tag, **self._shape}
        self._family = place.family
        self._worker = place.family.worker(self._module, settings, place.folder / "client.err", python=self._python)
        self._worker.answer(30.0)

    @property
    def pid(self) -> int:
        return self._worker.process.pid

    def ask(self, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return self._worker.ask(order, seconds)

    def send(self, count: int, seconds: float) -> None:
        self._answer = self._worker.ask({"do": "send", "count": count}, seconds)

    def finish(self, seconds: float) -> Sent:
        return Sent(**self._answer)

    def stop(self) -> None:
        self._family.end(self._worker.process)


class SmtpSource:
    """Postfix's load generator, in C: one process, which says the least that SMTP needs.  It does not pipeline.

    Its CPU holds its start and its connections, some milliseconds in all.
    """

    name = "smtp-source"
    level: Level = "no queue"
    durability = "none"

    def __init__(self, shape: Mapping[str, Any], cache: Path, *, may_fetch: bool) -> None:
        self.settings = "-d: connections kept" if shape["kept"] else "a connection a message"
        self._shape = shape
        self._programs = find_programs(cache, may_fetch=may_fetch)
        self._sent: Sent

    def available(self) -> str | None:
        return self._programs if isinstance(self._programs, str) else None

    def start(self, place: Place) -> None:
        self._place = place

    pid = 0  # it lives only while it sends

    def send(self, count: int, seconds: float) -> None:
        assert not isinstance(self._programs, str)
        kept: Sequence[str] = ("-d",) if self._shape["kept"] else ()
        numbers = ("-s", str(self._shape["sessions"]), "-m", str(count), "-l", str(self._place.load.octets))
        argv = [self._programs.sbin / "smtp-source", *kept, *numbers, f"127.0.0.1:{self._place.sink.port}"]
        before, began = _children_cpu(), time.monotonic()
        process = self._place.family.start(argv, env=self._programs.environment())
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise OutOfTime("smtp-source did not end in time") from None
        finally:
            self._place.family.end(process)
        self._sent = Sent(began, _children_cpu() - before, problem=f"it ended with status {status}" if status else "")

    def finish(self, seconds: float) -> Sent:
        return self._sent

    def stop(self) -> None:
        pass  # it ended with its messages


def _children_cpu() -> float:
    """Of the processes that ended: only smtp-source ends between two looks."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def find_aiosmtplib(cache: Path, *, may_fetch: bool = True) -> tuple[Path, str]:
    """The Python of an environment with aiosmtplib, made if need be; and why there is none, if so."""
    return find_python(cache, "bench", "aiosmtplib", may_fetch=may_fetch)
