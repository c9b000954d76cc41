"""Postroad itself: one engine in one process, on the durable store, delivering to the sink as its smarthost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processes import Worker

from . import Level, Place, Sent

__all__ = ["Postroad"]


class Postroad:
    """own: name and table of a transport that is not Postroad's, and the plugins to load for it."""

    name = "postroad"
    level: Level = "synced"
    durability = (
        "COMMIT on synced storage before submit returns (SQLite WAL, synchronous=FULL), per-recipient settlement"
    )

    def __init__(
        self,
        *,
        submitters: int,
        window: int,
        with_log: bool,
        profile: str = "",
        name: str = "",
        own: Mapping[str, Any] | None = None,
    ) -> None:
        self._submitters = submitters
        self._window = window
        self._with_log = with_log
        self._profile = profile
        self._own = own or {}
        self.name = name or ("postroad" if with_log else "postroad --no-log")
        log = "a JSON line per step to a file" if with_log else "no log (errors only): not a real deployment"
        way = "a transport of its own settings" if own else "10 connections"
        self.settings = f"{submitters} submitters, each awaits its submit; windows start=max={window}, {way}; {log}"
        self._answer: dict[str, Any] = {}

    def available(self) -> str | None:
        return None

    def start(self, place: Place) -> None:
        self._family = place.family
        self._worker: Worker = place.family.worker(self._module, self._told(place), place.folder / "postroad.err")
        self._worker.answer(30.0)

    _module = "peers.postroad_worker"

    def _told(self, place: Place) -> dict[str, Any]:
        return {
            "folder": str(place.folder),
            "port": place.sink.port,
            "sink_folder": str(place.sink.folder) if place.sink.folder else "",
            "nameserver": place.nameserver,
            "load": place.load.told(),
            "submitters": self._submitters,
            "window": self._window,
            "with_log": self._with_log,
            "profile": self._profile,
            **self._own,
        }

    @property
    def pid(self) -> int:
        return self._worker.process.pid

    def send(self, count: int, seconds: float) -> None:
        self._answer = self._worker.ask({"do": "send", "count": count}, seconds)

    def queued(self) -> int:
        """Unfinished messages in its spool."""
        return int(self._worker.ask({"do": "queued"}, 30.0)["queued"])

    def pair(self, count: int, seconds: float) -> dict[str, Any]:
        """One submitter: what accepting costs beside the disk's own write and sync (`pairs.py`)."""
        return self._worker.ask({"do": "pair", "count": count}, seconds)

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
        if self._profile:
            self._worker.let_end(30.0)  # it writes its profile at its end
        self._family.end(self._worker.process)
