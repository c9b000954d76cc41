"""Every value that passes between actors.  What a note carries, and from whom to whom, stands nowhere else.

Inside the ring notes travel in lists.  At most `in_flight.leases` leases exist, each in exactly one place, and every inbox
has room for all of them: sends inside the ring are `send_nowait` and never block.
They are Structs, because some are made for each message, and a frozen dataclass pays a call for each field; none of those is ever
part of a cycle, so the collector need not look at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import trio

from ..content import LeasedContent
from ..message import Message
from ..store.contract import LeasedRecipient, Outcome
from ..verdict import Verdict

if TYPE_CHECKING:
    from ..decide.routing import Road
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


class Lease(msgspec.Struct, eq=False, gc=False):
    """The right to try some recipients of one message on one lane.  Owned by whoever holds it; queue keeps the list of all.

    slot: the credit it uses, 0 to `in_flight.leases` - 1, and its place in the marks file; set by `LeaseBook.begin`.
    marked: the transport has begun to hand over (set by the transport through `DeliveryRequest.committing`).
    is_cut: the engine's end came before the attempt's; like verdicts written by delivery.
    verdicts: written by delivery before it passes the lease on, so that a crash of the ring does not throw them away.
    road, site: only used by policy, which looks them up once, when the lease comes.  site: between Attempt and Attempted.
    """

    token: int
    handle: int
    lane: str
    message: Message
    recipients: tuple[LeasedRecipient, ...]
    content: LeasedContent
    slot: int = -1
    delay_noticed: bool = False
    marked: bool = False
    is_cut: bool = False
    verdicts: Sequence[Verdict] | None = None
    road: Road | None = None
    site: Site | None = None


class Wake(msgspec.Struct, frozen=True):
    """Anybody -> queue: look at the intake and the store.  At most one is pending."""


class Room(msgspec.Struct, frozen=True):
    """policy -> queue: the lanes of a site may have so many leases in all; 0 while it is on hold.

    lane: a lane that belongs to the site from now on, or "".  A lane of which nothing was said is a site of its own.
    """

    site: str
    leases: int
    lane: str = ""


class Leased(msgspec.Struct, frozen=True):
    """queue -> policy: fresh leases; may they leave now?"""

    leases: list[Lease]


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """policy -> delivery: try this now, by this transport, within so many seconds."""

    lease: Lease
    transport: str
    domain: str | None
    seconds: float


class Attempted(msgspec.Struct, frozen=True, gc=False):
    """delivery -> policy: `lease.verdicts` says what happened."""

    lease: Lease


class Settled(msgspec.Struct, frozen=True, gc=False):
    """policy -> queue: what becomes of each recipient of a lease, in their order; the lease ends with it."""

    lease: Lease
    outcomes: tuple[Outcome, ...]


class Learnt(msgspec.Struct, frozen=True):
    """policy -> queue: keep this fact in the store with the next commit."""

    name: str
    value: bytes


class FailuresWaiting(msgspec.Struct, frozen=True):
    """queue -> bounce: the store has failures or delays to report."""


class Returned(msgspec.Struct, frozen=True):
    """application -> bounce: mail that came back, as it came.  done: set when it was read."""

    raw: bytes
    done: trio.Event


class Drain(msgspec.Struct, frozen=True):
    """engine -> queue: lease no more."""
