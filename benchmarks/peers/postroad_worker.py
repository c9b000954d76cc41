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

from load import Load
from postroad import Engine, Submission, hookimpl, open_engine
from postroad.log import configure_logging
from postroad.store.contract import Operation, Result
from postroad.store.executor import StoreExecutor
from processes import say
from workload import SENDER, Template, burn, own_cpu_seconds, percentiles

from .postroad_settings import configure

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
        self._load = Load.read(settings["load"])
        self._template = Template(self._load.octets, f"postroad.{os.getpid()}")
        self._numbers = itertools.count(1)
        self._cpu_before = 0.0
        self._commits_before = 0

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "send":
                told, seconds = await self.send(order["count"])
                return {**told, "seconds": seconds} if order.get("with_seconds") else told
            case "pair":
                return await self.pair(order["count"])
            case "queued":
                return {"queued": (await self._engine.status()).messages}
            case _:
                return await self.finish(order["seconds"])

    async def send(self, count: int) -> tuple[dict[str, Any], list[float]]:
        """What is told, and how long each submission took."""
        self._cpu_before, self._commits_before = own_cpu_seconds(), self._commits.count
        seconds: list[float] = []
        work = iter(range(count))
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(min(count, self._settings["submitters"])):
                nursery.start_soon(self._submitter, work, seconds)
        return {"began": began, "durable": percentiles(seconds)}, seconds

    async def _submitter(self, work: Iterator[int], seconds: list[float]) -> None:
        clock = time.perf_counter
        for _ in work:
            submission = self._submission()
            asked = clock()
            await self._engine.submit(submission)
            seconds.append(clock() - asked)

    def _submission(self) -> Submission:
        number = next(self._numbers)
        recipients = self._load.recipients_of(number)
        return Submission(sender=SENDER, recipients=recipients, content=self._template.message(number))

    async def pair(self, count: int) -> dict[str, Any]:
        """A lone submitter, turn by turn with the disk alone: the same octets appended to a file beside the spool and synced."""
        accepted: list[float] = []
        synced: list[float] = []
        clock = time.perf_counter
        disk = self._open_beside()
        for _ in range(count):
            submission = self._submission()
            asked = clock()
            receipt = await self._engine.submit(submission)
            accepted.append(clock() - asked)
            await receipt.settled()
            asked = clock()
            os.write(disk, submission.content)
            os.fdatasync(disk)
            synced.append(clock() - asked)
        os.close(disk)
        return {"accepted": accepted, "synced": synced}

    def _open_beside(self) -> int:
        return os.open(Path(self._settings["folder"], "pair"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

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


class Burner:
    """A plugin that costs CPU at the door, as a signature would."""

    def __init__(self, microseconds: int) -> None:
        self._microseconds = microseconds

    @hookimpl
    def postroad_admit(self, submission: Submission) -> None:
        burn(self._microseconds)


async def run(settings: dict[str, Any]) -> None:
    commits = Commits()
    commits.begin()
    load = Load.read(settings["load"])
    plugins = {"burner": Burner(load.burn_us)} if load.burn_us else {}
    async with open_engine(configure(settings, load), plugins=plugins) as engine:
        application = Application(settings, engine, commits)
        say({"ready": True})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            say(await application.obey(json.loads(line)))


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
