"""The standard library's smtplib, or http.client, in threads with kept connections: no queue, nothing survives a crash."""

from __future__ import annotations

import importlib.util
from typing import Any

from processes import Worker

from . import Level, Place, Sent

__all__ = ["HttpThreads", "SmtplibThreads"]

_HTTP_SETTINGS = {
    "http.client": "ready bytes, a connection a thread; the least that Python can do",
    "requests": "a Session a thread, which makes the form, as an application would",
    "httpx2": "one Client for all threads, which makes the form, as an application would",
}


class SmtplibThreads:
    """is_usual: as most applications do it: an EmailMessage and a connection for each message (`clients/smtplib_client.py`)."""

    level: Level = "no queue"
    _module = "peers.smtplib_worker"
    durability = "none (no queue: a crash or a busy server loses what is under way)"

    def __init__(self, threads: int = 20, *, is_usual: bool = False) -> None:
        self._shape: dict[str, Any] = {"threads": threads, "usual": is_usual}
        self.name = f"smtplib, {threads} threads"
        self.settings = "sendmail() of ready bytes, connections kept unless the scenario says otherwise"
        if is_usual:
            self.name = "smtplib and EmailMessage"
            self.settings = f"{threads} threads; send_message() of an EmailMessage, a connection for each message"
        self._answer: dict[str, Any] = {}

    def available(self) -> str | None:
        return None

    def start(self, place: Place) -> None:
        settings = {"port": place.sink.port, "load": place.load.told(), **self._shape}
        self._family = place.family
        self._worker: Worker = place.family.worker(self._module, settings, place.folder / "client.err")
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


class HttpThreads(SmtplibThreads):
    """Requests to the sink's HTTP API instead.  client: the module that makes them."""

    _module = "peers.http_worker"

    def __init__(self, client: str = "http.client", threads: int = 20) -> None:
        super().__init__(threads)
        self._shape = {"threads": threads, "client": client}
        self._client = client
        self.name = f"{client}, {threads} threads"
        self.settings = "a request for each message, connections kept: " + _HTTP_SETTINGS[client]

    def available(self) -> str | None:
        return None if importlib.util.find_spec(self._client) else f"{self._client} is not installed here"
