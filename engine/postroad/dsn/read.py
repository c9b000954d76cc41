"""Reads what comes back: delivery reports (RFC 3464, RFC 6533), complaints (ARF, RFC 5965), and other bounces.

It takes any octets and never raises; size, depth, parts, fields and recipients are bounded.  What it says is a stranger's
claim: anybody can write a report.  Believe it only for a message that was sent to that very address (the caller's duty).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from ..log import printable
from .forms import decode_utf8_address
from .mime import Fields, Part, parts_of, read_fields

__all__ = ["ReceivedRecipient", "ReceivedReport", "read_report"]

_MAX_RECIPIENTS = 1000  # we mail 100 at a time; others may not
_MAX_ADDRESS = 320  # 64 + "@" + 255 (RFC 5321 section 4.5.3.1)

Kind: TypeAlias = Literal["dsn", "arf", "other"]


class ReceivedRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient as the report has it.

    address: as we wrote it (Original-Recipient) where the report tells that, else where it ended (Final-Recipient).
    action: "failed", "delayed", "delivered", "relayed", "expanded"; for a complaint its type, such as "abuse"; or "".
    """

    address: str
    action: str = ""
    status: str = ""
    diagnostic: str = ""


class ReceivedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a returned mail claims.

    kind: a delivery report, a complaint, or a bounce in a form of its own (recipients only where it names them plainly).
    our_id: our message that it seems to speak of, by its envelope id or Message-ID; "" where neither has our form.
    own_id: our report that it seems to be, by its own Message-ID; "" likewise.
    """

    kind: Kind
    envid: str = ""
    original_message_id: str = ""
    recipients: tuple[ReceivedRecipient, ...] = ()
    our_id: str = ""
    own_id: str = ""


def read_report(raw: bytes) -> ReceivedReport | None:
    """Read a returned mail; None where it is no report."""
    header, parts = parts_of(raw)
    report = _read(header, parts)
    if report is None:
        return None
    return msgspec.structs.replace(report, own_id=next(_our_ids(_message_id(header.get("message-id"))), ""))


def _read(header: Fields, parts: list[Part]) -> ReceivedReport | None:
    by_type = {part.type: part for part in reversed(parts)}  # the first of each type
    status = by_type.get("message/delivery-status") or by_type.get("message/global-delivery-status")
    feedback = by_type.get("message/feedback-report")
    returned = _returned_message_id(parts)
    if feedback and (complaint := _read_complaint(feedback, returned)):
        return complaint
    if status and (report := _read_status(status, returned)):
        return report
    if _looks_like_bounce(header, parts):
        return _read_other(header, parts, returned)
    return None


# --- Delivery reports ---


def _read_status(part: Part, message_id: str) -> ReceivedReport | None:
    about_message, *groups = part.groups(_MAX_RECIPIENTS + 1) or [Fields()]
    if "final-recipient" in about_message or "original-recipient" in about_message:
        groups.insert(0, about_message)  # some writers forget the empty line
    recipients = tuple(_read_recipient(group) for group in groups[:_MAX_RECIPIENTS] if _has_recipient(group))
    if not recipients:
        return None
    envid = printable(about_message.get("original-envelope-id"), 100)
    return _report("dsn", message_id, recipients, envid)


def _has_recipient(group: Fields) -> bool:
    return "final-recipient" in group or "original-recipient" in group


def _read_recipient(group: Fields) -> ReceivedRecipient:
    original = _address(group.get("original-recipient"))
    status = re.search(r"[245]\.\d{1,3}\.\d{1,3}", group.get("status"))
    action = re.match(r"[A-Za-z-]{1,40}", group.get("action"))
    return ReceivedRecipient(
        address=original or _address(group.get("final-recipient")),
        action=action[0].lower() if action else "",
        status=status[0] if status else "",
        diagnostic=printable(_untyped(group.get("diagnostic-code"))),
    )


def _address(value: str) -> str:
    kind, semicolon, address = value.partition(";")
    if not semicolon:
        kind, address = "", value
    address = address.strip().removeprefix("<").removesuffix(">")
    if kind.strip().lower() == "utf-8":
        address = decode_utf8_address(address[: 8 * _MAX_ADDRESS])
    return printable(address, _MAX_ADDRESS)


def _untyped(value: str) -> str:
    kind, semicolon, text = value.partition(";")
    return text.strip() if semicolon and re.fullmatch(r"\s*[A-Za-z0-9-]{1,40}\s*", kind) else value


# --- Complaints (RFC 5965 section 3) ---

_ONCE = ("feedback-type", "user-agent", "version")
_AT_MOST_ONCE = (
    "original-envelope-id",
    "original-mail-from",
    "reporting-mta",
    "source-ip",
    "incidents",
    "arrival-date",
    "received-date",
)


def _read_complaint(part: Part, message_id: str) -> ReceivedReport | None:
    fields = (part.groups(1) or [Fields()])[0]
    if not _is_well_formed(fields):
        return None
    kind = printable(fields.get("feedback-type").lower(), 40)
    recipients = tuple(
        ReceivedRecipient(address=_address(value), action=kind)
        for value in fields.all("original-rcpt-to")[:_MAX_RECIPIENTS]
    )
    return _report("arf", message_id, recipients, printable(fields.get("original-envelope-id"), 100))


def _is_well_formed(fields: Fields) -> bool:
    """As strict as the RFC: somebody may stop mailing an address because of it."""
    return (
        all(len(fields.all(name)) == 1 for name in _ONCE)
        and all(len(fields.all(name)) <= 1 for name in _AT_MOST_ONCE)
        and not ("arrival-date" in fields and "received-date" in fields)
    )


# --- Bounces without a machine-readable part ---

_DAEMON = re.compile(r"\b(?:mailer-daemon|mail delivery (?:sub)?system|postmaster)\b", re.IGNORECASE)


def _looks_like_bounce(header: Fields, parts: list[Part]) -> bool:
    if "x-failed-recipients" in header or any(part.type == "multipart/report" for part in parts):
        return True
    return bool(_DAEMON.search(header.get("from"))) and _is_automatic(header)


def _is_automatic(header: Fields) -> bool:
    """RFC 3834 section 5: only the keyword decides.  Old mailers give a null return path instead."""
    keyword = header.get("auto-submitted").partition(";")[0].strip().lower()
    return keyword not in ("", "no") or header.get("return-path").strip() == "<>"


def _read_other(header: Fields, parts: list[Part], message_id: str) -> ReceivedReport:
    names = header.get("x-failed-recipients").split(",", _MAX_RECIPIENTS)[:_MAX_RECIPIENTS]
    recipients = tuple(ReceivedRecipient(address=_address(name), action="failed") for name in names if name.strip())
    found = message_id or _quoted_message_id(parts) or _message_id(header.get("in-reply-to"))
    return _report("other", found, recipients)


def _quoted_message_id(parts: list[Part]) -> str:
    """The Message-ID of mail that an old bounce quotes in its text."""
    texts = (part.text() for part in parts if part.type == "text/plain")
    matches = (re.search(r"^[ \t>]*Message-ID:[ \t]*(<[^<>\s]{1,900}>)", text, re.I | re.M) for text in texts)
    return next((_message_id(match[1]) for match in matches if match), "")


# --- What all have in common ---

_RETURNED = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
_OUR_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{20}")  # as minted by message.new_message_id


def _returned_message_id(parts: list[Part]) -> str:
    returned = (part for part in parts if part.type in _RETURNED)
    return next((_message_id(read_fields(part.text()).get("message-id")) for part in returned), "")


def _message_id(value: str) -> str:
    match = re.search(r"<([^<>\s]{1,900})>", value)
    return printable(match[1], 998) if match else ""


def _report(kind: Kind, message_id: str, recipients: Iterable[ReceivedRecipient], envid: str = "") -> ReceivedReport:
    return ReceivedReport(
        kind=kind,
        envid=envid,
        original_message_id=message_id,
        recipients=tuple(recipients),
        our_id=next(_our_ids(message_id, envid), ""),
    )


def _our_ids(message_id: str, envid: str = "") -> Iterator[str]:
    for candidate in (envid, message_id.partition("@")[0]):
        if _OUR_ID.fullmatch(candidate):
            yield candidate
