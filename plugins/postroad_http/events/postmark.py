"""Postmark: webhooks, with a password.

Written from postmarkapp.com/email-webhooks and postmarkapp.com/developer/webhooks/webhooks-overview (excerpts), and from how
django-anymail 15.2 reads them, 2026-11-27.  Nothing is signed: the URL holds user and password.  Only bounces and complaints
have an id; for the others message and time stand for it.  Not confirmed: that "SoftBounce" is an end.
"""

from __future__ import annotations

from typing import Any

from postroad.remote import NoticeKind, RemoteNotice

from .source import Batch, GuardedSource, Posted, batch_of, dug, items_of, json_of, notice_of, word

__all__ = ["PostmarkEvents"]

_TYPES: dict[str, NoticeKind | None] = {
    "HardBounce": "bounced",
    "SoftBounce": "bounced",
    "Transient": "deferred",
    "DnsError": "deferred",
    "OpenRelayTest": "deferred",
    "VirusNotification": "bounced",
    "BadEmailAddress": "bounced",
    "Blocked": "bounced",
    "ManuallyDeactivated": "bounced",
    "Unconfirmed": "bounced",
    "SMTPApiError": "bounced",
    "DMARCPolicy": "bounced",
    "TemplateRenderingFailed": "bounced",
    "SpamComplaint": "complained",
    "SpamNotification": "complained",
    "Unsubscribe": "unsubscribed",
    "ManualSuppression": "unsubscribed",
}  # AutoResponder, AddressChange, ChallengeVerification, Subscribe, Unknown, InboundError: no end of a delivery


class PostmarkEvents(GuardedSource):
    """As `source.Source` says."""

    name = "postmark"
    title = "Postmark"
    documentation = "https://postmarkapp.com/developer/webhooks/webhooks-overview"

    def read(self, posted: Posted) -> Batch:
        return batch_of([_notice(event) for event in items_of(json_of(posted))])


def _kind(event: Any) -> NoticeKind | None:
    """A change of a subscription that a bounce or a complaint brought about is told by these."""
    match word(event, "RecordType"):
        case "Delivery":
            return "delivered"
        case "Bounce" | "SpamComplaint":
            return _TYPES.get(word(event, "Type"))
        case "SubscriptionChange" if dug(event, "SuppressSending") is not False:
            return "unsubscribed" if word(event, "SuppressionReason") == "ManualSuppression" else None
        case _:
            return None


def _notice(event: Any) -> RemoteNotice | None:
    kind = _kind(event)
    if kind is None:
        return None
    moments = ("BouncedAt", "DeliveredAt", "ChangedAt")
    return notice_of(
        kind,
        id=word(event, "Metadata", "postroad_id"),
        recipient=word(event, "Email") or word(event, "Recipient"),
        key=word(event, "ID") or " ".join([word(event, "MessageID"), *(word(event, moment) for moment in moments)]),
        said=word(event, "Details") or word(event, "Description"),
    )
