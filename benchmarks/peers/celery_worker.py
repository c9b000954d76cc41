"""A worker that starts redis and Celery's workers, and is the application that calls `delay()`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from load import Load
from processes import Family, lead
from sinks import free_port, wait_for_port
from tree import cpu_of_tree
from workload import SENDER, Template, percentiles

_LOOK_SECONDS = 0.02
_START_SECONDS = 45.0


class Application:
    def __init__(self, settings: Mapping[str, Any], family: Family) -> None:
        self._folder = Path(settings["folder"])
        self._load = Load.read(settings["load"])
        self._template = Template(self._load.octets, f"celery.{os.getpid()}")
        self._next = 0
        self._cpu = 0.0
        self._start_redis(settings, family)
        from . import celery_app  # it reads the environment

        self._task = celery_app.send
        self._start_workers(family)

    def _start_redis(self, settings: Mapping[str, Any], family: Family) -> None:
        port = free_port()
        os.environ["BENCH_BROKER"] = f"redis://127.0.0.1:{port}/0"
        os.environ["BENCH_SINK"] = str(settings["port"])
        where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self._folder)]
        how = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        env = {**os.environ, "LD_LIBRARY_PATH": settings["libraries"]}
        with (self._folder / "redis.out").open("wb") as said:
            redis = family.start([settings["redis"], *where, *how], stdout=said, stderr=said, env=env)
        wait_for_port(port, redis)

    def _start_workers(self, family: Family) -> None:
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
        argv = [sys.executable, "-m", "celery", "-A", "peers.celery_app", "worker", "--concurrency", "4", *quiet]
        with (self._folder / "workers.out").open("wb") as said:
            family.start(argv, stdout=said, stderr=said)
        deadline = time.monotonic() + _START_SECONDS
        while not self._task.app.control.ping(timeout=0.5):
            if time.monotonic() > deadline:
                raise RuntimeError("Celery's workers do not answer")

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        return self._send(order["count"]) if order["do"] == "send" else self._finish(order["seconds"])

    def _send(self, count: int) -> dict[str, Any]:
        self._cpu = cpu_of_tree(os.getpid())
        first, self._next = self._next, self._next + count
        seconds: list[float] = []
        began = time.monotonic()
        for number in range(first, self._next):
            content = self._template.message(number).decode("ascii")
            asked = time.perf_counter()
            self._task.delay(SENDER, list(self._load.recipients_of(number)), content)
            seconds.append(time.perf_counter() - asked)
        return {"began": began, "durable": percentiles(seconds)}

    def _finish(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        with self._task.app.connection_for_read() as connection:
            redis = connection.default_channel.client
            while (left := redis.llen("celery") + redis.hlen("unacked")) and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
        problem = f"{left} tasks were left" if left else ""
        return {"cpu_seconds": cpu_of_tree(os.getpid()) - self._cpu, "problem": problem}


if __name__ == "__main__":
    lead(lambda family, settings: Application(settings, family).obey)
