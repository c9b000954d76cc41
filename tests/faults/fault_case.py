"""One case of the table of faults: a scripted run, what must come of it, and what was seen.

A case runs by itself under a clock that jumps, on loopback only, and gives facts that are the same on every machine: no ports, no
times of day, no texts of the operating system.  `see` runs it once and remembers; the tests and docs/faults.md ask the same.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from postroad.verdict import Disposition, Verdict

__all__ = ["DELIVERED", "Case", "Expected", "Seen", "see", "told"]

DELIVERED = "delivered"
_WORDS = {
    Disposition.ACCEPTED: DELIVERED,
    Disposition.DEFERRED: "deferred",
    Disposition.REFUSED: "refused",
    Disposition.IN_DOUBT: "in doubt",
    Disposition.POSTPONED: "postponed",
}


def told(verdict: Verdict) -> str:
    """A verdict as it stands in the table: what, with which status, and how far it reaches."""
    if verdict.disposition is Disposition.ACCEPTED:
        return DELIVERED
    return f"{_WORDS[verdict.disposition]} {verdict.status} ({verdict.scope.value})"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of a run.

    outcomes: one per recipient (`told`), or per message.  seconds: until they were there, on the virtual clock.
    is_next_delivered: whether a second message got through right afterwards; None where none was sent.  facts: what else matters.
    """

    outcomes: tuple[str, ...]
    seconds: float = 0.0
    is_next_delivered: bool | None = None
    facts: tuple[str, ...] = ()

    def __str__(self) -> str:
        outcome = " + ".join(self.outcomes)
        if round(self.seconds):
            outcome += f" in {round(self.seconds)} s"
        following = {None: (), True: ("next message delivered",), False: ("NEXT MESSAGE NOT DELIVERED",)}
        return "; ".join([outcome, *self.facts, *following[self.is_next_delivered]])


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must come of a run.  seconds: the least and the most."""

    outcomes: tuple[str, ...]
    seconds: tuple[float, float] = (0.0, 1.0)
    is_next_delivered: bool | None = True
    facts: tuple[str, ...] = ()

    def problem(self, seen: Seen) -> str:
        """How a run differs; "" where it does not."""
        least, most = self.seconds
        wrong = [
            f"{name}: {getattr(seen, name)!r} instead of {getattr(self, name)!r}"
            for name in ("outcomes", "is_next_delivered", "facts")
            if getattr(seen, name) != getattr(self, name)
        ]
        if not least <= seen.seconds <= most:
            wrong.append(f"it took {seen.seconds:g} s, not {least:g} to {most:g}")
        return "; ".join(wrong)


@dataclass(frozen=True, kw_only=True)
class Case:
    """row: the number in the table.  what, where: the fault in few words, and its phase.  variant: the circumstances, "" for any.

    gap: why it is known not to be as promised yet; its test must then fail.  has_threads: runs by the real clock, because a clock
    that jumps does so while a thread reads a large content.
    """

    row: str
    what: str
    meet: Callable[[], Awaitable[Seen]]
    expected: Expected
    where: str = ""
    variant: str = ""
    gap: str = ""
    has_threads: bool = False

    @property
    def id(self) -> str:
        return " ".join(filter(None, (f"row{self.row}:", self.what, self.where, self.variant and f"[{self.variant}]")))


_seen: dict[str, Seen] = {}


def see(case: Case) -> Seen:
    """Run a case, or say what its first run showed.  Raises AssertionError where it leaves a task or a descriptor behind."""
    if case.id not in _seen:
        before = _descriptors()
        with capture_logs():
            _seen[case.id] = trio.run(_run, case, clock=None if case.has_threads else MockClock(autojump_threshold=0))
        assert _descriptors() <= before, f"{case.id} left descriptors open"
    return _seen[case.id]


async def _run(case: Case) -> Seen:
    before = trio.lowlevel.current_statistics().tasks_living
    seen = await case.meet()
    assert trio.lowlevel.current_statistics().tasks_living == before, f"{case.id} left tasks running"
    return seen


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
