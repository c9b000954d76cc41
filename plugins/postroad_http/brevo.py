"""Brevo: POST /v3/smtp/email, by fields.

Written from developers.brevo.com/reference/sendtransacemail, read 2026-11-27.  Brevo writes a Message-ID of its own, makes the
names of header fields Title-Case, and fills its template language in: a text that holds its marks is refused.  It has no place
for inline parts, nor for a file's content type, which it takes from the name: a file whose name does not tell it is refused.

Envelope: Brevo sends to all whom to, cc and bcc name.  So each recipient gets a request of its own that names it alone in `to`;
a message that shows others is refused, or shows each itself (`others`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.header import Header
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
    unique_headers,
)
from .letter import Box, Part, Unfit
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import FieldTable
from .verdicts import accepted, deferred, refused

__all__ = ["Brevo", "BrevoSettings"]

_FORBIDDEN = frozenset({"sender", "sender.ip", "idempotency-key"})  # standard, and orders to Brevo
_SPECIALS = frozenset('()<>[]:;@\\,."')  # RFC 5322 section 3.2.3
_REFUSED = frozenset({"invalid_parameter", "missing_parameter", "out_of_range"})
_OURS = frozenset({"unauthorized", "permission_denied", "not_enough_credits", "account_under_validation"})


class BrevoSettings(FieldTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "brevo": Brevo, once Sendinblue. The secret is an API key."""


class _Taken(msgspec.Struct):
    id: str = msgspec.field(name="messageId")


class _Error(msgspec.Struct):
    code: str
    message: str = ""


class Brevo:
    """As `provider.Provider` says."""

    name = "brevo"
    title = "Brevo"
    documentation = "https://developers.brevo.com/reference/sendtransacemail"
    read_on = "2026-11-27"
    able = Able(raw=False, recipients_per_call=1, message_bytes=20_000_000, schedules=True)
    settings = BrevoSettings

    def base_url(self, settings: BrevoSettings) -> str:
        return "https://api.brevo.com"

    def write(self, parcel: Parcel, settings: BrevoSettings) -> Call:
        letter = parcel.letter
        has_texts(letter)
        check_no_amp(letter)
        check_no_marks(letter.subject, letter.text, letter.html)
        check_tags(parcel.tags, r".{1,255}", 10)
        check_one_reply(letter)
        headers = unique_headers(letter, _FORBIDDEN)
        _check_plain(headers)
        if settings.metadata:
            headers["X-Mailin-custom"] = parcel.id
        table: dict[str, Any] = {
            "sender": _box(letter.author),
            "to": [_box(addressed(parcel, settings))],
            "replyTo": _box(letter.reply_to[0], is_reply=True) if letter.reply_to else None,
            "subject": letter.subject,
            "textContent": letter.text,
            "htmlContent": letter.html,
            "attachment": [_attachment(part) for part in letter.parts],
            "headers": headers,
            "tags": parcel.tags,
        }
        return json_call(f"{parcel.base}/v3/smtp/email", [("api-key", parcel.secret)], table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        taken = answer.read(_Taken)
        if answer.status not in (201, 202) or taken is None:
            raise Unreadable("no messageId")
        return [accepted(taken.id, answer.status)]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        error = answer.read(_Error)
        if error is None:
            return None
        said = f"{error.code}: {error.message}"
        if error.code in _OURS:
            return deferred(answer, said, "4.7.8", scope=Scope.TRANSPORT, now=parcel.now)
        if answer.status == 400 and error.code in _REFUSED:
            return refused(answer, said)
        return None


def _box(box: Box, *, is_reply: bool = False) -> dict[str, str]:
    """Brevo drops a name with both letters beyond ASCII and signs of RFC 5322, and encodes none in Reply-To: such go encoded."""
    name = box.name
    if not name.isascii() and (is_reply or _SPECIALS.intersection(name)):
        name = Header(name, "utf-8", maxlinelen=1000).encode()
    return {"email": box.address, "name": name} if name else {"email": box.address}


def _check_plain(headers: Mapping[str, str]) -> None:
    """Brevo decodes encoded words in header fields and sends the result as it is, which servers refuse."""
    for name, value in headers.items():
        if "=?" in value:
            raise Unfit(f"the API breaks encoded words, and the header field {name} has one", field="headers")


def _attachment(part: Part) -> dict[str, Any]:
    if part.cid:
        raise Unfit(f"the API has no place for the content id of {part.name}", field="attachments")
    check_name_says_kind(part)
    return {"content": part.data, "name": part.name}
