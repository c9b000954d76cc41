"""What all servers have in common that are fed by SMTP: an injector, a process tree, and a queue that is empty at the end.

Into a sink that tells latencies mail is injected by `smtp_source.py`, whose messages tell when they were submitted; into
Postfix's smtp-sink by Postfix's own smtp-source.  The injector's CPU is not counted.
"""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import Family
from sinks import SmtpSink, free_port, wait_for_port
from tree import cpu_of_tree
from workload import RECIPIENT, SENDER

from . import Level, Place, Sent
from .debian import Programs, Unpacked, closed_to_others, unpacked

__all__ = ["MANY_SESSIONS", "RESOLV_CONF", "Injected", "UnpackedServer", "count_files"]

_LOOK_SECONDS = 0.02
RESOLV_CONF = "nameserver 127.0.0.1\n"  # the benchmark's, at port 53 of a network of its own
MANY_SESSIONS = 50  # as many as Postroad has submitters: some do a third of what they can with Postfix's best, 5


class Injected(ABC):
    """A server.  A subclass says how it is started and what is left in its queue.

    sessions: connections that inject.  source: Postfix's programs, where smtp-source is to be used.
    """

    name = ""
    level: Level = "not synced"
    durability = ""
    settings = ""
    listens_seconds = 15.0

    def __init__(self, *, sessions: int = 5, source: Programs | None = None) -> None:
        self._sessions = sessions
        self._source = source
        self._answer: dict[str, Any] = {}
        self._cpu = 0.0

    @abstractmethod
    def serve(self, port: int) -> subprocess.Popen[bytes]:
        """Start it in `self._place`, listening at a port."""

    @abstractmethod
    def queued(self) -> int:
        """Messages that it still has."""

    def start(self, place: Place) -> None:
        self._family: Family = place.family
        self._place = place
        self._port = free_port()
        self._process = self.serve(self._port)
        wait_for_port(self._port, self._process, self.listens_seconds)
        self._injector = None
        if not isinstance(place.sink, SmtpSink):
            settings = {
                "port": self._port,
                "sessions": self._sessions,
                "tag": f"{type(self).__name__.lower()}.{place.folder.name}",
                "load": place.load.told(),
            }
            self._injector = place.family.worker("smtp_source", settings, place.folder / "source.err")
            self._injector.answer(30.0)

    def run(
        self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program whose words go to a file."""
        with (self._place.folder / f"{type(self).__name__.lower()}.out").open("ab") as said:
            return self._family.start(argv, stdout=said, stderr=subprocess.STDOUT, env=env, cwd=cwd)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, count: int, seconds: float) -> None:
        self._cpu = cpu_of_tree(self.pid)
        if self._injector is not None:
            self._answer = self._injector.ask({"count": count}, seconds)
        else:
            self._answer = {"began": time.monotonic(), "durable": {}, "problem": ""}
            self._inject(count, seconds)

    def _inject(self, count: int, seconds: float) -> None:
        assert self._source is not None, "smtp-sink and smtp-source come together"
        argv: list[str | Path] = [
            self._source.sbin / "smtp-source",
            *["-d", "-s", str(self._sessions), "-m", str(count), "-l", str(self._place.load.octets)],
            *["-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{self._port}"],
        ]
        source = self.run(argv, self._source.environment())
        try:
            source.wait(seconds)
        finally:
            self._family.end(source)

    def finish(self, seconds: float) -> Sent:
        """Its queue is empty."""
        deadline = time.monotonic() + seconds
        while (left := self.queued()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        left_over = f"{left} messages were left in its queue" if left else ""
        problem = f"injecting: {self._answer['problem']}" if self._answer["problem"] else left_over
        cpu = cpu_of_tree(self.pid) - self._cpu
        return Sent(self._answer["began"], cpu, durable=self._answer["durable"], problem=problem)

    def stop(self) -> None:
        if self._injector is not None:
            self._family.end(self._injector.process)
        self._family.end(self._process)


class UnpackedServer(Injected):
    """One whose Debian package is unpacked, and which begins as root, in a root folder of its own."""

    def __init__(self, cache: Path, *, may_fetch: bool) -> None:
        super().__init__()
        self._cache = cache
        self._may_fetch = may_fetch
        self._found: Unpacked | None = None

    def available(self) -> str | None:
        if os.geteuid() != 0:
            return f"{self.name} runs only as root here"
        found = unpacked(self._cache, self.name, may_fetch=self._may_fetch)
        if isinstance(found, str):
            return found
        self._found = found
        return closed_to_others(self._cache)

    @property
    def _package(self) -> Unpacked:
        assert self._found is not None, "available() said None before"
        return self._found


def count_files(*folders: Path, ending: str = "") -> int:
    """Files below some folders, which may change meanwhile."""
    return sum(name.endswith(ending) for top in folders for _, _, names in os.walk(top) for name in names)
