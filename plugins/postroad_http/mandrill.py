"""Mandrill (Mailchimp Transactional): POST /api/1.0/messages/send-raw, with the message as it is.

Written from mailchimp.com/developer/transactional/api/messages/send-mime-document and .../transactional/docs/smtp-integration
(the X-MC header fields), read 2026-11-27.

Envelope: exactly the request's recipients, named in `to`, with an answer for each.  The message's own To and Cc are what they
see: X-MC-PreserveRecipients says so, whatever the account's default is.  Mandrill takes the X-MC fields out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from postroad.errors import ConfigError
from postroad.verdict import Scope, Verdict

from .fields import check_tags, json_call
from .letter import Unfit
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import HttpTable
from .verdicts import accepted, deferred, refused

__all__ = ["Mandrill", "MandrillSettings"]

_OURS = frozenset({"Invalid_Key", "PaymentRequired", "Unknown_Subaccount"})
# Not soft-bounce, invalid-sender, unsigned and test-mode-limit: they pass, or are the operator's to mend.
_LASTING = frozenset({"hard-bounce", "spam", "unsub", "custom", "invalid", "rule"})


class MandrillSettings(HttpTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "mandrill": Mailchimp Transactional. The secret is an API key."""

    subaccount: Annotated[str, Meta(description="The subaccount to send for. Empty: none.")] = ""
    ip_pool: Annotated[str, Meta(description="The pool of addresses to send from. Empty: the account's default.")] = ""
    events_url: Annotated[
        str,
        Meta(
            description="With `events_secret`: the webhook's URL as Mandrill has it, to the letter. It is signed, too."
        ),
    ] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.takes_events != bool(self.events_url):
            raise ConfigError(
                "events_url", "goes together with events_secret (or events_secret_file, or events_secret_env)"
            )


class _Result(msgspec.Struct):
    email: str
    status: str
    reject_reason: str | None = None
    id: str = msgspec.field(default="", name="_id")


class _Error(msgspec.Struct):
    name: str
    message: str = ""


class Mandrill:
    """As `provider.Provider` says."""

    name = "mandrill"
    title = "Mandrill"
    documentation = "https://mailchimp.com/developer/transactional/api/messages/send-mime-document/"
    read_on = "2026-11-27"
    able = Able(raw=True, recipients_per_call=100, message_bytes=25_000_000, schedules=True)
    settings = MandrillSettings

    def base_url(self, settings: MandrillSettings) -> str:
        return "https://mandrillapp.com"

    def write(self, parcel: Parcel, settings: MandrillSettings) -> Call:
        if not parcel.content.isascii():
            raise Unfit("the API takes the message as a text, this one has octets over 127", "5.6.3")
        check_tags(parcel.tags, r"(?!_)[ -+\x2d-~]{1,50}", 100)
        head = "".join(f"{name}: {value}\r\n" for name, value in _directions(parcel, settings))
        table = {
            "key": parcel.secret,
            "raw_message": head + parcel.content.decode("ascii"),
            "to": parcel.recipients,
            "ip_pool": settings.ip_pool,
        }
        return json_call(f"{parcel.base}/api/1.0/messages/send-raw", (), table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        found = answer.read(list[_Result])
        results = {result.email.lower(): result for result in found or ()}
        if answer.status != 200 or any(address.lower() not in results for address in parcel.recipients):
            raise Unreadable("not a result for each recipient")
        return [_of_result(answer, results[address.lower()], parcel.now) for address in parcel.recipients]

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        """Whatever is wrong, the status is 500; the name says what it is."""
        error = answer.read(_Error)
        if error is None:
            return None
        said = f"{error.name}: {error.message}"
        if error.name in _OURS:
            return deferred(answer, said, "4.7.8", scope=Scope.TRANSPORT, now=parcel.now)
        if error.name == "ValidationError":
            return refused(answer, said)
        return None


def _directions(parcel: Parcel, settings: MandrillSettings) -> Iterator[tuple[str, str]]:
    yield "X-MC-PreserveRecipients", "true"
    if parcel.tags:
        yield "X-MC-Tags", ",".join(parcel.tags)
    if settings.metadata:
        yield "X-MC-Metadata", json.dumps({"postroad_id": parcel.id})
    if settings.subaccount:
        yield "X-MC-Subaccount", settings.subaccount


def _of_result(answer: Answer, result: _Result, now: float) -> Verdict:
    said = f"{result.status} {result.reject_reason or ''} {result.id}".replace("  ", " ")
    if result.status in ("sent", "queued", "scheduled"):
        return accepted(said)
    if result.status == "invalid" or result.reject_reason in _LASTING:
        return refused(answer, said, "5.7.1", scope=Scope.RECIPIENT)
    return deferred(answer, said, "4.7.1", scope=Scope.RECIPIENT, now=now)
