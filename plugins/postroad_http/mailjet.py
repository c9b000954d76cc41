"""Mailjet: POST /v3.1/send, by fields, for up to 50 messages.

Written from dev.mailjet.com/email/guides/send-api-v31, .../docs/email-api/email_api_overview/status_codes,
.../docs/smtp_relay/custom_headers and .../reference/email/send-emails (50 a call), read 2026-11-27.  A failed message stops
no other of its request.  Mailjet writes a Message-ID of its own.  It has no tags: they go into EventPayload, which its events
bring back.  Header fields that are orders to Mailjet are refused.  Unconfirmed: which others it refuses, and 15 MB as the
most of a message and of a request.

Envelope: Mailjet sends to all whom To, Cc and Bcc name.  So each recipient gets a request of its own that names it alone in
`To`; a message that shows others is refused, or shows each itself (`others`).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from postroad.verdict import Verdict

from .fields import addressed, check_no_amp, check_one_reply, has_texts, json_call, unique_headers
from .letter import Box, Part, Unfit
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import BatchTable, check_word
from .verdicts import accepted, refused

__all__ = ["Mailjet", "MailjetSettings"]

_ORDERS = frozenset(
    {
        "x-mailjet-campaign",
        "x-mailjet-deduplicatecampaign",
        "x-mailjet-prio",
        "x-mailjet-trackclick",
        "x-mailjet-trackopen",
        "x-mj-customid",
        "x-mj-eventpayload",
        "x-mj-templateid",
        "x-mj-templatelanguage",
        "x-mj-vars",
    }
)


class MailjetSettings(BatchTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "mailjet": Mailjet. The secret is the secret key."""

    batch: Annotated[
        int, Meta(description="Messages that may share a request, where several wait. 1: each goes alone.", ge=1, le=50)
    ] = 50
    public_key: Annotated[str, Meta(description="The API key, which belongs to the secret key.")]
    region: Annotated[Literal["global", "us"], Meta(description="Where the account is kept.")] = "global"
    sandbox_mode: Annotated[bool, Meta(description="Mailjet looks at the mail and does not send it.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word("public_key", self.public_key, r"[A-Za-z0-9]{1,128}")


class _Error(msgspec.Struct):
    StatusCode: int
    ErrorCode: str = ""
    ErrorMessage: str = ""


class _To(msgspec.Struct):
    MessageID: int | str = ""


class _Result(msgspec.Struct):
    Status: str
    To: list[_To] = []
    Errors: list[_Error] = []


class _Said(msgspec.Struct):
    Messages: Annotated[list[_Result], Meta(min_length=1)]


class _Texts(msgspec.Struct, omit_defaults=True):
    """The messages of a request or a reply, unread."""

    Messages: list[msgspec.Raw]
    SandboxMode: bool = False


class Mailjet:
    """As `provider.Provider` says."""

    name = "mailjet"
    title = "Mailjet"
    documentation = "https://dev.mailjet.com/email/guides/send-api-v31/"
    read_on = "2026-11-27"
    able = Able(raw=False, recipients_per_call=1, message_bytes=15_000_000)
    settings = MailjetSettings
    call_bytes = 15_000_000

    def base_url(self, settings: MailjetSettings) -> str:
        return "https://api.us.mailjet.com" if settings.region == "us" else "https://api.mailjet.com"

    def write(self, parcel: Parcel, settings: MailjetSettings) -> Call:
        letter = parcel.letter
        has_texts(letter)
        check_no_amp(letter)
        check_one_reply(letter)
        message: dict[str, Any] = {
            "From": _box(letter.author),
            "To": [_box(addressed(parcel, settings))],
            "ReplyTo": _box(letter.reply_to[0]) if letter.reply_to else None,
            "Subject": letter.subject,
            "TextPart": letter.text,
            "HTMLPart": letter.html,
            "Attachments": [_file(part) for part in letter.parts if not part.inline],
            "InlinedAttachments": [{**_file(part), "ContentID": part.cid} for part in letter.parts if part.inline],
            "Headers": _headers(unique_headers(letter, _ORDERS), letter.parts),
            "CustomID": parcel.id if settings.metadata else "",
            "EventPayload": msgspec.json.encode({"tags": parcel.tags}).decode() if parcel.tags else "",
        }
        kept = {key: value for key, value in message.items() if value}
        login = base64.b64encode(f"{settings.public_key}:{parcel.secret}".encode()).decode()
        table = {"Messages": [kept], "SandboxMode": True if settings.sandbox_mode else None}
        return json_call(f"{parcel.base}/v3.1/send", [("Authorization", f"Basic {login}")], table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        said = answer.read(_Said)
        if answer.status not in (200, 201) or said is None or said.Messages[0].Status != "success":
            raise Unreadable("no Status: success")
        return [accepted("success " + " ".join(str(each.MessageID) for each in said.Messages[0].To))]

    def join(self, calls: Sequence[Call]) -> Call:
        newest, asked = calls[-1], [msgspec.json.decode(call.body, type=_Texts) for call in calls]
        together = _Texts([text for each in asked for text in each.Messages], asked[-1].SandboxMode)
        return Call(newest.url, newest.headers, msgspec.json.encode(together))

    def split(self, answer: Answer, number: int) -> Sequence[Answer] | None:
        """Each message's errors have a status of their own; the request's is no more than one of them."""
        said, texts = answer.read(_Said), answer.read(_Texts)
        if said is None or texts is None or len(said.Messages) != number:
            return None
        return [
            Answer(_status_of(result), answer.headers, msgspec.json.encode(_Texts([text])))
            for result, text in zip(said.Messages, texts.Messages, strict=True)
        ]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        """A message's errors have a status each; 400 is about what the message holds."""
        said = answer.read(_Said)
        errors = said.Messages[0].Errors if said else []
        if answer.status != 400 or not errors or any(error.StatusCode != 400 for error in errors):
            return None
        return refused(answer, "; ".join(f"{error.ErrorCode}: {error.ErrorMessage}" for error in errors))


def _status_of(result: _Result) -> int:
    return 200 if result.Status == "success" else max((error.StatusCode for error in result.Errors), default=400)


def _box(box: Box) -> dict[str, str]:
    return {"Email": box.address, "Name": box.name} if box.name else {"Email": box.address}


def _headers(headers: dict[str, str], parts: Sequence[Part]) -> dict[str, str]:
    """A content id of a part that is not inline has no place."""
    if any(part.cid and not part.inline for part in parts):
        raise Unfit("a file that is not inline has a content id, which the API has no place for", field="attachments")
    return headers


def _file(part: Part) -> dict[str, Any]:
    return {"ContentType": part.kind_and_parameters, "Filename": part.name, "Base64Content": part.data}
