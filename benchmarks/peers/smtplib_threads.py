"""The standard library's smtplib in threads that keep their connections: no queue, nothing survives a crash."""

from __future__ import annotations

from typing import Any

from processes import Worker

from . import Level, Place, Sent

__all__ = ["SmtplibThreads"]


class SmtplibThreads:
    """is_usual: as most applications do it: an EmailMessage and a connection for each message (`clients/smtplib_client.py`)."""

    level: Level = "no queue"
    durability = "none (no queue: a crash or a busy server loses what is under way)"

    def __init__(self, threads: int = 20, *, is_usual: bool = False) -> None:
        self._threads = threads
        self._is_usual = is_usual
        self.name = f"smtplib, {threads} threads"
        self.settings = "sendmail() of ready bytes, connections kept unless the scenario says otherwise"
        if is_usual:
            self.name = "smtplib and EmailMessage"
            self.settings = f"{threads} threads; send_message() of an EmailMessage, a connection for each message"
        self._answer: dict[str, Any] = {}

    def available(self) -> str | None:
        return None

    def start(self, place: Place) -> None:
        shape = {"threads": self._threads, "usual": self._is_usual}
        settings = {"port": place.sink.port, "load": place.load.told(), **shape}
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
