"""A worker that runs one engine and its submitters, as an application would: nothing here reaches behind the public names,
but for a count of the commits that pass through the store's executor.
"""

from __future__ import annotations

import cProfile
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from postroad import Engine, Submission, open_engine
from postroad.log import configure_logging
from postroad.store.contract import Operation, Result
from postroad.store.executor import StoreExecutor
from processes import say
from workload import RECIPIENT, SENDER, Template, own_cpu_seconds, percentiles

_LOOK_SECONDS = 0.02


class Commits:
    """Counts the commits of the engine."""

    def __init__(self) -> None:
        self.count = 0
        self._apply = StoreExecutor.apply

    def begin(self) -> None:
        commits, apply = self, self._apply

        async def counted(executor: StoreExecutor, operations: Sequence[Operation]) -> list[Result]:
            commits.count += 1
            return await apply(executor, operations)

        setattr(StoreExecutor, "apply", counted)  # noqa: B010  # the checkers forbid the plain form


class Application:
    """Submitters around an engine."""

    def __init__(self, settings: dict[str, Any], engine: Engine, commits: Commits) -> None:
        self._settings = settings
        self._engine = engine
        self._commits = commits
        self._template = Template(settings["octets"], f"postroad.{os.getpid()}")
        self._numbers = itertools.count(1)
        self._cpu_before = 0.0
        self._commits_before = 0

    async def send(self, count: int) -> dict[str, Any]:
        self._cpu_before, self._commits_before = own_cpu_seconds(), self._commits.count
        seconds: list[float] = []
        work = iter(range(count))
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(min(count, self._settings["submitters"])):
                nursery.start_soon(self._submitter, work, seconds)
        return {"began": began, "durable": percentiles(seconds)}

    async def _submitter(self, work: Iterator[int], seconds: list[float]) -> None:
        clock = time.perf_counter
        for _ in work:
            content = self._template.message(next(self._numbers))
            submission = Submission(sender=SENDER, recipients=(RECIPIENT,), content=content)
            asked = clock()
            await self._engine.submit(submission)
            seconds.append(clock() - asked)

    async def finish(self, seconds: float) -> dict[str, Any]:
        """Every message is settled in the spool, not only sent: then the work is done."""
        left = 1
        for _ in range(int(seconds / _LOOK_SECONDS)):
            left = (await self._engine.status()).messages
            if not left:
                break
            await trio.sleep(_LOOK_SECONDS)
        return {
            "cpu_seconds": own_cpu_seconds() - self._cpu_before,
            "commits": self._commits.count - self._commits_before,
            "problem": f"{left} messages were not settled in time" if left else "",
        }


def _config(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "spool": {"url": f"sqlite:{settings['folder']}/spool.db"},
        "senders": {"authorized": [SENDER]},
        "routes": [{"transport": "outbound"}],
        "transports": {"outbound": {"plugin": "smtp", "smarthost": f"127.0.0.1:{settings['port']}"}},
        "windows": {"start": settings["window"], "max": settings["window"]},
    }


async def run(settings: dict[str, Any]) -> None:
    commits = Commits()
    commits.begin()
    async with open_engine(_config(settings)) as engine:
        application = Application(settings, engine, commits)
        say({"ready": True})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            order = json.loads(line)
            if order["do"] == "send":
                say(await application.send(order["count"]))
            else:
                say(await application.finish(order["seconds"]))


def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    with Path(settings["folder"], "postroad.log").open("w", encoding="utf-8") as log:
        configure_logging("info" if settings["with_log"] else "error", json=True, stream=log)
        if settings["profile"]:
            profiler = cProfile.Profile()  # of the trio thread alone
            profiler.runcall(trio.run, run, settings)
            profiler.dump_stats(settings["profile"])
        else:
            trio.run(run, settings)


if __name__ == "__main__":
    main()
