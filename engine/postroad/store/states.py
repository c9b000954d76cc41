"""The states of a recipient and every legal step between them: the one table, asserted by every store.

The picture in docs/life-of-a-message.md is drawn from it.  An illegal step fails here and nowhere else.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ENDS", "LEASABLE", "TRANSITIONS", "IllegalStep", "State", "Step", "advance", "sources"]


class State(enum.IntEnum):
    """Where one recipient of one message stands.  The numbers are kept in spools: never reuse one."""

    WAITING = 0  # for its time, a free credit and room on its lane
    IN_DOUBT = 1  # perhaps handed over: tried again like WAITING, and logged maybe_duplicate
    LEASED = 2  # an attempt owns it
    HELD = 3  # until somebody releases it (no route: until there is one)
    PARKED = 4  # its row cannot be read
    FAILED = 5  # proven undeliverable or given up; its report is not committed yet
    ACCEPTED = 6  # end: the next hop took responsibility
    REPORTED = 7  # end: failed, and the report is in the spool
    UNREPORTED = 8  # end: failed, and nobody wants a report (null sender, NOTIFY=NEVER)
    CANCELLED = 9  # end: withdrawn by name


class Step(enum.Enum):
    """What can happen to a recipient."""

    LEASE = "lease"  # an attempt takes it
    DELIVER = "deliver"  # the next hop said yes, or a doubt is taken for that
    DEFER = "defer"  # tried, and to be tried again
    POSTPONE = "postpone"  # not tried: given back unharmed
    DOUBT = "doubt"  # the answer to a completed hand-over was not seen
    FAIL = "fail"  # proven permanent, or given up
    HOLD = "hold"
    RELEASE = "release"  # a hold ends
    CANCEL = "cancel"
    PARK = "park"
    SALVAGE = "salvage"  # a parked row became readable again
    REPORT = "report"  # the failure report is committed with this step
    SILENCE = "silence"  # no report is wanted


_S = State

TRANSITIONS: Mapping[tuple[State, Step], State] = MappingProxyType(
    {
        (_S.WAITING, Step.LEASE): _S.LEASED,
        (_S.WAITING, Step.FAIL): _S.FAILED,
        (_S.WAITING, Step.HOLD): _S.HELD,
        (_S.WAITING, Step.CANCEL): _S.CANCELLED,
        (_S.WAITING, Step.PARK): _S.PARKED,
        (_S.IN_DOUBT, Step.LEASE): _S.LEASED,
        (_S.IN_DOUBT, Step.DELIVER): _S.ACCEPTED,
        (_S.IN_DOUBT, Step.FAIL): _S.FAILED,
        (_S.IN_DOUBT, Step.HOLD): _S.HELD,
        (_S.IN_DOUBT, Step.CANCEL): _S.CANCELLED,
        (_S.IN_DOUBT, Step.PARK): _S.PARKED,
        (_S.LEASED, Step.DELIVER): _S.ACCEPTED,
        (_S.LEASED, Step.DEFER): _S.WAITING,
        (_S.LEASED, Step.POSTPONE): _S.WAITING,
        (_S.LEASED, Step.DOUBT): _S.IN_DOUBT,
        (_S.LEASED, Step.FAIL): _S.FAILED,
        (_S.LEASED, Step.HOLD): _S.HELD,
        (_S.LEASED, Step.CANCEL): _S.CANCELLED,
        (_S.LEASED, Step.PARK): _S.PARKED,
        (_S.HELD, Step.RELEASE): _S.WAITING,
        (_S.HELD, Step.DELIVER): _S.ACCEPTED,
        (_S.HELD, Step.FAIL): _S.FAILED,
        (_S.HELD, Step.CANCEL): _S.CANCELLED,
        (_S.HELD, Step.PARK): _S.PARKED,
        (_S.PARKED, Step.SALVAGE): _S.WAITING,
        (_S.PARKED, Step.CANCEL): _S.CANCELLED,
        (_S.PARKED, Step.FAIL): _S.FAILED,
        (_S.FAILED, Step.REPORT): _S.REPORTED,
        (_S.FAILED, Step.SILENCE): _S.UNREPORTED,
    }
)

ENDS = frozenset({State.ACCEPTED, State.REPORTED, State.UNREPORTED, State.CANCELLED})
LEASABLE = frozenset({State.WAITING, State.IN_DOUBT})


class IllegalStep(AssertionError):
    """A bug: somebody asked for a step that the table does not know."""


def advance(state: State, step: Step) -> State:
    """Return the state after `step`; raise IllegalStep where the table has none."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise IllegalStep(f"{step.name} is not a step from {state.name}") from None


def sources(step: Step) -> frozenset[State]:
    """The states from which `step` is legal."""
    return frozenset(state for state, known in TRANSITIONS if known is step)
