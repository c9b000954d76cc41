"""Resend: POST /emails, by fields.

Written from resend.com/docs/api-reference/emails/send-email, .../api-reference/errors and .../dashboard/emails/idempotency-keys,
read 2026-11-27.  Resend writes a Message-ID of its own.

Idempotency: a key of message and recipient; for 24 hours the same request again brings the first one's answer and no second mail.
Envelope: Resend sends to all whom to, cc and bcc name.  So each recipient gets a request of its own that names it alone in `to`;
a message that shows others is refused, or shows each itself (`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from postroad.verdict import Scope, Verdict

from .fields import (
    addressed,
    check_name_denies_no_kind,
    check_no_amp,
    check_tags,
    formatted,
    has_texts,
    json_call,
    unique_headers,
)
from .letter import Part
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import FieldTable
from .verdicts import accepted, deferred, refused

__all__ = ["Resend", "ResendSettings"]

_REFUSED = {400: frozenset({"validation_error"})}
_REFUSED[422] = frozenset(
    {"validation_error", "missing_required_field", "invalid_attachment", "invalid_parameter", "invalid_from_address"}
)


class ResendSettings(FieldTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "resend": Resend. The secret is an API key for sending."""


class _Taken(msgspec.Struct):
    id: str


class _Error(msgspec.Struct):
    name: str
    message: str = ""


class Resend:
    """As `provider.Provider` says."""

    name = "resend"
    title = "Resend"
    documentation = "https://resend.com/docs/api-reference/emails/send-email"
    read_on = "2026-11-27"
    able = Able(raw=False, recipients_per_call=1, message_bytes=29_000_000, idempotent=True)  # 40 MB as base64
    settings = ResendSettings

    def base_url(self, settings: ResendSettings) -> str:
        return "https://api.resend.com"

    def write(self, parcel: Parcel, settings: ResendSettings) -> Call:
        letter = parcel.letter
        has_texts(letter)
        check_no_amp(letter)
        table: dict[str, Any] = {
            "from": formatted(letter.author),
            "to": [formatted(addressed(parcel, settings))],
            "reply_to": [formatted(box) for box in letter.reply_to],
            "subject": letter.subject,
            "text": letter.text,
            "html": letter.html,
            "attachments": [_attachment(part) for part in letter.parts],
            "headers": unique_headers(letter),
            "tags": _tags(parcel, settings),
        }
        headers = [("Authorization", f"Bearer {parcel.secret}"), ("Idempotency-Key", parcel.key)]
        return json_call(f"{parcel.base}/emails", headers, table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        taken = answer.read(_Taken)
        if taken is None:
            raise Unreadable("no id")
        return [accepted(taken.id, answer.status)]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        """409: the same key is under way, or was used for another request; neither proves anything of this mail."""
        error = answer.read(_Error)
        if error is None:
            return None
        said = f"{error.name}: {error.message}"
        if error.name in _REFUSED.get(answer.status, ()):
            return refused(answer, said)
        if answer.status == 429:  # of a second, a day or a month
            return deferred(answer, said, "4.7.1", scope=Scope.SITE, now=parcel.now)
        return None


def _tags(parcel: Parcel, settings: ResendSettings) -> list[dict[str, str]]:
    check_tags(parcel.tags, r"[A-Za-z0-9_-]{1,256}", 9)
    found = [{"name": f"tag{place}", "value": tag} for place, tag in enumerate(parcel.tags, 1)]
    return [*found, {"name": "postroad_id", "value": parcel.id}] if settings.metadata else found


def _attachment(part: Part) -> dict[str, Any]:
    """Resend takes, and silently drops, a message with a file whose name says another kind than its content type."""
    check_name_denies_no_kind(part)
    found: dict[str, Any] = {
        "content": part.data,
        "filename": part.name,
        "content_type": part.kind_and_parameters,
    }
    return {**found, "content_id": part.cid} if part.cid else found
