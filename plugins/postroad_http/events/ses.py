"""Amazon SES: event publishing by way of Amazon SNS, signed (RSA).

Written from docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html and
docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html (excerpts), 2026-11-27.  Believed is a signature of
version 1 (SHA-1) or 2 (SHA-256) by the certificate at SNS's own host in the topic's region, for a configured topic alone:
anybody can have a topic, and its messages are signed as well.  SES tells of a soft bounce only when it has given up; one
without a report of the recipient's server may be an automatic reply, and is taken for a deferral.  Not confirmed: that SNS
repeats for an hour at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
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
    loads,
    notice_of,
    unbase64,
    word,
)

__all__ = ["SesEvents"]

_TOPIC = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{1,30}):\d{12}:[A-Za-z0-9_.-]{1,256}")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_KINDS: dict[str, NoticeKind] = {
    "Delivery": "delivered",
    "DeliveryDelay": "deferred",
    "Bounce": "bounced",
    "Reject": "bounced",
    "Rendering Failure": "bounced",
    "Complaint": "complained",
    "Subscription": "unsubscribed",
}
_RECIPIENTS = {
    "Bounce": ("bounce", "bouncedRecipients"),
    "Complaint": ("complaint", "complainedRecipients"),
    "DeliveryDelay": ("deliveryDelay", "delayedRecipients"),
    "Delivery": ("delivery", "recipients"),
}


class SesEvents(Source):
    """As `source.Source` says."""

    name = "ses"
    title = "Amazon SES"
    documentation = "https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html"
    proof = "signed: `events_topics`, no secret"
    window_seconds = 2 * 3600.0

    def certificate_url(self, posted: Posted, keys: Keys) -> str:
        whole = _whole(posted)
        url = word(whole, "SigningCertURL")
        if not re.fullmatch(re.escape(_place(whole, keys)) + r"SimpleNotificationService-[0-9a-f]{8,64}\.pem", url):
            raise Forged("its certificate is not where those of the topic's region are")
        return url

    def check(self, posted: Posted, keys: Keys) -> None:
        from .public_keys import is_signed_by_certificate

        whole = _whole(posted)
        _place(whole, keys)
        moment = _moment(word(whole, "Timestamp"))
        names = _SIGNED.get(word(whole, "Type"))
        version = word(whole, "SignatureVersion")
        if names is None or version not in ("1", "2"):
            raise Forged("an unknown kind of message or signature")
        signed = "".join([f"{name}\n{text}\n" for name in names if (text := _text(whole, name)) is not None])
        if not is_signed_by_certificate(
            keys.certificate,
            unbase64(word(whole, "Signature")),
            signed.encode("utf-8", "replace"),
            is_sha1=version == "1",
            now=keys.now,
        ):
            raise Forged("the signature is wrong")
        check_recent(moment, keys.now, self.window_seconds or 0.0)

    def read(self, posted: Posted) -> Batch:
        whole = json_of(posted)
        if word(whole, "Type") == "SubscriptionConfirmation":
            return Batch(confirm=_confirmation(whole))
        if word(whole, "Type") != "Notification":
            return Batch(ignored=1)
        text = _text(whole, "Message") or ""
        if not text.lstrip().startswith("{"):
            return Batch(ignored=1)  # SES greets a new destination in prose
        event = loads(text)
        name = word(event, "eventType") or word(event, "notificationType")
        kind = _KINDS.get(name)
        if kind is None or (kind == "unsubscribed" and not _leaves(dug(event, "subscription", "newTopicPreferences"))):
            return Batch(ignored=1)
        tagged = dug(event, "mail", "tags", "postroad_id")
        id = word({"id": tagged[0]}, "id") if isinstance(tagged, list) and tagged else ""  # pyright: ignore[reportUnknownVariableType]
        return batch_of(
            [
                notice_of(
                    _judged(kind, event, recipient),
                    id=id,
                    recipient=_address(recipient),
                    key=word(whole, "MessageId"),
                    status=word(recipient, "status"),
                    said=word(recipient, "diagnosticCode").removeprefix("smtp; ") or _reason(event),
                )
                for recipient in _recipients(name, event)
            ]
        )


def _whole(posted: Posted) -> Any:
    try:
        return json_of(posted)
    except Malformed as error:
        raise Forged(str(error)) from None


def _text(whole: Any, name: str) -> str | None:
    """A signed field, whatever its length."""
    value = dug(whole, name)
    return value if isinstance(value, str) else None


def _place(whole: Any, keys: Keys) -> str:
    """Where the topic's region has its certificates.  Raises Forged for a topic that is not one of ours."""
    topic = word(whole, "TopicArn")
    match = _TOPIC.fullmatch(topic)
    if topic not in keys.topics or match is None:
        raise Forged("its topic is none of events_topics")
    return f"https://{_host(match)}/"


def _host(match: re.Match[str]) -> str:
    return f"sns.{match[2]}.amazonaws.com{'.cn' if match[1] == 'aws-cn' else ''}"


def _moment(text: str) -> str:
    try:
        return str(max(0, int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())))
    except (ValueError, OverflowError):
        raise Forged("its time is none") from None


def _confirmation(whole: Any) -> str:
    """Raises Malformed for an URL that leads elsewhere than to SNS in the topic's region."""
    url, match = word(whole, "SubscribeURL"), _TOPIC.fullmatch(word(whole, "TopicArn"))
    if match is None or not re.fullmatch(
        rf"https://{re.escape(_host(match))}/\?Action=ConfirmSubscription&[!-~]+", url
    ):
        raise Malformed("the subscription is not to be confirmed at SNS")
    return url


def _recipients(name: str, event: Any) -> Iterator[Any]:
    found = dug(event, *_RECIPIENTS[name]) if name in _RECIPIENTS else dug(event, "mail", "destination")
    if not isinstance(found, list):
        raise Malformed("the event has no recipients")
    yield from found  # pyright: ignore[reportUnknownVariableType]


def _address(recipient: Any) -> str:
    return recipient[:1000] if isinstance(recipient, str) else word(recipient, "emailAddress")


def _judged(kind: NoticeKind, event: Any, recipient: Any) -> NoticeKind:
    is_soft = kind == "bounced" and word(event, "bounce", "bounceType") == "Transient"
    return "deferred" if is_soft and word(recipient, "action") != "failed" else kind


def _leaves(preferences: Any) -> bool:
    """Whether the recipient left the list, or a topic of it: the event tells of joining, too."""
    topics = dug(preferences, "topicSubscriptionStatus")
    statuses = [word(topic, "subscriptionStatus") for topic in topics] if isinstance(topics, list) else []  # pyright: ignore[reportUnknownVariableType]
    return dug(preferences, "unsubscribeAll") is True or "OptOut" in statuses


def _reason(event: Any) -> str:
    bounce = [word(event, "bounce", "bounceType"), word(event, "bounce", "bounceSubType")]
    words = [
        " ".join(filter(None, bounce)),
        word(event, "complaint", "complaintFeedbackType"),
        word(event, "delivery", "smtpResponse"),
        word(event, "deliveryDelay", "delayType"),
        word(event, "reject", "reason"),
        word(event, "failure", "errorMessage"),
    ]
    return next(filter(None, words), "")
