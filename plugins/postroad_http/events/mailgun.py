"""Mailgun: webhooks, signed by HMAC.

Written from documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks (excerpt), and from how django-anymail 15.2
reads it, 2026-11-27.  Signed are a time and a token, not the body: so a token is taken once, and what else comes with it has no
effect.  At anything but 200 and 406 a request is repeated for 8 hours ("delivered" is not).  Not confirmed: whether with a new
token.
"""

from __future__ import annotations

import hashlib
import hmac

from postroad.remote import NoticeKind

from .source import (
    Batch,
    Forged,
    Keys,
    Malformed,
    Posted,
    Source,
    batch_of,
    check_recent,
    dug,
    json_of,
    notice_of,
    word,
)

__all__ = ["MailgunEvents"]

_KINDS: dict[str, NoticeKind] = {
    "delivered": "delivered",
    "failed": "bounced",
    "rejected": "bounced",
    "complained": "complained",
    "unsubscribed": "unsubscribed",
}


class MailgunEvents(Source):
    """As `source.Source` says."""

    name = "mailgun"
    title = "Mailgun"
    documentation = "https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks"
    proof = "signed: the HTTP webhook signing key"
    window_seconds = 9 * 3600.0

    def check(self, posted: Posted, keys: Keys) -> None:
        try:
            block = dug(json_of(posted), "signature")
        except Malformed as error:
            raise Forged(str(error)) from None
        moment, token = word(block, "timestamp"), word(block, "token")
        signed = hmac.new(keys.secret.encode(), f"{moment}{token}".encode("utf-8", "replace"), hashlib.sha256)
        given = word(block, "signature").encode("utf-8", "replace")
        if not keys.secret or not token or not hmac.compare_digest(given, signed.hexdigest().encode()):
            raise Forged("the signature is wrong")
        check_recent(moment, keys.now, self.window_seconds or 0.0)

    def read(self, posted: Posted) -> Batch:
        whole = json_of(posted)
        event = dug(whole, "event-data")
        if not isinstance(event, dict):
            raise Malformed("there is no event-data")
        token = word(whole, "signature", "token")
        kind = _KINDS.get(word(event, "event"))
        if kind is None:
            return Batch(ignored=1, token=token)
        if kind == "bounced" and word(event, "severity") == "temporary":
            kind = "deferred"
        found = dug(event, "delivery-status")
        notice = notice_of(
            kind,
            id=word(event, "user-variables", "postroad_id"),
            recipient=word(event, "recipient"),
            key=token,
            status=word(found, "enhanced-code"),
            said=word(found, "message") or word(found, "description") or word(event, "reject", "reason"),
        )
        return batch_of([notice], token=token)
