"""May this submission come in?  Pure: the rules and what is queued are given, nothing is read.

Asked at the door by the engine and by doors of other processes, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..config import Limits, Senders
from ..errors import NotAuthorized, PostroadError, QueueFull, SubmissionError, SubmissionTooLarge
from ..store.contract import Tally

__all__ = [
    "Refusal",
    "check_hops",
    "check_queue",
    "check_sender",
    "check_size",
    "is_admin",
    "is_authorized",
    "refusal_error",
]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a plugin does not let a submission in: the field at fault and what to do."""

    field: str
    problem: str


def refusal_error(refusal: Refusal) -> SubmissionError:
    """The error that a plugin's refusal becomes."""
    return SubmissionError(refusal.field, refusal.problem)


def matches(pattern: str, address: str) -> bool:
    """Whether `*`, `*@domain`, `*@*.domain` or an exact address fits; domains without regard to case, local parts with."""
    if pattern == "*":
        return True
    pattern_local, _, pattern_domain = pattern.rpartition("@")
    local, _, domain = address.rpartition("@")
    pattern_domain, domain = pattern_domain.lower(), domain.lower()
    if pattern_local not in ("*", local):
        return False
    if pattern_domain.startswith("*."):
        return domain.endswith(pattern_domain[1:])
    return domain == pattern_domain and bool(domain)


def is_admin(address: str, rules: Senders) -> bool:
    """Whether an address is one of `[senders] admins`."""
    return any(matches(admin, address) for admin in rules.admins)


def is_authorized(sender: str, rules: Senders) -> bool:
    """Whether a return path may be used: an authorized sender or an administrator."""
    return any(matches(pattern, sender) for pattern in rules.authorized) or is_admin(sender, rules)


def check_sender(sender: str, rules: Senders) -> None:
    """Raise NotAuthorized, saying who is authorized and where to add one."""
    if is_authorized(sender, rules):
        return
    shown: Sequence[str] = rules.authorized[:5] or ("nobody",)
    more = f" and {len(rules.authorized) - 5} more" if len(rules.authorized) > 5 else ""
    raise NotAuthorized(
        "sender",
        f"{sender!r} is not an authorized sender (authorized: {', '.join(shown)}{more}); "
        "add it, or *@ its domain, to [senders] authorized",
    )


def check_size(size: int, limits: Limits) -> None:
    """Raise SubmissionTooLarge for more octets than `limits.message_bytes`."""
    if size > limits.message_bytes:
        raise SubmissionTooLarge(
            "content",
            f"the message has {size:,} octets, {limits.message_bytes:,} are allowed; "
            "send less, or raise [limits] message_bytes",
        )


def check_hops(hops: int, limits: Limits) -> None:
    """Raise SubmissionError for mail with more than `limits.hops` Received fields: it goes round (RFC 5321 section 6.3)."""
    if hops > limits.hops:
        raise SubmissionError(
            "content",
            f"it has passed {hops} servers, {limits.hops} are allowed: it goes round in a loop; "
            "end that, or raise [limits] hops",
        )


def check_queue(size: int, tally: Tally, limits: Limits, *, is_incoming: bool = False) -> PostroadError | None:
    """Return QueueFull if the message does not fit into the queue any more.  is_incoming: it came from outside."""
    who = "; mail from outside may fill nine tenths" if is_incoming else ""
    if tally.messages >= (limits.incoming_messages if is_incoming else limits.queue_messages):
        return QueueFull(
            f"{tally.messages:,} messages are queued, [limits] queue_messages allows {limits.queue_messages:,}{who}; "
            "try again later"
        )
    if tally.content_bytes + size > (limits.incoming_bytes if is_incoming else limits.queue_bytes):
        return QueueFull(
            f"{tally.content_bytes:,} octets are queued, [limits] queue_bytes allows {limits.queue_bytes:,}{who}; "
            "try again later"
        )
    return None
