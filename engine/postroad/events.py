"""What observers are told: typed events, in the order in which they were committed.

Read them with `async with engine.events() as events`, or in a plugin with the `postroad_notice` hook.  A reader that
falls more than 1,000 events behind gets Missed(n) in their place.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "AttemptInDoubt",
    "Event",
    "LaneHeld",
    "LaneResumed",
    "MaybeDuplicate",
    "MessageAccepted",
    "Missed",
    "RecipientCancelled",
    "RecipientDeferred",
    "RecipientDelivered",
    "RecipientFailed",
    "RecipientHeld",
    "RemoteBounce",
    "RemoteComplaint",
    "RemoteDeferred",
    "RemoteDelivered",
    "RemoteUnsubscribe",
    "ReportQueued",
    "RingRestarted",
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    at: float  # wall seconds


class MessageAccepted(_Event, frozen=True, kw_only=True):
    """A message is durable in the spool."""

    id: str
    sender: str
    recipients: int
    size: int


class _OfRecipient(_Event, frozen=True, kw_only=True):
    """tls: the level of TLS that the attempt reached, as in `Verdict` ("" where it does not apply).

    in_doubt: this attempt, or one before it, may have delivered the message unseen.
    """

    id: str
    recipient: str
    lane: str = ""
    status: str = ""
    reply: str = ""
    remote: str = ""
    attempts: int = 0
    tls: str = ""
    in_doubt: bool = False


class RecipientDelivered(_OfRecipient, frozen=True, kw_only=True):
    """The next hop took responsibility, or a doubt was taken for that (`in_doubt`; `reply` says so).

    Where somebody decided so about held mail, lane, attempts and the rest are "" and 0 here.
    """


class RecipientDeferred(_OfRecipient, frozen=True, kw_only=True):
    """Tried (or postponed) without success; due: when it is tried again, wall seconds."""

    due: float


class AttemptInDoubt(_OfRecipient, frozen=True, kw_only=True):
    """The hand-over was completed and the answer not seen; due: when it is tried again."""

    due: float


class MaybeDuplicate(_OfRecipient, frozen=True, kw_only=True):
    """An attempt begins for a recipient that may have got the message already."""


class RecipientFailed(_OfRecipient, frozen=True, kw_only=True):
    """Proven undeliverable, or given up.  A report follows if one is wanted."""


class RecipientHeld(_OfRecipient, frozen=True, kw_only=True):
    """Held until somebody releases it; `reply` says why."""


class RecipientCancelled(_OfRecipient, frozen=True, kw_only=True):
    """Withdrawn by name.

    lane, attempts and the rest are told where an attempt was under way; what was only waiting ends without being read, so
    that they are "" and 0 here (`Engine.message` knows them).
    """


class ReportQueued(_Event, frozen=True, kw_only=True):
    """A report (report_id) on the message `id` is in the spool; kind: "failed" or "delayed"."""

    id: str
    report_id: str
    kind: str
    recipients: tuple[str, ...]


class RemoteBounce(_Event, frozen=True, kw_only=True):
    """A report that came back by mail, or (transport is not "") what a provider told later.

    id: our message that it speaks of, "" where it cannot be told.  It changes no outcome: the next hop had taken responsibility.
    """

    id: str
    recipient: str
    action: str
    status: str
    diagnostic: str
    transport: str = ""


class _OfRemote(_Event, frozen=True, kw_only=True):
    """What a provider told later of a recipient of ours; see docs/provider-events.md.  It changes no outcome."""

    id: str
    recipient: str
    transport: str
    status: str = ""
    diagnostic: str = ""


class RemoteDelivered(_OfRemote, frozen=True, kw_only=True):
    """The recipient's own server took it from the provider."""


class RemoteDeferred(_OfRemote, frozen=True, kw_only=True):
    """The provider could not hand it on yet, and tries again."""


class RemoteComplaint(_OfRemote, frozen=True, kw_only=True):
    """The recipient called it unwanted."""


class RemoteUnsubscribe(_OfRemote, frozen=True, kw_only=True):
    """The recipient wants no more of it, and said so to the provider."""


class LaneHeld(_Event, frozen=True, kw_only=True):
    """No attempts on a lane, nor on any other of its site, until a moment (None: until released).

    site: the servers behind the lane, or the lane itself where no verdict has named them.  lane, transport: whose mail met the
    trouble.  reason: "site trouble" (so many failures in a row) or "transport trouble" (refused credentials and the like: one
    is enough).  status, reply: what was said; mail that is postponed or given up by this hold repeats it.
    """

    lane: str
    until: float | None
    reason: str
    site: str = ""
    transport: str = ""
    status: str = ""
    reply: str = ""


class LaneResumed(_Event, frozen=True, kw_only=True):
    """Attempts again, on the lane and all others of its site.  lane: as in the LaneHeld before."""

    lane: str
    site: str = ""


class RingRestarted(_Event, frozen=True, kw_only=True):
    """The actors were stopped and started again after an internal error."""

    reason: str


class Missed(_Event, frozen=True, kw_only=True):
    """The reader was too slow: `count` events were dropped here."""

    count: int


Event: TypeAlias = (
    MessageAccepted
    | RecipientDelivered
    | RecipientDeferred
    | AttemptInDoubt
    | MaybeDuplicate
    | RecipientFailed
    | RecipientHeld
    | RecipientCancelled
    | ReportQueued
    | RemoteBounce
    | RemoteDelivered
    | RemoteDeferred
    | RemoteComplaint
    | RemoteUnsubscribe
    | LaneHeld
    | LaneResumed
    | RingRestarted
    | Missed
)
