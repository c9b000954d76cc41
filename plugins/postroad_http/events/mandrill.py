"""Mandrill (Mailchimp Transactional): webhooks, signed by HMAC.

Written from mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/ as published verifiers and
django-anymail 15.2 have it, 2026-11-27.  Signed are the URL as Mandrill has it and the form's fields in order of their names,
by HMAC-SHA1 in base64.  Events have no id; the message's, the time and the kind stand for it.  Not confirmed: "delivered", and
that the trial while a webhook is being made, when its key is not known yet, is empty and signed with "test-webhook"; it is
answered, and says nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qsl

from postroad.remote import NoticeKind, RemoteNotice

from .source import Batch, Forged, Keys, Malformed, Posted, Source, batch_of, items_of, loads, notice_of, word

__all__ = ["MandrillEvents"]

_KINDS: dict[str, NoticeKind] = {
    "delivered": "delivered",
    "deferral": "deferred",
    "hard_bounce": "bounced",
    "soft_bounce": "bounced",
    "reject": "bounced",
    "spam": "complained",
    "unsub": "unsubscribed",
}
_FIELDS = 20
_TRIAL_KEY = "test-webhook"


class MandrillEvents(Source):
    """As `source.Source` says."""

    name = "mandrill"
    title = "Mandrill"
    documentation = "https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/"
    proof = "signed: the webhook's key, and `events_url`"
    is_form = True

    def check(self, posted: Posted, keys: Keys) -> None:
        try:
            fields = _fields(posted)
        except Malformed as error:
            raise Forged(str(error)) from None
        given = posted.header("x-mandrill-signature").encode("utf-8", "replace")
        if keys.secret and keys.url and hmac.compare_digest(given, _signature(keys.secret, keys.url, fields)):
            return
        is_trial = fields.get("mandrill_events") == "[]"
        if not is_trial or not hmac.compare_digest(given, _signature(_TRIAL_KEY, keys.url, fields)):
            raise Forged("the signature is wrong (is events_url what Mandrill has, to the letter?)")

    def read(self, posted: Posted) -> Batch:
        events = _fields(posted).get("mandrill_events")
        if events is None:
            raise Malformed("there is no mandrill_events")
        return batch_of([_notice(event) for event in items_of(loads(events))])


def _fields(posted: Posted) -> dict[str, str]:
    try:
        pairs = parse_qsl(posted.body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError:  # UnicodeError is one
        raise Malformed("the body is no form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("a field of the form is there twice")
    return fields


def _signature(key: str, url: str, fields: dict[str, str]) -> bytes:
    signed = url + "".join([name + fields[name] for name in sorted(fields)])
    digest = hmac.new(key.encode(), signed.encode("utf-8", "replace"), hashlib.sha1).digest()  # Mandrill's choice
    return base64.b64encode(digest)


def _notice(event: Any) -> RemoteNotice | None:
    kind = _KINDS.get(word(event, "event"))
    if kind is None:
        return None
    words = [
        word(event, "msg", "bounce_description"),
        word(event, "msg", "diag"),
        word(event, "msg", "reject", "reason"),
    ]
    return notice_of(
        kind,
        id=word(event, "msg", "metadata", "postroad_id"),
        recipient=word(event, "msg", "email"),
        key=" ".join([word(event, "_id"), word(event, "ts")]),
        said=": ".join(filter(None, words)),
    )
