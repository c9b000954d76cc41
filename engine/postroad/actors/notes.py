"""Every value that passes between actors.  What a note carries, and from whom to whom, stands nowhere else.

Inside the ring notes travel in lists.  At most `in_flight.leases` leases exist, each in exactly one place, and every inbox
has room for all of them: sends inside the ring are `send_nowait` and never block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from ..content import LeasedContent
from ..message import Message
from ..store.contract import LeasedRecipient, Outcome
from ..verdict import Verdict

if TYPE_CHECKING:
    from .sites import Site

__all__ = [
    "Attempt",
    "Attempted",
    "Drain",
    "FailuresWaiting",
    "Learnt",
    "Lease",
    "Leased",
    "Returned",
    "Room",
    "Settled",
    "Wake",
]


@dataclass(slots=True, eq=False)
class Lease:
    """The right to try some recipients of one message on one lane.  Owned by whoever holds it; queue keeps the list of all.

    slot: the credit it uses, 0 to `in_flight.leases` - 1, and its place in the marks file.
    marked: the transport has begun to hand over (set by the transport through `DeliveryRequest.committing`).
    is_cut: the engine's end came before the attempt's; like verdicts written by delivery.
    verdicts: written by delivery before it passes the lease on, so that a crash of the ring does not throw them away.
    site: only used by policy, between Attempt and Attempted.
    """

    token: int
    slot: int
    handle: int
    lane: str
    message: Message
    recipients: tuple[LeasedRecipient, ...]
    content: LeasedContent
    delay_noticed: bool = False
    marked: bool = False
    is_cut: bool = False
    verdicts: Sequence[Verdict] | None = field(default=None, repr=False)
    site: Site | None = field(default=None, repr=False)


@dataclass(slots=True, frozen=True)
class Wake:
    """Anybody -> queue: look at the intake and the store.  At most one is pending."""


@dataclass(slots=True, frozen=True)
class Room:
    """policy -> queue: the lanes of a site may have so many leases in all; 0 while it is on hold.

    lane: a lane that belongs to the site from now on, or "".  A lane of which nothing was said is a site of its own.
    """

    site: str
    leases: int
    lane: str = ""


@dataclass(slots=True, frozen=True)
class Leased:
    """queue -> policy: fresh leases; may they leave now?"""

    leases: list[Lease]


@dataclass(slots=True, frozen=True)
class Attempt:
    """policy -> delivery: try this now, by this transport, within so many seconds."""

    lease: Lease
    transport: str
    domain: str | None
    seconds: float


@dataclass(slots=True, frozen=True)
class Attempted:
    """delivery -> policy: `lease.verdicts` says what happened."""

    lease: Lease


@dataclass(slots=True, frozen=True)
class Settled:
    """policy -> queue: what becomes of each recipient of a lease; the lease ends with it."""

    lease: Lease
    outcomes: tuple[Outcome, ...]


@dataclass(slots=True, frozen=True)
class Learnt:
    """policy -> queue: keep this fact in the store with the next commit."""

    name: str
    value: bytes


@dataclass(slots=True, frozen=True)
class FailuresWaiting:
    """queue -> bounce: the store has failures or delays to report."""


@dataclass(slots=True, frozen=True)
class Returned:
    """application -> bounce: mail that came back, as it came.  done: set when it was read."""

    raw: bytes
    done: trio.Event


@dataclass(slots=True, frozen=True)
class Drain:
    """engine -> queue: lease no more."""
