"""What lies around an engine and outlives it: its spool, the servers of the other side, the log, and what was submitted.

An engine's life can be ended as by kill -9, at any moment: from then on its store, its marks and its log are those of a dead
process, and the next life begins with what that moment left.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from bisect import bisect_right
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import trio
from moody_servers import MoodyServers
from structlog.testing import capture_logs

from postroad.clock import Clock
from postroad.config import Config
from postroad.engine import Engine
from postroad.errors import EngineClosed, StoreBroken, StoreFull
from postroad.opening import open_engine
from postroad.spool import Marks
from postroad.store.contract import Filter, Operation, Result, StoredMessage
from postroad.store.memory import MemoryStore
from postroad.store.sqlite import SqliteStore
from postroad.store.states import State
from postroad.testing.engine import test_config
from postroad.testing.promises import Evidence, Letter

__all__ = ["DOMAINS", "HOME", "World"]

Place: TypeAlias = tuple[str, str]  # message id and recipient

HOME = "home.example"  # of the senders
ASKING = ("ask.example", "trust.example")  # what is in doubt there is not sent again
DOMAINS = ("a.example", "b.example", *ASKING)
_BEGIN = 1_767_225_600.0
_MANY = 100_000
_SWEPT_SECONDS = 7200.0
_STARTS = 10  # a life may be killed at its start, but not for ever
_FIRST_SECONDS, _JITTER = 60.0, 0.1  # of the retry schedule
_FILE_OCTETS = 4096  # contents of more lie in files of their own
_SECTIONS: dict[str, Any] = {
    "transports": {"out": {"plugin": "moody"}},
    "routes": [
        {"transport": "out", "name": "asking", "recipients": "*@ask.example", "in_doubt": "hold"},
        {"transport": "out", "name": "trusting", "recipients": "*@trust.example", "in_doubt": "take_as_delivered"},
        {"transport": "out"},
    ],
    "retry": {"first_seconds": _FIRST_SECONDS, "max_seconds": 900, "give_up_seconds": 7200, "jitter": _JITTER},
    "windows": {"start": 2, "max": 3, "trouble": 2, "hold_seconds": 20, "hold_max_seconds": 300},
    "in_flight": {"leases": 6, "attempt_seconds": 120, "drain_seconds": 30, "doubt_seconds": 5},
    "limits": {"history_seconds": 1e9, "idempotency_seconds": 1e9},  # nothing is forgotten, however far a clock jumps
    "reports": {"hostname": "engine.test", "delay_notice_seconds": 600},
}


class Lifeline:
    """A store as one life of an engine sees it: cut, it answers no more, and nothing that it is asked is stored."""

    threaded = False  # in line: the rules alone decide what happens next

    def __init__(self, world: World, store: MemoryStore | SqliteStore) -> None:
        self._world = world
        self._store = store
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def apply(self, operations: Sequence[Operation]) -> list[Result]:
        self._pass("before")
        if self._world.is_full:
            raise StoreFull("the disk is full")
        answers = self._store.apply(operations)
        self._pass("after")
        return answers

    def _pass(self, moment: str) -> None:
        if not self.is_cut:
            self._world.pass_commit(moment)
        if self.is_cut:
            raise StoreBroken("this process is dead")

    def close(self) -> None:
        if isinstance(self._store, SqliteStore):
            self._store.close()


class Life:
    """One engine from its start to its end.  log_end: how much of the log was written when it was killed, else None."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.store: Lifeline | None = None
        self.trouble: BaseException | None = None
        self.log_end: int | None = None
        self.scope = trio.CancelScope()
        self.begun, self.end, self.over = trio.Event(), trio.Event(), trio.Event()

    async def run(self, config: Config, servers: MoodyServers, clock: Clock, seed: int) -> None:
        try:
            with self.scope:
                async with open_engine(config, plugins={"moody": servers}, clock=clock, seed=seed) as self.engine:
                    self.begun.set()
                    await self.end.wait()
        except (Exception, BaseExceptionGroup) as error:
            self.trouble = error
        finally:
            self.engine = None
            self.begun.set()
            self.over.set()


class World:
    """moods: what the servers of a domain do.  is_full: the disk.  ahead: of the wall clock.

    kills: how many lives ended so; silent_kills: right behind a commit, of which no line tells.
    """

    life: Life

    def __init__(self, folder: Path | None) -> None:
        self.moods: dict[str, str] = {}
        self.servers = MoodyServers(self.moods, lambda: self.now, self.kill, lambda: self.life.log_end is None)
        self.letters: list[Letter] = []
        self.is_full = False
        self.kills = self.silent_kills = self.lives = 0
        self.hurried: list[float] = []  # when pauses were cut short
        self.released: list[float] = []  # when an operator ended holds
        self.withdrawn: dict[Place, tuple[int, int, int]] = {}  # in which life, after which attempts, how many are owed
        self._first_attempts: list[int] = []  # of each life
        self.ahead = 0.0
        self.fatal: tuple[str, int] | None = None  # the life ends "before" or "after" so many commits
        self._folder = folder
        self._memory = MemoryStore()
        self._marks_left = b""
        self._stack = ExitStack()
        self.log: list[MutableMapping[str, Any]] = self._stack.enter_context(capture_logs())
        for target, stand_in in (
            ("postroad.store.sqlite.SqliteStore", lambda *args, **more: self._mortal(SqliteStore(*args, **more))),
            ("postroad.store.memory.MemoryStore", lambda: self._mortal(self._memory)),
            ("postroad.opening.Marks", self._open_marks),
        ):
            self._stack.enter_context(mock.patch(target, stand_in))

    def close(self) -> None:
        self._stack.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    @property
    def now(self) -> float:
        return _BEGIN + trio.current_time()

    async def wall(self) -> float:
        return self.now + self.ahead

    @property
    def engine(self) -> Engine:
        if self.life.engine is None:
            raise EngineClosed("it was killed")
        return self.life.engine

    # --- lives ---

    async def begin(self, nursery: trio.Nursery) -> None:
        """Start engines until one lives: some are killed at their start."""
        self.is_full = False  # with a full disk none starts at all
        for _ in range(_STARTS):
            self.lives += 1
            self._first_attempts.append(len(self.servers.attempts))
            self.hurry()
            self.life = Life()
            self.servers.clock = clock = Clock(wall=lambda: self.now + self.ahead)
            nursery.start_soon(self.life.run, self._config(), self.servers, clock, self.lives)
            await self.life.begun.wait()
            if self.life.engine is not None:
                return
            await self._bury()
        raise AssertionError("no engine starts any more")

    async def go_on(self, nursery: trio.Nursery) -> None:
        """After something happened: a life that is over is followed by another."""
        if self.life.log_end is not None or self.life.over.is_set():
            await self._bury()
            await self.begin(nursery)

    async def restart(self, nursery: trio.Nursery) -> None:
        await self.stop()
        await self.begin(nursery)

    async def stop(self) -> None:
        self.life.end.set()
        await self._bury()

    async def _bury(self) -> None:
        await self.life.over.wait()
        if self.life.log_end is None:
            self._leave_marks()
            if self.life.trouble is not None:
                raise AssertionError("the engine ended by itself") from self.life.trouble
        else:
            del self.log[self.life.log_end :]  # what a dead process says nobody hears

    def hurry(self) -> None:
        """From here on some recipients may be tried again before their time."""
        self.hurried.append(self.now)

    def places(self, domain: str | None) -> set[Place]:
        """Everybody at a domain."""
        everybody = [(one.message.id, each.address) for one in self.look() for each in one.recipients]
        return {place for place in everybody if domain in (None, place[1].rpartition("@")[2])}

    def withdraw(self, places: set[Place]) -> None:
        """Cancelled, and the answer was seen: what is leased and not under way yet may still be tried once."""
        for one in self.look():
            for each in one.recipients:
                place = (one.message.id, each.address)
                is_owed = each.state is State.LEASED and place not in self.servers.under_way
                if place in places:
                    self.withdrawn.setdefault(place, (self.lives, len(self.servers.attempts), int(is_owed)))

    def kill(self) -> None:
        life = self.life
        if life.log_end is not None or life.over.is_set():
            return
        life.log_end = len(self.log)
        if life.store is not None:
            life.store.is_cut = True
        self._leave_marks()
        self._leave_files()
        self.kills += 1
        self.fatal = None
        life.scope.cancel()

    def pass_commit(self, moment: str) -> None:
        if self.fatal is None or self.fatal[0] != moment:
            return
        self.fatal = (moment, self.fatal[1] - 1)
        if self.fatal[1] <= 0:
            self.silent_kills += moment == "after"
            self.kill()

    # --- what lives leave ---

    def _config(self) -> Config:
        if self._folder is None:
            return test_config(**_SECTIONS)
        url = f"sqlite:{self._spool(self.kills)}"
        spool = {"url": url, "socket": False, "content_file_bytes": _FILE_OCTETS, "reserve_bytes": 4096}
        return test_config(**_SECTIONS, spool=spool)

    def _spool(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / str(number) / "postroad.db"

    def _mortal(self, store: MemoryStore | SqliteStore) -> Lifeline:
        self.life.store = Lifeline(self, store)
        return self.life.store

    def _open_marks(self, path: Path | None, slots: int) -> Marks:
        self._marks = Marks(path, slots)
        if path is None:
            for slot in range(len(self._marks_left) // 8):
                self._marks.mark(slot, int.from_bytes(self._marks_left[8 * slot : 8 * slot + 8], "little"))
        return self._marks

    def _leave_marks(self) -> None:
        if self._folder is None:
            tokens = self._marks.tokens()
            self._marks_left = b"".join(token.to_bytes(8, "little") for token in sorted(tokens))

    def _leave_files(self) -> None:
        """What a killed process leaves: its files as they are; the store is never closed there."""
        if self._folder is not None:
            left, found = self._spool(self.kills).parent, self._spool(self.kills + 1).parent
            shutil.copytree(left, found, ignore=shutil.ignore_patterns("*-shm", "*.lock", "*.reserve"))

    # --- afterwards ---

    def look(self) -> list[StoredMessage]:
        store = self.life.store
        assert store is not None
        found: list[StoredMessage] = store.find(Filter(), _MANY)
        return found

    def tried_although_withdrawn(self) -> set[Place]:
        """By a later life, or by a later attempt than the one that owned it."""
        lives: dict[Place, list[int]] = {}
        for number, attempt in enumerate(self.servers.attempts):
            for place in attempt.places:
                if number >= self.withdrawn.get(place, (0, math.inf, 0))[1]:
                    lives.setdefault(place, []).append(bisect_right(self._first_attempts, number))
        return {place for place, ones in lives.items() if not _are_owed(ones, *self.withdrawn[place])}

    def sent_again_unasked(self) -> list[Place]:
        """Left in doubt on a route that asks or trusts, and tried again although nobody released it."""
        found: list[Place] = []
        doubted_at: dict[Place, float] = {}
        for attempt, is_doubtful in zip(self.servers.attempts, self.servers.doubtful, strict=True):
            for place in attempt.places:
                at = doubted_at.pop(place, None)
                if at is not None and not any(at <= moment <= attempt.at for moment in self.released):
                    found.append(place)
                if is_doubtful and attempt.host in ASKING:
                    doubted_at[place] = attempt.at
        return found

    async def sweep(self, nursery: trio.Nursery) -> None:
        """Have a new life find what no message needs, as one does that begins an hour later."""
        if self._folder is not None:
            old = time.time() - _SWEPT_SECONDS
            for path in self._contents():
                os.utime(path, (old, old))
        await self.restart(nursery)
        await trio.sleep(1.0)

    def _contents(self) -> list[Path]:
        folder = self._spool(self.kills).with_name("postroad.db.content")
        return list(folder.iterdir()) if folder.is_dir() else []

    def evidence(self) -> Evidence:
        """Once the last life has ended."""
        if self._folder is None:
            return self._evidence(self._memory.find(Filter(), _MANY), [], [])
        store = SqliteStore(self._spool(self.kills))
        spool, problems = store.find(Filter(), _MANY), store.check()
        store.close()
        return self._evidence(spool, problems, [path.name for path in self._contents()])

    def _evidence(self, spool: list[StoredMessage], problems: list[str], files: list[str]) -> Evidence:
        known = {one.message.id for one in spool}
        return Evidence(
            letters=self.letters,
            arrivals=self.servers.arrivals,
            spool=spool,
            log=self.log,
            attempts=self.servers.attempts,
            leftovers=[name for name in files if name not in known],
            kills=self.silent_kills,
            pause_seconds=_FIRST_SECONDS * (1 - _JITTER),
            hurried=self.hurried,
            problems=problems,
        )


def _are_owed(lives: list[int], life: int, _: int, owed: int) -> bool:
    return len(lives) <= owed and set(lives) <= {life}
