"""MailerSend: POST /v1/email, by fields.

Written from developers.mailersend.com/api/v1/email.html and .../general.html, and www.mailersend.com/help/rest-api-response-codes
(ALL_SUPPRESSED), read 2026-11-27.  It writes a Message-ID of its own, and fills its template language in: a text that holds its
marks is refused.  It takes a file's content type from its name.  Custom header fields need a plan that has them.

Envelope: MailerSend sends to all whom to, cc and bcc name.  So each recipient gets a request of its own that names it alone in
`to`; a message that shows others is refused, or shows each itself (`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from postroad.verdict import Scope, Verdict

from .fields import (
    addressed,
    check_name_says_kind,
    check_no_amp,
    check_no_marks,
    check_one_reply,
    check_tags,
    has_texts,
    json_call,
)
from .letter import Box, Letter, Part
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import FieldTable
from .verdicts import accepted, refused

__all__ = ["MailerSend", "MailerSendSettings"]

_SUPPRESSED = "ALL_SUPPRESSED"


class MailerSendSettings(FieldTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "mailersend": MailerSend. The secret is an API token."""


class _Warning(msgspec.Struct):
    type: str


class _Taken(msgspec.Struct):
    warnings: list[_Warning] = []


class _Error(msgspec.Struct):
    message: str
    errors: dict[str, list[str]]


class MailerSend:
    """As `provider.Provider` says."""

    name = "mailersend"
    title = "MailerSend"
    documentation = "https://developers.mailersend.com/api/v1/email.html"
    read_on = "2026-11-27"
    able = Able(raw=False, recipients_per_call=1, message_bytes=25_000_000, schedules=True)
    settings = MailerSendSettings

    def base_url(self, settings: MailerSendSettings) -> str:
        return "https://api.mailersend.com"

    def write(self, parcel: Parcel, settings: MailerSendSettings) -> Call:
        letter = parcel.letter
        has_texts(letter)
        check_no_amp(letter)
        check_no_marks(letter.subject, letter.text, letter.html)
        check_tags(parcel.tags, r".{1,191}", 4 if settings.metadata else 5)
        check_one_reply(letter)
        table: dict[str, Any] = {
            "from": _box(letter.author),
            "to": [_box(addressed(parcel, settings))],
            "reply_to": _box(letter.reply_to[0]) if letter.reply_to else None,
            "subject": letter.subject,
            "text": letter.text,
            "html": letter.html,
            "attachments": [_attachment(part) for part in letter.parts],
            "headers": _headers(letter),
            "tags": [*parcel.tags, *([f"postroad_id:{parcel.id}"] if settings.metadata else [])],
        }
        return json_call(f"{parcel.base}/v1/email", [("Authorization", f"Bearer {parcel.secret}")], table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        """202, the id in a header, and nothing in the body but for warnings: the recipient may be on a list of the blocked."""
        id = answer.headers.get("x-message-id", "")
        taken = answer.read(_Taken) if answer.body else _Taken()
        if answer.status != 202 or taken is None:
            raise Unreadable("not 202")
        if any(warning.type == _SUPPRESSED for warning in taken.warnings):
            return [refused(answer, f"{_SUPPRESSED}: the recipient is suppressed", "5.7.1", scope=Scope.RECIPIENT)]
        if not id:
            raise Unreadable("no X-Message-Id")
        return [accepted(id, 202)]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        """422 names the fields at fault.  The sender's domain is ours to mend, and no fault of the message."""
        error = answer.read(_Error)
        if answer.status != 422 or error is None or not error.errors:
            return None
        if any(name.startswith("from") for name in error.errors):
            return None
        return refused(answer, error.message)


def _box(box: Box) -> dict[str, str]:
    return {"email": box.address, "name": box.name} if box.name else {"email": box.address}


def _headers(letter: Letter) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in letter.headers]


def _attachment(part: Part) -> dict[str, Any]:
    check_name_says_kind(part)
    found: dict[str, Any] = {
        "content": part.data,
        "filename": part.name,
        "disposition": "inline" if part.inline else "attachment",
    }
    return {**found, "id": part.cid} if part.cid else found
