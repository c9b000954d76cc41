"""Mail from outside, for the application: read as it was handed over, and bounces told from it, on every road alike.

Pure; imports no trio.  Asked by `incoming.py`, where an engine runs, and by `offline.py`, where none does; `handover.py` looks
at what it is given by the same checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .address import parse_address
from .arguments import read_addresses, read_key
from .config import Limits
from .errors import ConfigError, SubmissionError, SubmissionTooLarge
from .message import BOUNCE_ADDRESS, Arrival, Kind

if TYPE_CHECKING:
    from .dsn import ReceivedReport
    from .store.contract import StoredMessage

__all__ = ["check_raw", "has_told", "no_callbacks", "read_arrival", "tells_bounce", "tells_failure"]


def check_raw(raw: Any, allowed: int) -> bytes:
    """The mail, if it is octets and at most so many as are allowed.  Raises SubmissionError (field "raw")."""
    if not isinstance(raw, bytes):
        raise SubmissionError("raw", f"must be the mail as bytes, not {type(raw).__name__}")
    if len(raw) > allowed:
        raise SubmissionTooLarge("raw", f"the mail has {len(raw):,} octets, [limits] message_bytes allows {allowed:,}")
    return raw


def read_arrival(sender: Any, recipients: Any, raw: Any, key: Any, limits: Limits) -> Arrival:
    """What `Engine.receive` was given, checked.  Raises SubmissionError, which names the argument."""
    check_raw(raw, limits.message_bytes)
    to = tuple(dict.fromkeys(read_addresses(recipients, "recipients")))
    if not to:
        raise SubmissionError("recipients", "there are none; give the addresses that the mail came for")
    if len(to) > limits.recipients:
        raise SubmissionError("recipients", f"there are {len(to):,}, [limits] recipients allows {limits.recipients:,}")
    if BOUNCE_ADDRESS in to:
        raise SubmissionError("recipients", f"{BOUNCE_ADDRESS} means bounces, and no mail comes for it")
    is_null = sender in ("", "<>")
    return Arrival(
        sender="" if is_null else str(parse_address(sender, "sender")), recipients=to, raw=raw, key=read_key(key)
    )


def no_callbacks() -> ConfigError:
    """What is said to who hands over mail where nobody is told of it."""
    return ConfigError("callbacks.transport", "name the transport that brings incoming mail to the application")


def tells_failure(report: ReceivedReport | None) -> bool:
    """Whether it says that mail was not delivered: no notice of delay or success, no complaint, no receipt of a reader."""
    if report is None or report.kind == "arf":
        return False
    return any(recipient.action == "failed" for recipient in report.recipients)


def tells_bounce(report: ReceivedReport | None) -> bool:
    """Whether the application is to be told of mail that is said to have come back: of failures, named or not."""
    return report is not None and (tells_failure(report) or report.kind == "other")


def has_told(stored: StoredMessage | None) -> bool:
    """Whether a message of this spool is a report whose application is told by itself: a copy of it is no news."""
    if stored is None or stored.message.kind is not Kind.REPORT:
        return False
    return any(recipient.address == BOUNCE_ADDRESS for recipient in stored.recipients)
