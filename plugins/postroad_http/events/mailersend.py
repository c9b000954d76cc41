"""MailerSend: webhooks, signed by HMAC.

Written from developers.mailersend.com/api/v1/webhooks.html (excerpt), and from how django-anymail 15.2 reads it, 2026-11-27.
Signed is the body, by HMAC-SHA256 in hexadecimal; there is no time in it, so what was taken is known by the activity's id.  Our
id travels as a tag.  Not confirmed: "activity.deferred", and the form in which tags come back.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from postroad.remote import NoticeKind

from .source import Batch, Forged, Keys, Malformed, Posted, Source, batch_of, dug, json_of, notice_of, word

__all__ = ["MailerSendEvents"]

_KINDS: dict[str, NoticeKind] = {
    "activity.delivered": "delivered",
    "activity.deferred": "deferred",
    "activity.soft_bounced": "bounced",
    "activity.hard_bounced": "bounced",
    "activity.spam_complaint": "complained",
    "activity.unsubscribed": "unsubscribed",
}
_MARK = "postroad_id:"


class MailerSendEvents(Source):
    """As `source.Source` says."""

    name = "mailersend"
    title = "MailerSend"
    documentation = "https://developers.mailersend.com/api/v1/webhooks.html"
    proof = "signed: the webhook's signing secret"

    def check(self, posted: Posted, keys: Keys) -> None:
        wanted = hmac.new(keys.secret.encode(), posted.body, hashlib.sha256).hexdigest().encode()
        given = posted.header("signature").encode("utf-8", "replace")
        if not keys.secret or not hmac.compare_digest(given, wanted):
            raise Forged("the signature is wrong")

    def read(self, posted: Posted) -> Batch:
        event = json_of(posted)
        data = dug(event, "data")
        if not isinstance(event, dict):
            raise Malformed("the event is no object")
        kind = _KINDS.get(word(event, "type"))
        if kind is None:
            return Batch(ignored=1)
        notice = notice_of(
            kind,
            id=_id(dug(data, "email", "tags")),
            recipient=word(data, "email", "recipient", "email"),
            key=word(data, "id"),
            said=word(data, "morph", "readable_reason") or word(data, "morph", "reason"),
        )
        return batch_of([notice])


def _id(tags: Any) -> str:
    """Tags are words, or objects with a name."""
    if not isinstance(tags, list):
        return ""
    words = [tag if isinstance(tag, str) else word(tag, "name") for tag in tags]  # pyright: ignore[reportUnknownVariableType]
    return next((tag.removeprefix(_MARK) for tag in words if tag.startswith(_MARK)), "")
