"""Postroad itself: one engine in one process, on the durable store, delivering to the sink as its smarthost."""

from __future__ import annotations

from typing import Any

from processes import Worker

from . import Place, Sent

__all__ = ["Postroad"]


class Postroad:
    name = "postroad"
    durability = (
        "COMMIT on synced storage before submit returns (SQLite WAL, synchronous=FULL), per-recipient settlement"
    )

    def __init__(self, *, submitters: int, window: int, with_log: bool, profile: str = "") -> None:
        self._submitters = submitters
        self._window = window
        self._with_log = with_log
        self._profile = profile
        if not with_log:
            self.name = "postroad --no-log"
        log = "a JSON line per step to a file" if with_log else "no log (errors only): not a real deployment"
        self.settings = (
            f"{submitters} submitters, each awaits its submit; windows start=max={window}, 10 connections; {log}"
        )
        self._answer: dict[str, Any] = {}

    def available(self) -> str | None:
        return None

    def start(self, place: Place) -> None:
        settings = {
            "folder": str(place.folder),
            "port": place.sink.port,
            "octets": place.octets,
            "submitters": self._submitters,
            "window": self._window,
            "with_log": self._with_log,
            "profile": self._profile,
        }
        self._family = place.family
        self._worker: Worker = place.family.worker("peers.postroad_worker", settings, place.folder / "postroad.err")
        self._worker.answer(30.0)

    @property
    def pid(self) -> int:
        return self._worker.process.pid

    def send(self, count: int, seconds: float) -> None:
        self._answer = self._worker.ask({"do": "send", "count": count}, seconds)

    def finish(self, seconds: float) -> Sent:
        rest = self._worker.ask({"do": "finish", "seconds": seconds}, seconds + 5.0)
        return Sent(
            began=self._answer["began"],
            cpu_seconds=rest["cpu_seconds"],
            durable=self._answer["durable"],
            commits=rest["commits"],
            problem=rest["problem"],
        )

    def stop(self) -> None:
        self._family.end(self._worker.process)
