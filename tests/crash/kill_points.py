"""Where a process is killed: before and after the commit of every step of the state table.

`watch` looks at the rows that a real store changes, by triggers that live in its connection only; the engine knows nothing
of them.  `before` is inside COMMIT, with everything written and nothing durable; `after` is behind it, before anybody is told.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import apsw

from postroad.store.sqlite import SqliteStore
from postroad.store.states import TRANSITIONS, State, Step

__all__ = ["LEFT_BY", "ONCE", "POINTS", "UNREACHED", "KillPoint", "Transition", "watch"]

Side = Literal["before", "after"]
Transition = tuple[State, Step]

_LEASE_NEEDED = "outcomes are settled by the holder of a lease only"
UNREACHED: dict[Transition, str] = {
    (State.WAITING, Step.FAIL): _LEASE_NEEDED,
    (State.IN_DOUBT, Step.DELIVER): _LEASE_NEEDED,
    (State.IN_DOUBT, Step.FAIL): _LEASE_NEEDED,
    (State.HELD, Step.FAIL): _LEASE_NEEDED,
    (State.PARKED, Step.FAIL): _LEASE_NEEDED,
    (State.LEASED, Step.PARK): "a row is parked by the question for what is due, which finds no leased one",
    (State.HELD, Step.PARK): "a row is parked by the question for what is due, which finds no held one",
}


@dataclass(frozen=True)
class KillPoint:
    """Before or after the `nth` commit of a process that takes some recipient over this step."""

    state: State
    step: Step
    side: Side
    nth: int = 1

    @property
    def transition(self) -> Transition:
        return self.state, self.step

    def __str__(self) -> str:
        return f"{self.state.name}.{self.step.name}.{self.side}.{self.nth}"

    @classmethod
    def parse(cls, text: str) -> KillPoint:
        state, step, side, nth = text.split(".")
        assert side in ("before", "after")
        return cls(State[state], Step[step], "before" if side == "before" else "after", int(nth))


_SIDES: tuple[Side, Side] = ("before", "after")
POINTS = [
    KillPoint(state, step, side) for state, step in TRANSITIONS if (state, step) not in UNREACHED for side in _SIDES
]

_WAITING = KillPoint(State.LEASED, Step.DEFER, "after", 3)
LEFT_BY: dict[Transition, KillPoint] = {  # damage is done between two lives, to mail that the first one left
    (State.WAITING, Step.PARK): _WAITING,
    (State.IN_DOUBT, Step.PARK): KillPoint(State.LEASED, Step.DOUBT, "after", 3),
    (State.PARKED, Step.CANCEL): _WAITING,
    (State.PARKED, Step.SALVAGE): _WAITING,
}
ONCE = {(State.IN_DOUBT, Step.PARK), (State.PARKED, Step.CANCEL)}  # all of the damaged mail goes by the first commit

_BY_STATES: dict[tuple[State, State], list[Step]] = {}
for (_state, _step), _target in TRANSITIONS.items():
    _BY_STATES.setdefault((_state, _target), []).append(_step)

_TRIGGERS = (
    """CREATE TEMP TRIGGER watched_update AFTER UPDATE OF state ON main.recipient WHEN OLD.state <> NEW.state
    BEGIN SELECT watched(OLD.state, NEW.state, NEW.attempts > OLD.attempts); END""",
    f"""CREATE TEMP TRIGGER watched_insert AFTER INSERT ON main.recipient WHEN NEW.state = {int(State.LEASED)}
    BEGIN SELECT watched({int(State.WAITING)}, NEW.state, 0); END""",
)


def watch(point: KillPoint | None, note: Callable[[str], None]) -> None:
    """Watch every SqliteStore of this process from now on, and kill it at the point.

    note: told once of each step that was committed.
    """
    watcher = _Watcher(point, note)
    open_store, apply = SqliteStore.__init__, SqliteStore.apply

    def watched_init(self: SqliteStore, *args: Any, **options: Any) -> None:
        open_store(self, *args, **options)
        watcher.attach(self._writer)

    def watched_apply(self: SqliteStore, operations: Any) -> Any:
        watcher.carried.clear()
        results = apply(self, operations)
        watcher.committed()
        return results

    SqliteStore.__init__ = watched_init  # type: ignore[method-assign]
    SqliteStore.apply = watched_apply  # type: ignore[method-assign]


class _Watcher:
    def __init__(self, point: KillPoint | None, note: Callable[[str], None]) -> None:
        self._point = point
        self._note = note
        self._times: Counter[Transition] = Counter()
        self.carried: set[Transition] = set()  # by the transaction under way

    def attach(self, connection: Any) -> None:
        connection.create_scalar_function("watched", self._step, 3, flags=apsw.SQLITE_INNOCUOUS)
        for trigger in _TRIGGERS:
            connection.execute(trigger)
        connection.set_commit_hook(self._committing)

    def _step(self, old: int, new: int, is_tried: int) -> None:
        """Two steps lead from LEASED to WAITING: one costs a try."""
        steps = _BY_STATES[State(old), State(new)]
        step = steps[0] if len(steps) == 1 else Step.DEFER if is_tried else Step.POSTPONE
        self.carried.add((State(old), step))

    def _committing(self) -> bool:
        for transition in self.carried:
            self._times[transition] += 1
        self._die_at("before")
        return False  # go on and commit

    def committed(self) -> None:
        for state, step in self.carried:
            if self._times[state, step] == 1:
                self._note(f"{state.name}.{step.name}")
        self._die_at("after")

    def _die_at(self, side: Side) -> None:
        point = self._point
        if point is None or point.side != side or point.transition not in self.carried:
            return
        if self._times[point.transition] == point.nth:
            os.kill(os.getpid(), signal.SIGKILL)
