"""Resend: POST /emails, by fields; POST /emails/batch for several messages, where the settings say so.

Written from resend.com/docs/api-reference/emails/send-email and send-batch-emails, .../api-reference/errors,
.../dashboard/emails/idempotency-keys, .../batch-sending and resend.com/changelog/batch-validation-modes, read 2026-11-27.
Resend writes a Message-ID of its own.  A batch takes no files.

Idempotency: a key of message and recipient; for 24 hours the same request again brings the first one's answer and no second
mail.  A key belongs to a request, and a batch would not come together the same again: so unless told to, each goes alone.
Envelope: Resend sends to all whom to, cc and bcc name.  So each recipient gets a request of its own that names it alone in `to`;
a message that shows others is refused, or shows each itself (`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

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
from .provider import Able, Answer, Call, Parcel, Unreadable, joined_array
from .settings import BatchTable
from .verdicts import accepted, deferred, refused

__all__ = ["Resend", "ResendSettings"]

_REFUSED = {400: frozenset({"validation_error"})}
_REFUSED[422] = frozenset(
    {"validation_error", "missing_required_field", "invalid_attachment", "invalid_parameter", "invalid_from_address"}
)


class ResendSettings(BatchTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "resend": Resend. The secret is an API key for sending."""

    batch: Annotated[
        int,
        Meta(
            description="Messages that may share a request, where several wait. 1: each goes alone, and bears an idempotency "
            "key, which a request for several has not: one in doubt that is sent again may then arrive twice.",
            ge=1,
            le=100,
        ),
    ] = 1


class _Taken(msgspec.Struct):
    id: str


class _Error(msgspec.Struct):
    name: str
    message: str = ""


class _Invalid(msgspec.Struct):
    index: int
    message: str


class _Batch(msgspec.Struct):
    data: list[_Taken]
    errors: list[_Invalid] = []


class Resend:
    """As `provider.Provider` says."""

    name = "resend"
    title = "Resend"
    documentation = "https://resend.com/docs/api-reference/emails/send-email"
    read_on = "2026-11-27"
    able = Able(
        raw=False, recipients_per_call=1, message_bytes=29_000_000, idempotent=True, schedules=True
    )  # 40 MB as base64
    settings = ResendSettings
    call_bytes = 40_000_000  # as of one message; of a batch it says nothing

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
        call = json_call(f"{parcel.base}/emails", headers, table)
        return msgspec.structs.replace(call, is_loner=bool(letter.parts))

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        taken = answer.read(_Taken)
        if taken is None:
            raise Unreadable("no id")
        return [accepted(taken.id, answer.status)]

    def join(self, calls: Sequence[Call]) -> Call:
        """In permissive mode, where one that is invalid harms no other."""
        newest = calls[-1]
        headers = [header for header in newest.headers if header[0] != "Idempotency-Key"]
        return Call(f"{newest.url}/batch", (*headers, ("x-batch-validation", "permissive")), joined_array(calls))

    def split(self, answer: Answer, number: int) -> Sequence[Answer] | None:
        """The ids of those that were taken, in order, and by their places those that were not."""
        batch = answer.read(_Batch)
        if answer.status != 200 or batch is None:
            return None
        errors = {error.index: error.message for error in batch.errors}
        if len(batch.data) + len(errors) != number or not all(0 <= place < number for place in errors):
            return None
        ids = iter(batch.data)
        return [_part_of(answer, errors[at] if at in errors else next(ids)) for at in range(number)]

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


def _part_of(answer: Answer, part: _Taken | str) -> Answer:
    if isinstance(part, _Taken):
        return Answer(200, answer.headers, msgspec.json.encode(part))
    return Answer(422, answer.headers, msgspec.json.encode(_Error("validation_error", part)))


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
