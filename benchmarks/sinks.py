"""Where all systems deliver to: our counting sink, a folder that is looked through, or Postfix's smtp-sink.

The counting sink knows distinct messages and when the last one came; smtp-sink only knows how many there were, and is looked at
every few milliseconds.  Neither ever loses the difference: a run counts only when exactly the messages sent were received.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from processes import Family, OutOfTime
from tree import cpu_of_tree
from workload import HEAD_OCTETS, MESSAGE_ID, SUBMITTED, percentiles

__all__ = ["CountingSink", "FolderSink", "Received", "Sink", "SmtpSink", "free_port", "wait_for_port"]

_LINGER_SECONDS = 0.05  # after the last message, for copies nobody asked for
_LOOK_SECONDS = 0.004
_LOOK_INTO_SECONDS = 0.05  # a folder: its files say themselves when they came


@dataclass(frozen=True)
class Received:
    """What a sink got.  distinct, octets: None where it cannot tell.  at: monotonic seconds of the last message.

    latency: percentiles from submission to receipt, where the messages carry their moment of submission.
    """

    messages: int
    distinct: int | None
    at: float
    cpu_seconds: float
    octets: int | None = None
    connections: int | None = None
    latency: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def counted(self) -> int:
        """Distinct messages, where it can tell."""
        return self.messages if self.distinct is None else self.distinct

    def problem(self, count: int) -> str:
        """Why a run with so many messages does not count; "" if it does."""
        if self.messages != count or self.distinct not in (None, count):
            distinct = "" if self.distinct is None else f" ({self.distinct:,} distinct)"
            return f"the sink received {self.messages:,}{distinct} of {count:,} messages"
        return ""


class Sink(Protocol):
    """port: where it listens.  folder: where it looks for files, if it is one."""

    name: str
    port: int
    folder: Path | None

    def reset(self) -> None: ...

    def wait(self, count: int, seconds: float) -> Received:
        """Wait until so many messages are there, at most so long; what is there then is the answer."""
        ...


class CountingSink:
    name = "our counting sink (distinct Message-IDs)"
    folder: Path | None = None

    def __init__(
        self,
        family: Family,
        folder: Path,
        certificate: Path | None = None,
        *,
        deferred: float = 0.0,
        speaks_http: bool = False,
        listens_at: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        host, port = listens_at
        settings = {"certificate": str(certificate) if certificate else "", "deferred": deferred, "http": speaks_http}
        settings |= {"host": host, "port": port}
        self._worker = family.worker("counting_sink", settings, folder / "sink.err", title="the sink")
        self.port = int(self._worker.answer(20.0)["port"])

    def reset(self) -> None:
        self._worker.ask({"do": "reset"}, 5.0)

    def wait(self, count: int, seconds: float) -> Received:
        order = {"do": "wait", "count": count, "seconds": seconds, "linger": _LINGER_SECONDS}
        told: dict[str, Any] = self._worker.ask(order, seconds + 5.0)
        return Received(
            messages=told["messages"],
            distinct=told["distinct"],
            at=told["last_at"],
            cpu_seconds=told["cpu_seconds"],
            octets=told["octets"],
            connections=told["connections"],
            latency=told["received"],
        )


class SmtpSink:
    """smtp-sink -c writes a line with its counters after every message."""

    name = "smtp-sink (Postfix's; counts messages)"
    folder: Path | None = None

    def __init__(self, family: Family, folder: Path, program: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self._path = folder / "smtp-sink.out"
        self._base = 0
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        argv: list[str | Path] = [program, "-c", *user, f"127.0.0.1:{self.port}", "1000"]
        with self._path.open("wb") as out:
            self._process = family.start(argv, stdout=out, stderr=subprocess.STDOUT, env=environment, title="the sink")
        self._cpu = 0.0
        wait_for_port(self.port, self._process)

    def reset(self) -> None:
        self._base = self._messages()
        self._cpu = cpu_of_tree(self._process.pid)

    def wait(self, count: int, seconds: float) -> Received:
        deadline = time.monotonic() + seconds
        while (got := self._messages() - self._base) < count and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        at = time.monotonic()
        time.sleep(_LINGER_SECONDS)
        got = self._messages() - self._base
        return Received(messages=got, distinct=None, at=at, cpu_seconds=cpu_of_tree(self._process.pid) - self._cpu)

    def _messages(self) -> int:
        with self._path.open("rb") as out:
            out.seek(max(0, out.seek(0, os.SEEK_END) - 200))
            found = re.findall(rb"mesg=(\d+)", out.read())
        return int(found[-1]) if found else 0


class FolderSink:
    """A folder, with its subfolders, into which mail is written as files; a file counts once it has its name.

    Drafts are hidden, or in folders called `tmp`.  A file's change time says when it came.  recipients: of each message; so many
    files with its id are wanted.
    """

    name = "a folder (distinct Message-IDs)"
    port = 0

    def __init__(self, folder: Path, recipients: int = 1) -> None:
        self.folder: Path | None = folder
        self._top = folder
        self._recipients = recipients
        self.reset()

    def reset(self) -> None:
        shutil.rmtree(self._top, ignore_errors=True)
        self._top.mkdir()
        self._top.chmod(0o777)  # Postfix's processes write as nobody

    def wait(self, count: int, seconds: float) -> Received:
        deadline = time.monotonic() + seconds
        while sum(1 for _ in self._files()) < count and time.monotonic() < deadline:
            time.sleep(_LOOK_INTO_SECONDS)
        ids, latency, last, octets = Counter[bytes](), list[float](), 0.0, 0
        ahead = time.time() - time.monotonic()
        paths = list(self._files())
        for path in paths:
            with path.open("rb") as file:
                head, state = file.read(HEAD_OCTETS), os.fstat(file.fileno())
            at = state.st_ctime - ahead
            last, octets = max(last, at), octets + state.st_size
            ids.update(MESSAGE_ID.findall(head))
            latency += [at - float(moment) for moment in SUBMITTED.findall(head)]
        distinct = sum(min(copies, self._recipients) for copies in ids.values())
        return Received(len(paths), distinct, last, 0.0, octets=octets, latency=percentiles(latency))

    def _files(self) -> Iterator[Path]:
        for folder, inner, names in os.walk(self._top):
            inner[:] = [name for name in inner if name != "tmp"]
            yield from (Path(folder, name) for name in names if not name.startswith("."))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """Wait until a server process listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended at once with status {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise OutOfTime(f"nothing listens on port {port}")
