"""Postmark: POST /email, by fields; POST /email/batch for several messages.

Written from postmarkapp.com/developer/api/email-api, .../developer/api/overview (error codes) and
.../developer/user-guide/send-email-with-api/batch-emails; sizes, which count once encoded: .../support/article/1056; read
2026-11-27.  A batch is answered with 200 and a result for each message, in order; a bad one harms no other.

Envelope: Postmark sends to all whom To, Cc and Bcc name.  So each recipient gets a request of its own that names it alone in
`To`; a message that shows others is refused, or shows each itself (`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from postroad.verdict import Scope, Verdict

from .fields import addressed, check_no_amp, check_tags, formatted, has_texts, json_call
from .letter import Letter, Part
from .provider import Able, Answer, Call, Parcel, Unreadable, joined_array
from .settings import BatchTable, check_word
from .verdicts import accepted, deferred, refused

__all__ = ["Postmark", "PostmarkSettings"]

_INVALID, _INACTIVE, _FORBIDDEN_FILE = 300, 406, 411
_OURS = frozenset({10, 405, 412, 413})  # token; not allowed to send; account pending; account may not send
_SENDER = frozenset({400, 401})  # the sender's signature is not there, or not confirmed


class PostmarkSettings(BatchTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "postmark": Postmark. The secret is a server's API token."""

    batch: Annotated[
        int,
        Meta(description="Messages that may share a request, where several wait. 1: each goes alone.", ge=1, le=500),
    ] = 500
    message_stream: Annotated[
        str, Meta(description="The message stream, such as `outbound` or `broadcast`. Empty: Postmark's default.")
    ] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.message_stream:
            check_word("message_stream", self.message_stream)


class _Said(msgspec.Struct):
    ErrorCode: int
    Message: str = ""
    MessageID: str = ""


class Postmark:
    """As `provider.Provider` says."""

    name = "postmark"
    title = "Postmark"
    documentation = "https://postmarkapp.com/developer/api/email-api"
    read_on = "2026-11-27"
    able = Able(raw=False, recipients_per_call=1, message_bytes=10_000_000)
    settings = PostmarkSettings
    call_bytes = 50_000_000

    def base_url(self, settings: PostmarkSettings) -> str:
        return "https://api.postmarkapp.com"

    def write(self, parcel: Parcel, settings: PostmarkSettings) -> Call:
        letter = parcel.letter
        has_texts(letter)
        check_no_amp(letter)
        check_tags(parcel.tags, r".{1,80}", 9)
        table: dict[str, Any] = {
            "From": formatted(letter.author),
            "To": formatted(addressed(parcel, settings)),
            "ReplyTo": ", ".join(map(formatted, letter.reply_to)),
            "Subject": letter.subject,
            "TextBody": letter.text,
            "HtmlBody": letter.html,
            "Attachments": [_attachment(part) for part in letter.parts],
            "Headers": _headers(letter),
            "Tag": parcel.tags[0] if parcel.tags else "",
            "Metadata": _metadata(parcel, settings),
            "MessageStream": settings.message_stream,
        }
        return json_call(f"{parcel.base}/email", [("X-Postmark-Server-Token", parcel.secret)], table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        said = answer.read(_Said)
        if answer.status != 200 or said is None or said.ErrorCode != 0 or not said.MessageID:
            raise Unreadable("no MessageID")
        return [accepted(f"{said.Message} {said.MessageID}")]

    def join(self, calls: Sequence[Call]) -> Call:
        newest = calls[-1]
        return Call(f"{newest.url}/batch", newest.headers, joined_array(calls))

    def split(self, answer: Answer, number: int) -> Sequence[Answer] | None:
        results, texts = answer.read(list[_Said]), answer.read(list[msgspec.Raw])
        if answer.status != 200 or results is None or texts is None or len(results) != number:
            return None
        return [
            Answer(422 if result.ErrorCode else 200, answer.headers, bytes(text))
            for result, text in zip(results, texts, strict=True)
        ]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        error = answer.read(_Said)
        if answer.status != 422 or error is None:
            return None
        code, said = error.ErrorCode, f"{error.ErrorCode}: {error.Message}"
        if code in _OURS:
            return deferred(answer, said, "4.7.8", scope=Scope.TRANSPORT, now=parcel.now)
        if code == _INACTIVE:  # it bounced or complained before
            return refused(answer, said, "5.7.1", scope=Scope.RECIPIENT)
        if code in (_INVALID, _FORBIDDEN_FILE):
            return refused(answer, said)
        return deferred(answer, said, "4.7.1" if code in _SENDER else "4.5.0", now=parcel.now)


def _headers(letter: Letter) -> list[dict[str, str]]:
    found = [{"Name": name, "Value": value} for name, value in letter.headers]
    if letter.message_id:  # Postmark writes its own unless it is told to keep ours
        found.append({"Name": "Message-ID", "Value": letter.message_id})
        found.append({"Name": "X-PM-KeepID", "Value": "true"})
    return found


def _metadata(parcel: Parcel, settings: PostmarkSettings) -> dict[str, str]:
    """Postmark has one tag a message: the others go here."""
    found = {f"tag_{place}": tag for place, tag in enumerate(parcel.tags[1:], 2)}
    return {**found, "postroad_id": parcel.id} if settings.metadata else found


def _attachment(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"Name": part.name, "Content": part.data, "ContentType": part.kind_and_parameters}
    return {**found, "ContentID": f"cid:{part.cid}"} if part.cid else found
