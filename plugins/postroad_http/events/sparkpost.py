"""SparkPost: webhooks, with a password.

Written from developers.sparkpost.com/api/webhooks/ as docs.bird.com/api/email-api/webhooks has it by now (excerpt), and from
how django-anymail 15.2 reads it, 2026-11-27.  Nothing is signed: Basic authentication.  A batch is repeated for 8 hours; every
event has an id that stays.  Events lie in `msys`, under the name of their class; `{"msys": {}}` is a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postroad.remote import NoticeKind, RemoteNotice

from .source import Batch, GuardedSource, Malformed, Posted, batch_of, dug, items_of, json_of, notice_of, word

__all__ = ["SparkPostEvents"]

_KINDS: dict[str, NoticeKind] = {
    "delivery": "delivered",
    "delay": "deferred",
    "bounce": "bounced",
    "out_of_band": "bounced",
    "policy_rejection": "bounced",
    "generation_failure": "bounced",
    "generation_rejection": "bounced",
    "spam_complaint": "complained",
    "list_unsubscribe": "unsubscribed",
    "link_unsubscribe": "unsubscribed",
}
_CLASSES: dict[str, NoticeKind | None] = {
    "60": None,  # an automatic reply
    "80": None,  # somebody subscribes
    "90": "unsubscribed",
    "100": None,  # a challenge
}  # of bounces (support.sparkpost.com, "Bounce Classification Codes"); all others are ends of a delivery


class SparkPostEvents(GuardedSource):
    """As `source.Source` says."""

    name = "sparkpost"
    title = "SparkPost"
    documentation = "https://developers.sparkpost.com/api/webhooks/"

    def read(self, posted: Posted) -> Batch:
        return batch_of([notice for item in items_of(json_of(posted)) for notice in _notices(item)])


def _notices(item: Mapping[str, Any]) -> list[RemoteNotice | None]:
    inner = dug(item, "msys")
    if not isinstance(inner, dict):
        raise Malformed("an event has no msys")
    return [_notice(event) for event in inner.values()]  # pyright: ignore[reportUnknownVariableType]


def _notice(event: Any) -> RemoteNotice | None:
    kind = _KINDS.get(word(event, "type"))
    if kind == "bounced":
        kind = _CLASSES.get(word(event, "bounce_class"), kind)
    if kind is None:
        return None
    return notice_of(
        kind,
        id=word(event, "rcpt_meta", "postroad_id"),
        recipient=word(event, "raw_rcpt_to") or word(event, "rcpt_to"),
        key=word(event, "event_id"),
        said=word(event, "raw_reason") or word(event, "reason"),
    )
