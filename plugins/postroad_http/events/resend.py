"""Resend: webhooks, signed as Svix does.

Written from resend.com/docs/webhooks and docs.svix.com/receiving/verifying-payloads/how-manual (excerpts), and from how
django-anymail 15.2 reads them, 2026-11-27.  Signed is `id.timestamp.body` by HMAC-SHA256; the secret is base64 behind "whsec_",
and the header may hold several signatures while it is changed.  Each repetition is signed anew; five minutes are what Svix's
own libraries allow.  Not confirmed: the form in which tags come back (both are read), and the words of failures but for
bounces.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from email.utils import parseaddr
from typing import Any

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
    unbase64,
    word,
)

__all__ = ["ResendEvents"]

_KINDS: dict[str, NoticeKind] = {
    "email.delivered": "delivered",
    "email.delivery_delayed": "deferred",
    "email.bounced": "bounced",
    "email.failed": "bounced",
    "email.suppressed": "bounced",
    "email.complained": "complained",
}
_SIGNATURES = 20  # in one header


class ResendEvents(Source):
    """As `source.Source` says."""

    name = "resend"
    title = "Resend"
    documentation = "https://resend.com/docs/webhooks/introduction"
    proof = "signed: the webhook's signing secret (whsec_...)"
    window_seconds = 300.0

    def check(self, posted: Posted, keys: Keys) -> None:
        id, moment = posted.header("svix-id"), posted.header("svix-timestamp")
        secret = unbase64(keys.secret.removeprefix("whsec_"))
        signed = f"{id}.{moment}.".encode("utf-8", "replace") + posted.body
        wanted = b"v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
        given = posted.header("svix-signature").encode("utf-8", "replace").split()[:_SIGNATURES]
        if not secret or not id or not any(hmac.compare_digest(one, wanted) for one in given):
            raise Forged("the signature is wrong")
        check_recent(moment, keys.now, self.window_seconds or 0.0)

    def read(self, posted: Posted) -> Batch:
        event = json_of(posted)
        data = dug(event, "data")
        if not isinstance(data, dict):
            raise Malformed("there is no data")
        kind = _KINDS.get(word(event, "type"))
        if kind is None:
            return Batch(ignored=1)
        said = [word(data, "bounce", "message"), word(data, "failed", "reason"), word(data, "suppressed", "message")]
        notice = notice_of(
            kind,
            id=_id(dug(data, "tags")),
            recipient=_recipient(dug(data, "to")),
            key=posted.header("svix-id"),
            said=next(filter(None, said), ""),
        )
        return batch_of([notice])


def _id(tags: Any) -> str:
    """Tags come back as an object, and in some examples as they were sent."""
    if isinstance(tags, list):
        pairs = [(word(tag, "name"), word(tag, "value")) for tag in tags]  # pyright: ignore[reportUnknownVariableType]
        return next((value for name, value in pairs if name == "postroad_id"), "")
    return word(tags, "postroad_id")


def _recipient(to: Any) -> str:
    """Each of our requests has one."""
    first = to[0] if isinstance(to, list) and to else to  # pyright: ignore[reportUnknownVariableType]
    return parseaddr(first[:1000])[1] if isinstance(first, str) else ""
