"""SendGrid: POST /v3/mail/send, by fields.

Written from www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send and .../mail-send/errors, read 2026-11-27.

Envelope: SendGrid sends to all whom a personalization's to, cc and bcc name, and has no other way to name them.  So each
recipient gets a request of its own that names it alone in `to`; a message that shows others is refused, or shows each itself
(`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from postroad.verdict import Verdict

from .fields import addressed, check_tags, has_texts, json_call, unique_headers
from .letter import Box, Letter, Part
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import FieldTable
from .verdicts import accepted, refused

__all__ = ["SendGrid", "SendGridSettings"]

_FORBIDDEN = frozenset({"x-sg-id", "x-sg-eid", "received", "dkim-signature"})


class SendGridSettings(FieldTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "sendgrid": SendGrid. The secret is an API key for Mail Send."""

    region: Annotated[Literal["global", "eu"], Meta(description="Where the account (or subuser) is kept.")] = "global"
    ip_pool: Annotated[str, Meta(description="The pool of addresses to send from. Empty: SendGrid's choice.")] = ""


class _Error(msgspec.Struct):
    message: str
    field: str | None = None


class _Errors(msgspec.Struct):
    errors: Annotated[list[_Error], Meta(min_length=1)]


class SendGrid:
    """As `provider.Provider` says."""

    name = "sendgrid"
    title = "SendGrid"
    documentation = "https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send"
    read_on = "2026-11-27"
    able = Able(raw=False, recipients_per_call=1, message_bytes=29_000_000, schedules=True)  # 30 MB in all
    settings = SendGridSettings

    def base_url(self, settings: SendGridSettings) -> str:
        return "https://api.eu.sendgrid.com" if settings.region == "eu" else "https://api.sendgrid.com"

    def write(self, parcel: Parcel, settings: SendGridSettings) -> Call:
        letter = parcel.letter
        has_texts(letter)
        check_tags(parcel.tags, r".{1,255}", 10)
        table: dict[str, Any] = {
            "personalizations": [{"to": [_box(addressed(parcel, settings))]}],
            "from": _box(letter.author),
            "reply_to_list": [_box(box) for box in letter.reply_to],
            "subject": letter.subject,
            "content": _texts(letter),
            "attachments": [_attachment(part) for part in letter.parts],
            "headers": unique_headers(letter, _FORBIDDEN, message_id=True),
            "categories": list(dict.fromkeys(parcel.tags)),
            "custom_args": {"postroad_id": parcel.id} if settings.metadata else None,
            "ip_pool_name": settings.ip_pool,
        }
        headers = [("Authorization", f"Bearer {parcel.secret}")]
        return json_call(f"{parcel.base}/v3/mail/send", headers, table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        """202 and no body; the id stands in a header.  200 says that it was only looked at (a sandbox)."""
        id = answer.headers.get("x-message-id", "")
        if answer.status != 202 or not id:
            raise Unreadable("not 202 with X-Message-Id")
        return [accepted(id, 202)]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        """400 names the fields at fault; what names none is no proof."""
        found = answer.read(_Errors)
        if answer.status != 400 or found is None or not all(error.field for error in found.errors):
            return None
        return refused(answer, "; ".join(f"{error.field}: {error.message}" for error in found.errors))


def _box(box: Box) -> dict[str, str]:
    return {"email": box.address, "name": box.name} if box.name else {"email": box.address}


def _texts(letter: Letter) -> list[dict[str, str]]:
    """In the order that SendGrid wants; without those that are empty, which it refuses."""
    found = (("text/plain", letter.text), ("text/x-amp-html", letter.amp), ("text/html", letter.html))
    return [{"type": kind, "value": text} for kind, text in found if text]


def _attachment(part: Part) -> dict[str, Any]:
    """SendGrid takes no parameters in `type`."""
    found: dict[str, Any] = {
        "content": part.data,
        "type": part.kind,
        "filename": part.name,
        "disposition": "inline" if part.inline else "attachment",
    }
    return {**found, "content_id": part.cid} if part.cid else found
