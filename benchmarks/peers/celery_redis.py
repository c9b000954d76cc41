"""Celery with redis as its broker, and smtplib in the tasks: how many Python applications queue their mail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processes import Worker

from . import Level, Place, Sent
from .debian import Unpacked, find_python, unpacked

__all__ = ["CeleryRedis"]


class CeleryRedis:
    """Producer, redis and Celery's workers are children of one process, so that its tree is all of the system."""

    name = "celery + redis"
    level: Level = "synced"
    durability = "redis appends and syncs before delay() returns (appendonly yes, appendfsync always); acks_late"
    settings = "one producer calls delay(); prefork, 4 workers, prefetch 4, no gossip, mingle, heartbeat; smtplib, kept"

    def __init__(self, cache: Path, *, may_fetch: bool) -> None:
        self._cache = cache
        self._may_fetch = may_fetch
        self._redis: Unpacked | None = None
        self._python = Path()
        self._answer: dict[str, Any] = {}

    def available(self) -> str | None:
        found = unpacked(self._cache, "redis", may_fetch=self._may_fetch)
        if isinstance(found, str):
            return found
        self._redis = found
        self._python, absent = find_python(self._cache, "bench-celery", "celery", "redis", may_fetch=self._may_fetch)
        return absent or None

    def start(self, place: Place) -> None:
        assert self._redis is not None, "available() said None before"
        settings = {
            "folder": str(place.folder),
            "port": place.sink.port,
            "load": place.load.told(),
            "redis": str(self._redis.root / "usr/bin/redis-server"),
            "libraries": self._redis.environment()["LD_LIBRARY_PATH"],
        }
        self._family = place.family
        errors = place.folder / "celery.err"
        self._worker: Worker = place.family.worker("peers.celery_worker", settings, errors, python=self._python)
        self._worker.answer(60.0)

    @property
    def pid(self) -> int:
        return self._worker.process.pid

    def send(self, count: int, seconds: float) -> None:
        self._answer = self._worker.ask({"do": "send", "count": count}, seconds)

    def finish(self, seconds: float) -> Sent:
        return Sent(**self._answer, **self._worker.ask({"do": "finish", "seconds": seconds}, seconds + 5.0))

    def stop(self) -> None:
        self._family.end(self._worker.process)
