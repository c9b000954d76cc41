"""Mailjet: the Event API, with a password.

Written from dev.mailjet.com/email/guides/webhooks/ as others' code and django-anymail 15.2 have it, 2026-11-27.  Nothing is
signed: the URL holds user and password.  One event or, where grouping is on, a list.  Events have no id; the message's, the
time and the error stand for it.  Not confirmed: which bounces besides "greylisted" Mailjet tries again.
"""

from __future__ import annotations

from typing import Any

from postroad.remote import NoticeKind, RemoteNotice

from .source import Batch, GuardedSource, Posted, batch_of, dug, items_of, json_of, notice_of, word

__all__ = ["MailjetEvents"]

_KINDS: dict[str, NoticeKind] = {
    "sent": "delivered",  # taken by the recipient's server
    "bounce": "bounced",
    "blocked": "bounced",
    "spam": "complained",
    "unsub": "unsubscribed",
}


class MailjetEvents(GuardedSource):
    """As `source.Source` says."""

    name = "mailjet"
    title = "Mailjet"
    documentation = "https://dev.mailjet.com/email/guides/webhooks/"

    def read(self, posted: Posted) -> Batch:
        return batch_of([_notice(event) for event in items_of(json_of(posted))])


def _notice(event: Any) -> RemoteNotice | None:
    kind = _KINDS.get(word(event, "event"))
    if kind is None:
        return None
    error = word(event, "error")
    if kind == "bounced" and error == "greylisted" and dug(event, "hard_bounce") is not True:
        kind = "deferred"  # Mailjet tries again
    words = [word(event, "error_related_to"), error, word(event, "comment") or word(event, "smtp_reply")]
    return notice_of(
        kind,
        id=word(event, "CustomID"),
        recipient=word(event, "email"),
        key=" ".join([word(event, "MessageID"), word(event, "time"), error]),
        said=": ".join(filter(None, words)),
    )
