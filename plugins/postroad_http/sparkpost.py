"""SparkPost: POST /api/v1/transmissions, with the message as it is (content.email_rfc822).

Written from developers.sparkpost.com/api/transmissions and .../api (endpoints, login), read 2026-11-27.  Codes 1902 and 5002
are known from replies that users have shown, and not documented.  Unconfirmed: 20 MB as the most of a message.

Envelope: exactly the request's recipient, named in `recipients`; the message's own To and Cc are what it sees.  The reply only
counts recipients, so each gets a request of its own.  SparkPost fills its template language in, also in whole messages:
one that holds its marks is refused.  Tracking is off, because it rewrites links.  A suppressed recipient is accepted and told
as a bounce later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from postroad.verdict import Scope, Verdict

from .fields import check_no_marks, check_tags, json_call
from .letter import Unfit
from .provider import Able, Answer, Call, Parcel, Unreadable
from .settings import HttpTable
from .verdicts import accepted, deferred, refused

__all__ = ["SparkPost", "SparkPostSettings"]

_SUPPRESSED, _BAD_ADDRESS = "1902", "5002"  # the first of accounts that were not changed over yet


class SparkPostSettings(HttpTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[transports.NAME] with plugin = "http" and provider = "sparkpost": SparkPost. The secret is an API key."""

    region: Annotated[Literal["us", "eu"], Meta(description="Where the account is kept.")] = "us"
    transactional: Annotated[bool, Meta(description="Unsubscribing from lists does not stop this mail.")] = True
    ip_pool: Annotated[str, Meta(description="The pool of addresses to send from. Empty: the account's default.")] = ""


class _Results(msgspec.Struct):
    total_accepted_recipients: int
    total_rejected_recipients: int
    id: str


class _Taken(msgspec.Struct):
    results: _Results


class _Error(msgspec.Struct):
    message: str = ""
    description: str = ""
    code: str = ""


class _Errors(msgspec.Struct):
    errors: Annotated[list[_Error], Meta(min_length=1)]


class SparkPost:
    """As `provider.Provider` says."""

    name = "sparkpost"
    title = "SparkPost"
    documentation = "https://developers.sparkpost.com/api/transmissions/"
    read_on = "2026-11-27"
    able = Able(raw=True, recipients_per_call=1, message_bytes=20_000_000, schedules=True)
    settings = SparkPostSettings

    def base_url(self, settings: SparkPostSettings) -> str:
        return "https://api.eu.sparkpost.com" if settings.region == "eu" else "https://api.sparkpost.com"

    def write(self, parcel: Parcel, settings: SparkPostSettings) -> Call:
        if not parcel.content.isascii():
            raise Unfit("the API takes the message as a text, this one has octets over 127", "5.6.3")
        check_tags(parcel.tags, r".{1,1000}", 10)
        content = parcel.content.decode("ascii")
        letter = parcel.letter
        check_no_marks(content, letter.subject, letter.text, letter.html, letter.amp)
        recipient: dict[str, Any] = {"address": {"email": parcel.recipients[0]}}
        if parcel.tags:
            recipient["tags"] = parcel.tags
        options: dict[str, Any] = {
            "open_tracking": False,
            "click_tracking": False,
            "transactional": settings.transactional,
        }
        if settings.ip_pool:
            options["ip_pool"] = settings.ip_pool
        table: dict[str, Any] = {
            "recipients": [recipient],
            "content": {"email_rfc822": content},
            "options": options,
            "metadata": {"postroad_id": parcel.id} if settings.metadata else None,
        }
        return json_call(f"{parcel.base}/api/v1/transmissions", [("Authorization", parcel.secret)], table)

    def accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        taken = answer.read(_Taken)
        if answer.status != 200 or taken is None:
            raise Unreadable("no results")
        results = taken.results
        if results.total_accepted_recipients == 1:
            return [accepted(results.id)]
        if results.total_rejected_recipients == 1:
            return [refused(answer, f"{results.id}: the recipient was rejected", "5.7.1", scope=Scope.RECIPIENT)]
        raise Unreadable("neither accepted nor rejected")

    def failed(self, answer: Answer, parcel: Parcel) -> Verdict | None:
        found = answer.read(_Errors)
        if found is None:
            return None
        said = "; ".join(f"{error.code} {error.message} {error.description}".strip() for error in found.errors)
        if answer.status == 420:  # the account's own limit
            return deferred(answer, said, "4.7.1", scope=Scope.SITE, now=parcel.now)
        if answer.status in (400, 422) and all(error.code in (_SUPPRESSED, _BAD_ADDRESS) for error in found.errors):
            return refused(answer, said, "5.7.1", scope=Scope.RECIPIENT)
        return None
