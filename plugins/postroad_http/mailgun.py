"""Mailgun: POST /v3/DOMAIN/messages.mime, with the message as it is.

Written from documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages and
.../docs/mailgun/user-manual/sending-messages/send-http, read 2026-11-27.

Envelope: exactly the request's recipients, named in `to`; the message's own To and Cc are what they see.  One bad address makes
Mailgun refuse all of a request, so each is then tried alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from postroad.verdict import Verdict

from .fields import check_tags
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import HttpTable, check_word
from .verdicts import accepted, refused

__all__ = ["Mailgun", "MailgunSettings"]

_BAD_ADDRESS = re.compile(r"not a valid address", re.IGNORECASE)


class MailgunSettings(HttpTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "mailgun": Mailgun. The secret is a sending key."""

    domain: Annotated[str, Meta(description="The sending domain, as Mailgun has it.")]
    region: Annotated[Literal["us", "eu"], Meta(description="Where the domain is kept.")] = "us"
    test_mode: Annotated[bool, Meta(description="Mailgun takes the mail and does not send it.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word("domain", self.domain, r"[A-Za-z0-9.-]{1,253}")


class _Taken(msgspec.Struct):
    id: str


class _Error(msgspec.Struct):
    message: str


class Mailgun:
    """As `provider.Provider` says."""

    name = "mailgun"
    title = "Mailgun"
    documentation = "https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages"
    read_on = "2026-11-27"
    able = Able(
        raw=True, recipients_per_call=100, message_bytes=25_000_000, schedules=True
    )  # the API takes 1,000 recipients
    settings = MailgunSettings

    def base_url(self, settings: MailgunSettings) -> str:
        return "https://api.eu.mailgun.net" if settings.region == "eu" else "https://api.mailgun.net"

    def write(self, parcel: Parcel, settings: MailgunSettings) -> Call:
        check_tags(parcel.tags, r"[!-~]{1,128}", 10)
        boundary = hashlib.sha256(parcel.content).hexdigest()[:40]  # not part of what it is the hash of
        body = b"".join(_form(parcel, settings, boundary))
        login = base64.b64encode(f"api:{parcel.secret}".encode()).decode()
        headers = (
            ("Content-Type", f"multipart/form-data; boundary={boundary}"),
            ("Authorization", f"Basic {login}"),
        )
        return Call(f"{parcel.base}/v3/{settings.domain}/messages.mime", headers, body)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        taken = answer.read(_Taken)
        if answer.status != 200 or taken is None:
            raise Unreadable("no id")
        return [accepted(taken.id)] * len(parcel.recipients)

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        error = answer.read(_Error)
        if answer.status == 400 and error and _BAD_ADDRESS.search(error.message):
            return refused(answer, error.message, "5.1.3")
        return None


def _form(parcel: Parcel, settings: MailgunSettings, boundary: str) -> Iterator[bytes]:
    """multipart/form-data (RFC 7578).  No value has a line end: addresses and tags are visible characters."""
    fields = [("to", address) for address in parcel.recipients]
    fields += [("o:tag", tag) for tag in parcel.tags]
    if settings.test_mode:
        fields.append(("o:testmode", "yes"))
    if settings.metadata:
        fields.append(("v:postroad_id", parcel.id))
    for name, value in fields:
        yield f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.eml"\r\n'
        "Content-Type: message/rfc822\r\n\r\n"
    ).encode()
    yield parcel.content
    yield f"\r\n--{boundary}--\r\n".encode()
