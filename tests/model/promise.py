"""One promise to one recipient, and what can become of it; the state table is asked whether a step is known, never which.

Only used by `promised.py`, which holds all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from postroad.message import Message
from postroad.store.contract import IN_DOUBT, NO_ROUTE, RESTORED, ContentPlace, Filter, NewRecipient, Recover
from postroad.store.states import TRANSITIONS, State, Step

__all__ = [
    "AFTER",
    "DUE",
    "FOREVER",
    "OVER",
    "Letter",
    "Promise",
    "is_meant",
    "is_over",
    "name_of",
    "place_of",
    "promise_of",
    "recovered",
    "restored",
    "urgency",
]

DUE = {State.WAITING, State.IN_DOUBT}
OVER = {State.ACCEPTED, State.REPORTED, State.UNREPORTED, State.CANCELLED}
_KNOWN_STEPS = {(before, after) for (before, _), after in TRANSITIONS.items()}
AFTER = {
    Step.DELIVER: State.ACCEPTED,
    Step.DEFER: State.WAITING,
    Step.POSTPONE: State.WAITING,
    Step.DOUBT: State.IN_DOUBT,
    Step.FAIL: State.FAILED,
    Step.HOLD: State.HELD,
}
FOREVER = float("inf")


@dataclass(slots=True, eq=False)
class Promise:
    """To one recipient.  tried_before: an attempt was settled, so that its send_at is over."""

    letter: Letter
    number: int
    address: str
    lane: str
    due: float
    state: State
    token: int
    reason: str = ""
    attempts: int = 0
    is_doubted: bool = False
    is_cancelling: bool = False
    tried_before: bool = False

    def goes_to(self, state: State) -> None:
        assert (self.state, state) in _KNOWN_STEPS, f"no step leads from {self.state.name} to {state.name}"
        self.state, self.token, self.reason = state, 0, ""

    def becomes_due(self, now: float) -> None:
        """It may leave now, but never before its send_at."""
        self.due = now if self.tried_before else max(self.due, now)


@dataclass(slots=True, eq=False)
class Letter:
    """One message.  delay: whether the one notice of delay was asked for, and written (or not wanted any more)."""

    message: Message
    handle: int
    content: bytes | ContentPlace
    promises: list[Promise] = field(default_factory=list)
    is_delay_asked: bool = False
    is_delay_done: bool = False
    finished_at: float | None = None
    is_damaged: bool = False  # its record cannot be read


def promise_of(letter: Letter, number: int, new: NewRecipient) -> Promise:
    is_held = new.state is State.HELD
    state = State.LEASED if new.lease else new.state
    reason = (new.reason or NO_ROUTE) if is_held else ""
    return Promise(letter, number, new.address, new.lane, new.due, state, new.lease, reason)


def recovered(promise: Promise, recover: Recover) -> None:
    is_doubted = recover.rebooted or promise.token in recover.marked
    if promise.is_cancelling:
        promise.goes_to(State.CANCELLED)
    elif not is_doubted:
        promise.goes_to(State.WAITING)
    else:
        promise.goes_to(AFTER[recover.doubt(promise.lane)])
    if promise.state is State.HELD:
        promise.reason = IN_DOUBT
    promise.attempts += is_doubted
    promise.is_doubted = promise.is_doubted or is_doubted
    promise.is_cancelling = False


def restored(promise: Promise) -> None:
    """Older than what was done with it: whatever could be delivered again is in doubt, and does not go by itself."""
    if promise.state not in (State.WAITING, State.IN_DOUBT, State.HELD, State.PARKED):
        return
    goes_by_itself = promise.state in DUE or promise.reason.startswith(NO_ROUTE)
    if promise.state in DUE:
        promise.goes_to(State.HELD)
    if goes_by_itself:
        promise.reason = f"{IN_DOUBT}: {RESTORED}"
    promise.is_doubted = True


def is_over(letter: Letter) -> bool:
    return all(promise.state in OVER for promise in letter.promises)


def is_meant(promise: Promise, filter: Filter) -> bool:
    message = promise.letter.message
    conditions = (
        (filter.id, message.id),
        (filter.recipient, promise.address),
        (filter.lane, promise.lane),
        (filter.sender, message.sender),
        (filter.in_doubt, promise.is_doubted),
        (filter.domain and filter.domain.lower(), promise.address.rpartition("@")[2].lower()),
    )
    is_state = not filter.states or promise.state in filter.states
    return is_state and all(wanted is None or wanted == found for wanted, found in conditions)


def urgency(promise: Promise) -> tuple[int, float]:
    return promise.letter.message.priority, promise.due


def place_of(promise: Promise) -> tuple[int, int]:
    return promise.letter.handle, promise.number


def name_of(promise: Promise) -> tuple[int, str, str]:
    return promise.letter.handle, promise.letter.message.id, promise.address
