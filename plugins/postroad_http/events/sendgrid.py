"""SendGrid: the Event Webhook, signed (ECDSA).

Written from www.twilio.com/docs/sendgrid/for-developers/tracking-events/event and
.../getting-started-event-webhook-security-features (excerpts), and from how django-anymail 15.2 reads them, 2026-11-27.  Signed
is the time and the body; the key is the "verification key" of the webhook's settings, base64 of a DER public key on P-256, and
no secret.  Not confirmed: that a request is repeated for 24 hours, and whether it is signed anew then.
"""

from __future__ import annotations

from typing import Any

from postroad.remote import NoticeKind, RemoteNotice

from .source import (
    Batch,
    Forged,
    Keys,
    Posted,
    Source,
    batch_of,
    check_recent,
    items_of,
    json_of,
    notice_of,
    unbase64,
    word,
)

__all__ = ["SendGridEvents"]

_KINDS: dict[str, NoticeKind] = {
    "delivered": "delivered",
    "deferred": "deferred",
    "bounce": "bounced",
    "dropped": "bounced",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
}


class SendGridEvents(Source):
    """As `source.Source` says."""

    name = "sendgrid"
    title = "SendGrid"
    documentation = "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event"
    proof = "signed: the verification key of the Signed Event Webhook"
    window_seconds = 25 * 3600.0

    def check(self, posted: Posted, keys: Keys) -> None:
        from .public_keys import is_signed_by_ec

        moment = posted.header("x-twilio-email-event-webhook-timestamp")
        signature = unbase64(posted.header("x-twilio-email-event-webhook-signature"))
        if not moment.isascii() or not is_signed_by_ec(keys.secret, signature, moment.encode() + posted.body):
            raise Forged("the signature is wrong")
        check_recent(moment, keys.now, self.window_seconds or 0.0)

    def read(self, posted: Posted) -> Batch:
        return batch_of([_notice(event) for event in items_of(json_of(posted))])


def _notice(event: Any) -> RemoteNotice | None:
    kind = _KINDS.get(word(event, "event"))
    if kind is None:
        return None
    return notice_of(
        kind,
        id=word(event, "postroad_id"),
        recipient=word(event, "email"),
        key=word(event, "sg_event_id"),
        status=word(event, "status"),
        said=word(event, "reason") or word(event, "response"),
    )
