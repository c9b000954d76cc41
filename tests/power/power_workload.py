"""Everything that is done to a spool, drawn at random: the real store code below, and the memory store as the ledger beside it.

What is answered is applied to the ledger; what is under way when the power goes is kept apart, because it may be there or not.
A life is a spool from its first creation through several cuts; it is wholly decided by its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from power_check import Spooled, broken_promises, said_by
from power_disk import Disk
from power_vfs import mounted

from postroad.errors import PostroadError
from postroad.message import Kind, Message
from postroad.spool import ContentFolder, SpoolLock, SpoolPlace
from postroad.store.contract import (
    Accept,
    Accepted,
    Cancel,
    DelayReport,
    Filter,
    Hold,
    IdempotencyKey,
    NewRecipient,
    Operation,
    Outcome,
    Prune,
    Pruned,
    Recover,
    Release,
    Remember,
    Report,
    Result,
    Settle,
    TakeAsDelivered,
    TakeLeases,
    Taken,
)
from postroad.store.memory import MemoryStore
from postroad.store.sqlite import SqliteStore, sqlite_store
from postroad.store.states import Step

__all__ = ["Ledger", "Life", "Spool", "Workload", "opened"]

URL = "sqlite:var/spool/postroad.db"
LANES = ("out/a.example", "out/b.example")
FACTS = ("incarnation", "learnt")
_STEPS = (
    Step.DELIVER,
    Step.DELIVER,
    Step.DELIVER,
    Step.DEFER,
    Step.DOUBT,
    Step.FAIL,
    Step.FAIL,
    Step.POSTPONE,
    Step.HOLD,
)
# So that it is folded in often, goes on in its room, and outgrows it.
_SMALL_LOG = {"_IDLE_PAGES": 16, "_BUSY_COMMITS": 7, "_BUSY_PAGES": 60, "_HUGE_PAGES": 150, "_ROOM_BYTES": 100_000}
_MOST_SESSIONS = 60  # between two cuts


@dataclass
class Spool:
    """The store and its contents, opened."""

    store: SqliteStore
    contents: ContentFolder


@contextmanager
def opened(disk: Disk, connect: Callable[[str], Any]) -> Generator[Spool]:
    """The spool, opened by the code that an engine opens it with."""
    place = SpoolPlace.parse(URL, disk.root)
    place.make_folder()
    folder = place.content_folder
    assert folder is not None
    with SpoolLock(place.lock_path), sqlite_store(place.rest, folder=folder, connect=connect) as store:
        yield Spool(store, ContentFolder(folder))


class Ledger:
    """What was acknowledged.  files: contents that were given to the content folder.  leased: (token, handle, number)."""

    def __init__(self) -> None:
        self.model = MemoryStore()
        self.files: dict[str, bytes] = {}
        self.leased: list[tuple[int, int, int]] = []
        self.under_way: Sequence[Operation] | None = None
        self.tokens = 0
        self.messages = 0
        self.now = 1000.0

    def token(self) -> int:
        self.tokens += 1
        return self.tokens

    def said(self) -> Spooled:
        return said_by(self.model, lambda place: self.files[place.name], FACTS)

    def answered(self, operations: Sequence[Operation], answers: list[Result]) -> None:
        self.under_way = None
        expected = self.model.apply(operations)
        assert answers == expected, "SQLite and the memory store disagree"
        for operation, answer in zip(operations, answers, strict=True):
            self._note_leases(operation, answer)

    def _note_leases(self, operation: Operation, answer: Result) -> None:
        if isinstance(operation, Accept) and isinstance(answer, Accepted) and not answer.duplicate:
            fresh = enumerate(operation.recipients)
            self.leased += [(new.lease, answer.handle, number) for number, new in fresh if new.lease]
        if isinstance(answer, Taken):
            for lease in answer.leases:
                self.leased += [(lease.token, lease.handle, recipient.number) for recipient in lease.recipients]

    def broken_by(self, spool: Spool) -> list[str]:
        """Which promises a spool breaks that was just opened; knows from then on what became of what was under way."""
        now = said_by(spool.store, spool.contents.read, FACTS)
        acknowledged, operations = self.said(), self.under_way
        self.under_way = None
        if operations is None or now == acknowledged:
            return broken_promises(acknowledged, now, perhaps=acknowledged)
        answers = self.model.apply(operations)
        for operation, answer in zip(operations, answers, strict=True):
            self._note_leases(operation, answer)
        return broken_promises(acknowledged, now, perhaps=self.said())


def _asks_on_one_lane(lane: str) -> Step:
    """The choices of two routes: what is in doubt waits for a decision, or is sent again."""
    return Step.HOLD if lane == LANES[1] else Step.DOUBT


class Workload:
    """Draws what happens next and does it."""

    def __init__(self, spool: Spool, ledger: Ledger, draw: random.Random) -> None:
        self._spool = spool
        self._ledger = ledger
        self._draw = draw

    def turn(self) -> None:
        self._ledger.now += 1
        kinds = [self.batch, self.accept_large, self.settle, self.report, self.tidy, self.operate, self.prune]
        self._draw.choices(kinds, (6, 2, 4, 3, 2, 1, 1))[0]()

    def apply(self, *operations: Operation) -> list[Result]:
        if not operations:
            return []
        self._ledger.under_way = operations
        answers = self._spool.store.apply(operations)
        self._ledger.answered(operations, answers)
        return answers

    def begin(self) -> None:
        """What an engine does first."""
        incarnation = int(self._spool.store.recall("incarnation") or b"0") + 1
        recover = Recover(frozenset(), rebooted=True, now=self._ledger.now, doubt=_asks_on_one_lane)
        self.apply(recover, Remember("incarnation", b"%d" % incarnation))
        self._ledger.leased.clear()

    def batch(self) -> None:
        """As a turn of the queue: what is settled, what is submitted, what is leased."""
        fresh = [self._accept(self._draw.randbytes(self._draw.choice((30, 300, 9000)))) for _ in range(self._below(4))]
        self.apply(*self._settlements(2), *fresh, self._take())

    def accept_large(self) -> None:
        accept = self._accept(self._draw.randbytes(3000 + self._below(20_000)))
        assert isinstance(accept.content, bytes)
        self._ledger.files[accept.message.id] = accept.content
        place = self._spool.contents.write(accept.message.id, accept.content)
        self.apply(Accept(accept.message, accept.recipients, place, accept.idempotency))

    def _accept(self, content: bytes) -> Accept:
        ledger = self._ledger
        ledger.messages += 1
        id = f"m{ledger.messages:05}"
        message = Message(id=id, sender="app@example.com", accepted_at=ledger.now, size=len(content))
        people = tuple(self._recipient(number) for number in range(1 + self._below(4)))
        key = IdempotencyKey("app@example.com", id, b"digest", ledger.now + self._below(60))
        return Accept(message, people, content, key if self._below(3) == 0 else None)

    def _recipient(self, number: int) -> NewRecipient:
        lease = self._ledger.token() if self._below(3) == 0 else 0
        return NewRecipient(f"r{number}@example.org", self._draw.choice(LANES), self._ledger.now, lease=lease)

    def _take(self) -> TakeLeases:
        tokens = tuple(self._ledger.token() for _ in range(self._below(4)))
        return TakeLeases(self._draw.choice(LANES), self._ledger.now, tokens, self._draw.choice((0, 5000)))

    def settle(self) -> None:
        self.apply(*self._settlements(6))

    def _settlements(self, most: int) -> list[Settle]:
        leased = self._ledger.leased
        self._draw.shuffle(leased)
        chosen, leased[:] = leased[:most], leased[most:]
        outcomes = tuple(self._outcome(*place) for place in chosen)
        return [Settle(outcomes, self._ledger.now)] if outcomes else []

    def _outcome(self, token: int, handle: int, number: int) -> Outcome:
        return Outcome(
            token,
            handle,
            number,
            self._draw.choice(_STEPS),
            due=self._ledger.now + self._below(5),
            status="4.0.0",
            reply="as it was answered",
            delay_notice=self._below(4) == 0,
            in_doubt=self._below(4) == 0,
        )

    def report(self) -> None:
        """Write what is due to a sender, in the transaction that marks it as written."""
        store, now = self._spool.store, self._ledger.now
        for failed in store.failures(2):
            numbers = tuple(recipient.number for recipient in failed.recipients)
            self.apply(Report(failed.handle, numbers, self._report_or_none(), now))
        for delayed in store.delays(1):
            self.apply(DelayReport(delayed.handle, self._report_or_none(), now))

    def _report_or_none(self) -> Accept | None:
        if self._below(5) == 0:
            return None
        accept = self._accept(b"could not be delivered")
        message = Message(
            id=accept.message.id, sender="", accepted_at=self._ledger.now, size=accept.message.size, kind=Kind.REPORT
        )
        return Accept(message, (NewRecipient("app@example.com", LANES[0], self._ledger.now),), accept.content)

    def operate(self) -> None:
        some, lane = (
            Filter(id=f"m{1 + self._below(self._ledger.messages + 1):05}"),
            Filter(lane=self._draw.choice(LANES)),
        )
        now = self._ledger.now
        kinds = (
            Cancel(some, now),
            Hold(lane, "an operator", now),
            Release(Filter(), now),
            TakeAsDelivered(self._draw.choice((some, lane)), now),
        )
        self.apply(self._draw.choice(kinds), Remember("learnt", self._draw.randbytes(40)))

    def prune(self) -> None:
        (pruned,) = self.apply(Prune(before=self._ledger.now - 3, now=self._ledger.now, limit=5))
        assert isinstance(pruned, Pruned)
        self._spool.contents.delete(pruned.content_files)

    def tidy(self) -> None:
        self._spool.store.maintain(idle=self._below(2) == 0)

    def _below(self, bound: int) -> int:
        return self._draw.randrange(bound)


@dataclass
class Life:
    """One spool through `cuts` cuts of the power, some of them kills of the process only.

    prepare: what is changed at each new disk.  problems: the promises that were broken; the life ends with the first of them.
    """

    seed: int
    cuts: int
    folder: Path
    prepare: Callable[[Disk], None] = lambda disk: None
    problems: list[str] = field(default_factory=list)
    trace: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> Life:
        self._draw = random.Random(self.seed)
        self._ledger = Ledger()
        disk = Disk(self.folder / f"{self.seed}-0")
        with mock.patch.multiple("postroad.store.sqlite", **_SMALL_LOG):
            for number in range(1, self.cuts + 1):
                disk.cut_at = self._draw.choice((self._draw.randint(1, 60), self._draw.randint(1, 600)))
                disk = self._until_the_end_of(disk, self.folder / f"{self.seed}-{number}")
                if self.problems:
                    break
            else:
                self._sessions(disk, 1)
        disk.discard()
        return self

    def _until_the_end_of(self, disk: Disk, next_place: Path) -> Disk:
        """Work on a disk until its power goes; return what is found afterwards."""
        self._sessions(disk, _MOST_SESSIONS)
        self.trace.append((disk.steps, disk.trace))
        if self.problems:
            return disk
        assert disk.is_off, "the cut was never reached"
        is_kill = self._draw.randrange(4) == 0
        found = disk.after_kill(next_place) if is_kill else disk.after_cut(self._draw, next_place)
        disk.discard()
        return found

    def _sessions(self, disk: Disk, most: int) -> None:
        self.prepare(disk)
        with mounted(disk) as connect:
            for _ in range(most):
                try:
                    self._session(disk, connect)
                except PostroadError as error:
                    if not disk.is_off:
                        self.problems.append(f"the spool cannot be used: {error}")
                if disk.is_off or self.problems:
                    return

    def _session(self, disk: Disk, connect: Callable[[str], Any]) -> None:
        """From opening to closing, or to the cut."""
        with opened(disk, connect) as spool:
            self.problems += self._ledger.broken_by(spool)
            if self.problems:
                return
            work = Workload(spool, self._ledger, self._draw)
            work.begin()
            for _ in range(self._draw.randint(5, 40)):
                work.turn()
