"""One recipient's row and every change that can happen to it: pure functions from a row to the row that follows.

Both stores keep rows and change them only through here, so that attempts, doubts and cancellations mean the same
everywhere.  It never reads a clock and never keeps anything; each change of state goes through `states.advance`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

import msgspec
from msgspec.structs import replace

from ..message import Message
from .contract import (
    CRASHED,
    IN_DOUBT,
    NO_ROUTE,
    RESTORED,
    TAKEN,
    UNROUTED,
    Accept,
    Filter,
    LaneDue,
    LeasedRecipient,
    NewRecipient,
    Outcome,
    Recover,
    StoredRecipient,
)
from .states import ENDS, LEASABLE, State, Step, advance

__all__ = [
    "HELD_SINCE",
    "PRIORITIES",
    "RESTORABLE",
    "TORN",
    "DelayNotice",
    "Row",
    "accepted",
    "address_suffix",
    "as_leased",
    "as_stored",
    "back_on_the_wall",
    "cancelled",
    "folded",
    "held",
    "is_owned",
    "is_torn",
    "lanes_of",
    "leased",
    "made_due",
    "message_on_the_wall",
    "moved",
    "recovered",
    "released",
    "reported",
    "restored",
    "settled",
    "state_filter",
    "taken_as_delivered",
    "untorn",
]

PRIORITIES = range(10)  # message.Submission.priority


class DelayNotice(enum.IntEnum):
    """Where the one notice of delay of a message stands.  The numbers are kept in spools."""

    NONE = 0
    WANTED = 1
    DONE = 2  # written, or not wanted any more


class Row(msgspec.Struct, frozen=True, gc=False):
    """A recipient as a store keeps it.

    token: the lease that owns it, 0 where none does.  doubted: it may have been delivered by an earlier attempt; once
    true it stays true.  cancelling: it was cancelled while leased.
    """

    handle: int
    number: int
    priority: int
    address: str
    notify: tuple[str, ...]
    orcpt: str
    lane: str
    state: State
    due: float
    token: int = 0
    attempts: int = 0
    doubted: bool = False
    cancelling: bool = False
    status: str = ""
    reply: str = ""
    remote: str = ""
    settled_at: float | None = None
    reason: str = ""


RESTORABLE = LEASABLE | {State.HELD, State.PARKED}  # what could be delivered again from a restored store
HELD_SINCE = f"{IN_DOUBT}: {RESTORED}"
TORN = f"{IN_DOUBT}: its row was damaged, an attempt may have had it"
_NEW = frozenset({State.WAITING, State.HELD})
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def accepted(handle: int, accept: Accept) -> list[Row]:
    """The rows of a message just accepted, with the leases that begin in the same commit."""
    priority = accept.message.priority
    if priority not in PRIORITIES:
        raise ValueError(f"priority {priority} is not within 0 to 9")
    if not accept.recipients:
        raise ValueError("a message needs at least one recipient")
    return [_new(handle, number, priority, recipient) for number, recipient in enumerate(accept.recipients)]


def _new(handle: int, number: int, priority: int, new: NewRecipient) -> Row:
    state = new.state
    if state not in _NEW:
        raise ValueError(f"a new recipient cannot be {state.name}")
    if new.lease:
        state = advance(state, Step.LEASE)
    return Row(
        handle,
        number,
        priority,
        new.address,
        new.notify,
        new.orcpt,
        new.lane,
        state,
        new.due,
        new.lease,
        reason=(new.reason or NO_ROUTE) if state is State.HELD else "",
    )


def leased(row: Row, token: int) -> Row:
    return replace(row, state=advance(row.state, Step.LEASE), token=token)


def is_owned(row: Row, outcome: Outcome) -> bool:
    """Whether an outcome is of the lease that the row is under; a stale token settles nothing."""
    return row.state is State.LEASED and bool(outcome.token) and row.token == outcome.token


def settled(row: Row, outcome: Outcome, now: float) -> Row:
    """The row after an attempt.  An outcome without status and reply keeps what was said before."""
    step = Step.CANCEL if row.cancelling and outcome.step is not Step.DELIVER else outcome.step
    state = advance(row.state, step)
    row = replace(
        row,
        lane=outcome.lane or row.lane,
        state=state,
        due=outcome.due if state in LEASABLE else row.due,
        token=0,
        attempts=row.attempts + outcome.tried,
        doubted=row.doubted or outcome.leaves_doubt,
        cancelling=False,
        settled_at=now,
        reason=outcome.reply if state in (State.HELD, State.PARKED) else "",
    )
    if not (outcome.status or outcome.reply):
        return row
    return replace(row, status=outcome.status, reply=outcome.reply, remote=outcome.remote)


def cancelled(row: Row, now: float) -> Row:
    """Ended now, or marked where an attempt owns it."""
    if row.state is State.LEASED:
        return replace(row, cancelling=True)
    return replace(row, state=advance(row.state, Step.CANCEL), settled_at=now, reason="")


def held(row: Row, reason: str) -> Row:
    return replace(row, state=advance(row.state, Step.HOLD), reason=reason)


def released(row: Row, now: float) -> Row:
    """Due now; what no attempt has touched yet waits for its time, which is its send_at."""
    step = Step.SALVAGE if row.state is State.PARKED else Step.RELEASE
    due = max(row.due, now) if row.settled_at is None else now
    return replace(row, state=advance(row.state, step), due=due, reason="")


def taken_as_delivered(row: Row, now: float) -> Row:
    """Ended as if the doubted attempt had been answered; the last word tells that somebody decided so."""
    said = row.reason if row.reason.startswith(IN_DOUBT) else row.reply
    reply = f"{TAKEN}: {said.removeprefix(f'{IN_DOUBT}: ')}"
    return replace(row, state=advance(row.state, Step.DELIVER), settled_at=now, reply=reply, reason="")


def made_due(row: Row, now: float, untried_until: float) -> Row:
    """Due now; what is due already keeps its place in the queue, and what no attempt has touched yet its send_at."""
    keeps_due = row.settled_at is None and row.due > untried_until
    return row if keeps_due else replace(row, due=min(row.due, now))


def back_on_the_wall(row: Row, ahead: float, now: float) -> Row:
    """What no attempt has touched, and waits for a time that was given while the clock was ahead of the wall."""
    return replace(row, due=max(now, row.due - ahead))


def message_on_the_wall(message: Message) -> Message:
    """The moments as they were given."""
    send_at, expires_at = message.send_at, message.expires_at
    return replace(
        message,
        accepted_at=message.accepted_at - message.ahead,
        send_at=None if send_at is None else send_at - message.ahead,
        expires_at=None if expires_at is None else expires_at - message.ahead,
        ahead=0.0,
    )


def moved(row: Row, lane: str | None, now: float) -> Row:
    """On another lane, or held for want of one.  The same row where nothing changes."""
    if lane is None:
        return replace(held(row, NO_ROUTE), lane=UNROUTED) if row.state in LEASABLE else row
    if row.state is State.HELD and row.reason.startswith(NO_ROUTE):
        return replace(released(row, now), lane=lane)
    return row if lane == row.lane else replace(row, lane=lane)


def recovered(row: Row, recover: Recover) -> Row:
    """The row after its engine died: in doubt where the hand-over may have been complete, which counts as a try."""
    doubted = recover.rebooted or row.token in recover.marked or not row.token  # whose attempt had it is lost: damage
    step = Step.CANCEL if row.cancelling else recover.doubt(row.lane) if doubted else Step.POSTPONE
    state = advance(row.state, step)
    return replace(
        row,
        state=state,
        token=0,
        attempts=row.attempts + doubted,
        doubted=row.doubted or doubted,
        cancelling=False,
        settled_at=recover.now if row.cancelling else row.settled_at,
        reason=f"{IN_DOUBT}: {CRASHED}" if state is State.HELD else row.reason,
    )


def is_torn(row: Row) -> bool:
    """Whether a row contradicts itself: a token is what a LEASED one has, and no other; what has its end was settled once."""
    return (row.state is State.LEASED) is not bool(row.token) or (row.state in ENDS and row.settled_at is None)


def untorn(row: Row, doubt: Callable[[str], Step], *, is_open: bool) -> Row:
    """A torn row as it goes on: what may have been delivered is in doubt.  doubt: as in Recover.

    is_open: its message counts it as unfinished, so an end that it shows never was.
    """
    if row.state in (State.WAITING, State.LEASED) or (is_open and row.state in ENDS):
        had = Recover(frozenset(), rebooted=True, now=row.due, doubt=doubt)
        after = recovered(replace(row, state=State.LEASED, settled_at=None if is_open else row.settled_at), had)
        return replace(after, reason=TORN) if after.state is State.HELD else after
    if row.state in ENDS or row.state is State.FAILED:
        return replace(row, token=0, settled_at=row.due if row.settled_at is None else row.settled_at)
    is_silent = row.state is State.HELD and (not row.reason or row.reason.startswith(NO_ROUTE))
    return replace(row, token=0, doubted=True, reason=TORN if is_silent else row.reason)


def restored(row: Row) -> Row:
    """In doubt, because the store is older than what was done with it; held, where it would go by itself."""
    if row.state in LEASABLE:
        return replace(held(row, HELD_SINCE), doubted=True)
    return replace(row, doubted=True, reason=HELD_SINCE if row.reason.startswith(NO_ROUTE) else row.reason)


def reported(row: Row, *, wanted: bool) -> Row:
    return replace(row, state=advance(row.state, Step.REPORT if wanted else Step.SILENCE))


def as_leased(row: Row) -> LeasedRecipient:
    return LeasedRecipient(row.number, row.address, row.attempts, row.doubted, row.notify, row.orcpt)


def as_stored(row: Row) -> StoredRecipient:
    return StoredRecipient(
        number=row.number,
        address=row.address,
        lane=row.lane,
        state=row.state,
        due=row.due,
        attempts=row.attempts,
        status=row.status,
        reply=row.reply,
        remote=row.remote,
        settled_at=row.settled_at,
        reason=row.reason,
        notify=row.notify,
        orcpt=row.orcpt,
        in_doubt=row.doubted,
    )


def lanes_of(changed: Iterable[Row]) -> tuple[LaneDue, ...]:
    """The lanes of these rows, by name, with the earliest of their due times."""
    earliest: dict[str, float] = {}
    for row in changed:
        earliest[row.lane] = min(row.due, earliest.get(row.lane, row.due))
    return tuple(LaneDue(lane, due) for lane, due in sorted(earliest.items()))


def folded(text: str) -> str:
    """ASCII letters in lower case, as domains compare (RFC 4343 section 3); SQLite's lower() does the same."""
    return text.translate(_ASCII_LOWER)


def address_suffix(domain: str) -> str:
    """What a folded address at `domain` ends in."""
    return "@" + folded(domain)


def state_filter(filter: Filter, legal: AbstractSet[State]) -> frozenset[State]:
    """The states an operation may touch: the legal ones, narrowed by the filter."""
    return frozenset(legal) & frozenset(filter.states) if filter.states else frozenset(legal)
