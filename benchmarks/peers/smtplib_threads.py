"""The standard library's smtplib in threads that keep their connections: no queue, nothing survives a crash."""

from __future__ import annotations

from typing import Any

from processes import Worker

from . import Place, Sent

__all__ = ["SmtplibThreads"]


class SmtplibThreads:
    name = "smtplib, 20 threads"
    durability = "none (no queue: a crash or a busy server loses what is under way)"
    settings = "sendmail() of ready bytes, connections kept"

    def __init__(self, threads: int = 20) -> None:
        self._threads = threads
        self.name = f"smtplib, {threads} threads"
        self._answer: dict[str, Any] = {}

    def available(self) -> str | None:
        return None

    def start(self, place: Place) -> None:
        settings = {"port": place.sink.port, "octets": place.octets, "threads": self._threads}
        self._family = place.family
        self._worker: Worker = place.family.worker("peers.smtplib_worker", settings, place.folder / "smtplib.err")
        self._worker.answer(30.0)

    @property
    def pid(self) -> int:
        return self._worker.process.pid

    def send(self, count: int, seconds: float) -> None:
        self._answer = self._worker.ask({"count": count}, seconds)

    def finish(self, seconds: float) -> Sent:
        return Sent(**self._answer)

    def stop(self) -> None:
        self._family.end(self._worker.process)
