"""Brevo: transactional webhooks, with a token or a password.

Written from developers.brevo.com/docs/transactional-webhooks and .../reference/create-webhook (excerpts), and from how
django-anymail 15.2 reads them, 2026-11-27.  Nothing is signed: the webhook's `auth` is a bearer token, or the URL holds user
and password.  `id` is the webhook's: the message's id, the time and the kind stand for the event.  Not confirmed: how a
`batched` webhook comes (a list is read), and that "soft_bounce" and "error" are ends.
"""

from __future__ import annotations

from typing import Any

from postroad.remote import NoticeKind, RemoteNotice

from .source import Batch, GuardedSource, Posted, batch_of, items_of, json_of, notice_of, word

__all__ = ["BrevoEvents"]

_KINDS: dict[str, NoticeKind] = {
    "delivered": "delivered",
    "deferred": "deferred",
    "hard_bounce": "bounced",
    "soft_bounce": "bounced",
    "blocked": "bounced",
    "invalid_email": "bounced",
    "error": "bounced",
    "spam": "complained",
    "complaint": "complained",
    "unsubscribe": "unsubscribed",
    "unsubscribed": "unsubscribed",
}


class BrevoEvents(GuardedSource):
    """As `source.Source` says."""

    name = "brevo"
    title = "Brevo"
    documentation = "https://developers.brevo.com/docs/transactional-webhooks"
    proof = "basic, or bearer"

    def read(self, posted: Posted) -> Batch:
        return batch_of([_notice(event) for event in items_of(json_of(posted))])


def _notice(event: Any) -> RemoteNotice | None:
    kind = _KINDS.get(word(event, "event"))
    if kind is None:
        return None
    return notice_of(
        kind,
        id=word(event, "X-Mailin-custom"),
        recipient=word(event, "email"),
        key=" ".join([word(event, "message-id"), word(event, "ts_event") or word(event, "ts")]),
        said=word(event, "reason"),
    )
