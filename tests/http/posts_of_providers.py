"""What each provider would post, signed as it signs: by field names of its documentation, with keys of the test's own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from postroad_http.events import Keys, Posted

__all__ = [
    "CERTIFICATE",
    "KEYS",
    "KINDS",
    "NOW",
    "PASSWORDS",
    "POSTS",
    "SAID",
    "SETTINGS",
    "SNS_URL",
    "Said",
    "post",
    "signed",
]

NOW = 1_790_000_000.0
URL = "https://mail.example.com/events/letters"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail-events"
SNS_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
PASSWORD = "f0rEvents.0nly"
WHSEC = "whsec_" + base64.b64encode(b"a key of twenty-four octets").decode()
PASSWORDS = ("postmark", "mailjet", "brevo", "sparkpost")
KINDS = ("delivered", "deferred", "bounced", "complained", "unsubscribed")
SAID = "smtp; 550 5.1.1 user unknown"

_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)
EC_KEY = base64.b64encode(
    _EC.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()


def _certificate(begin: float, end: float) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder(name, name, _RSA.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime.fromtimestamp(begin, UTC)).not_valid_after(datetime.fromtimestamp(end, UTC))
    return made.sign(_RSA, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CERTIFICATE = _certificate(NOW - 1e6, NOW + 1e6)
OLD_CERTIFICATE = _certificate(NOW - 1e6, NOW - 1e5)

KEYS: dict[str, Keys] = {
    "ses": Keys(now=NOW, topics=(TOPIC,), certificate=CERTIFICATE),
    "sendgrid": Keys(EC_KEY, NOW),
    "mandrill": Keys(PASSWORD, NOW, URL),
    "resend": Keys(WHSEC, NOW),
    **{name: Keys(PASSWORD, NOW) for name in ("mailgun", "mailersend", *PASSWORDS)},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ses": {"region": "eu-west-1", "access_key_id": "AKIAEXAMPLE", "events_topics": [TOPIC]},
    "mailgun": {"domain": "mail.example.com", "events_secret": PASSWORD},
    "mailjet": {"public_key": "pub11c", "events_secret": PASSWORD},
    "sendgrid": {"events_secret": EC_KEY},
    "resend": {"events_secret": WHSEC},
    "mandrill": {"events_secret": PASSWORD, "events_url": URL},
    **{name: {"events_secret": PASSWORD} for name in ("mailersend", "postmark", "brevo", "sparkpost")},
}


# --- What an event looks like: by our kind, or by the provider's own name for what is none of ours ---

Event = dict[str, Any]


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _ses(kind: str, id: str, to: str, key: str) -> Event:
    kinds = {"delivered": "Delivery", "deferred": "DeliveryDelay", "bounced": "Bounce", "complained": "Complaint"}
    name = kinds.get(kind, {"unsubscribed": "Subscription"}.get(kind, kind))
    failed = {"emailAddress": to, "action": "failed", "status": "5.1.1", "diagnosticCode": SAID}
    about: Event = {
        "Bounce": {"bounce": {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [failed]}},
        "Complaint": {"complaint": {"complainedRecipients": [{"emailAddress": to}], "complaintFeedbackType": "abuse"}},
        "Subscription": {
            "subscription": {"source": "UnsubscribeHeader", "newTopicPreferences": {"unsubscribeAll": True}}
        },
        "Delivery": {"delivery": {"recipients": [to], "smtpResponse": "250 ok"}},
        "DeliveryDelay": {"deliveryDelay": {"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": to}]}},
    }.get(name, {})
    return {"eventType": name, "mail": {"destination": [to], "tags": {"postroad_id": [id]}, "messageId": "m"}, **about}


def _sendgrid(kind: str, id: str, to: str, key: str) -> Event:
    names = {"bounced": "bounce", "complained": "spamreport", "unsubscribed": "unsubscribe"}
    return {
        "email": to,
        "event": names.get(kind, kind),
        "postroad_id": id,
        "sg_event_id": key,
        "sg_message_id": "m.filter",
        "timestamp": int(NOW),
        **({"reason": "550 5.1.1 user unknown", "status": "5.1.1", "type": "bounce"} if kind == "bounced" else {}),
    }


def _mailgun(kind: str, id: str, to: str, key: str) -> Event:
    names = {"bounced": "failed", "deferred": "failed"}
    return {
        "event": names.get(kind, kind),
        "id": "e",
        "recipient": to,
        "timestamp": NOW,
        "user-variables": {"postroad_id": id},
        "message": {"headers": {"message-id": "x@example.com"}},
        **({"severity": "permanent" if kind == "bounced" else "temporary"} if kind in names else {}),
        "delivery-status": {
            "code": 550,
            "message": "5.1.1 user unknown" if kind == "bounced" else "",
            "description": "",
        },
    }


def _mailjet(kind: str, id: str, to: str, key: str) -> Event:
    names = {
        "delivered": "sent",
        "deferred": "bounce",
        "bounced": "bounce",
        "complained": "spam",
        "unsubscribed": "unsub",
    }
    errors = {
        "bounced": {
            "error": "user unknown",
            "error_related_to": "recipient",
            "hard_bounce": True,
            "comment": "5.1.1 none",
        },
        "deferred": {"error": "greylisted", "error_related_to": "domain", "hard_bounce": False},
    }
    return {"event": names.get(kind, kind), "time": int(NOW), "MessageID": int.from_bytes(key.encode(), "big"),
            "email": to, "CustomID": id, "Payload": "", **errors.get(kind, {})}  # fmt: skip


def _postmark(kind: str, id: str, to: str, key: str) -> Event:
    about: Event = {
        "delivered": {"RecordType": "Delivery", "Recipient": to, "DeliveredAt": f"2026-09-21T{key}"},
        "bounced": {"RecordType": "Bounce", "Type": "HardBounce", "Email": to, "ID": key, "Details": "5.1.1 none"},
        "deferred": {"RecordType": "Bounce", "Type": "Transient", "Email": to, "ID": key, "Details": ""},
        "complained": {"RecordType": "SpamComplaint", "Type": "SpamComplaint", "Email": to, "ID": key},
        "unsubscribed": {
            "RecordType": "SubscriptionChange", "SuppressSending": True, "SuppressionReason": "ManualSuppression",
            "Recipient": to, "ChangedAt": key,
        },
    }.get(kind, {"RecordType": kind, "Recipient": to})  # fmt: skip
    return {"MessageID": "m", "Metadata": {"postroad_id": id}, "MessageStream": "outbound", **about}


def _brevo(kind: str, id: str, to: str, key: str) -> Event:
    names = {"bounced": "hard_bounce", "complained": "spam", "unsubscribed": "unsubscribe"}
    return {"event": names.get(kind, kind), "email": to, "id": 5, "message-id": f"<{key}@x>", "ts_event": int(NOW),
            "X-Mailin-custom": id, "reason": "550 5.1.1 none" if kind == "bounced" else ""}  # fmt: skip


def _resend(kind: str, id: str, to: str, key: str) -> Event:
    names = {"deferred": "email.delivery_delayed"}
    data: Event = {"email_id": "m", "to": [to], "tags": {"postroad_id": id}, "created_at": _iso(NOW)}
    if kind == "bounced":
        data["bounce"] = {"message": "550 5.1.1 none", "type": "Permanent", "subType": "General"}
    return {"type": names.get(kind, f"email.{kind}"), "created_at": _iso(NOW), "data": data}


def _sparkpost(kind: str, id: str, to: str, key: str) -> Event:
    names = {"delivered": "delivery", "deferred": "delay", "bounced": "bounce", "complained": "spam_complaint",
             "unsubscribed": "list_unsubscribe"}  # fmt: skip
    about = {"bounce_class": "10", "raw_reason": "550 5.1.1 none"} if kind == "bounced" else {}
    event = {"type": names.get(kind, kind), "event_id": key, "raw_rcpt_to": to, "rcpt_to": to.lower(),
             "rcpt_meta": {"postroad_id": id}, "timestamp": str(int(NOW)), **about}  # fmt: skip
    return {"msys": {"message_event": event}}


def _mailersend(kind: str, id: str, to: str, key: str) -> Event:
    names = {"bounced": "hard_bounced", "complained": "spam_complaint"}
    name = names.get(kind, kind)
    email = {"recipient": {"email": to}, "tags": ["news", f"postroad_id:{id}"], "message": {"id": "m"}}
    morph = {"object": "recipient_bounce", "reason": "550 5.1.1 none"} if kind == "bounced" else None
    data = {"object": "activity", "id": key, "type": name, "created_at": _iso(NOW), "email": email, "morph": morph}
    return {"type": f"activity.{name}", "created_at": _iso(NOW), "data": data}


def _mandrill(kind: str, id: str, to: str, key: str) -> Event:
    names = {"deferred": "deferral", "bounced": "hard_bounce", "complained": "spam", "unsubscribed": "unsub"}
    message: Event = {"email": to, "metadata": {"postroad_id": id}, "tags": [], "_id": key}
    if kind == "bounced":
        message |= {"bounce_description": "bad_mailbox", "diag": SAID}
    return {"event": names.get(kind, kind), "_id": key, "ts": int(NOW), "msg": message}


# --- How requests carry and prove it ---


def _hmac(secret: str | bytes, text: bytes, kind: Any = hashlib.sha256) -> hmac.HMAC:
    return hmac.new(secret.encode() if isinstance(secret, str) else secret, text, kind)


def _json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _by_password(events: Any, key: str, now: float) -> Posted:
    login = base64.b64encode(f"postroad:{PASSWORD}".encode()).decode()
    return Posted([("content-type", "application/json"), ("authorization", f"Basic {login}")], _json(events))


def _by_sendgrid(events: Any, key: str, now: float) -> Posted:
    body, moment = _json(events), str(int(now))
    signature = base64.b64encode(_EC.sign(moment.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    prefix = "x-twilio-email-event-webhook-"
    return Posted(
        [("content-type", "application/json"), (f"{prefix}signature", signature), (f"{prefix}timestamp", moment)], body
    )


def _by_mailgun(event: Any, key: str, now: float) -> Posted:
    moment = str(int(now))
    proof = {"timestamp": moment, "token": key, "signature": _hmac(PASSWORD, f"{moment}{key}".encode()).hexdigest()}
    body = _json({"signature": proof, "event-data": event})
    return Posted([("content-type", "application/json; charset=utf-8")], body)


def _by_svix(event: Any, key: str, now: float) -> Posted:
    body, moment = _json(event), str(int(now))
    mac = _hmac(base64.b64decode(WHSEC[6:]), f"{key}.{moment}.".encode() + body)
    signature = "v1,AAAA v1," + base64.b64encode(mac.digest()).decode()
    return Posted(
        [
            ("content-type", "application/json"),
            ("svix-id", key),
            ("svix-timestamp", moment),
            ("svix-signature", signature),
        ],
        body,
    )


def _by_mailersend(event: Any, key: str, now: float) -> Posted:
    body = _json(event)
    return Posted([("content-type", "application/json"), ("signature", _hmac(PASSWORD, body).hexdigest())], body)


def _by_mandrill(events: Any, key: str, now: float) -> Posted:
    text = _json(events).decode()
    signed = f"{URL}mandrill_events{text}".encode()
    signature = base64.b64encode(_hmac(PASSWORD, signed, hashlib.sha1).digest()).decode()
    kind = ("content-type", "application/x-www-form-urlencoded")
    return Posted([kind, ("x-mandrill-signature", signature)], urlencode({"mandrill_events": text}).encode())


def by_sns(event: Any, key: str, now: float, *, version: str = "2", topic: str = TOPIC, **more: Any) -> Posted:
    fields = {
        "Type": "Notification",
        "MessageId": key,
        "TopicArn": topic,
        "Subject": "Amazon SES Email Event Notification",
        "Message": _json(event).decode(),
        "Timestamp": _iso(now),
        **more,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
    kind = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = base64.b64encode(_RSA.sign(signed.encode(), padding.PKCS1v15(), kind)).decode()
    whole = {"SigningCertURL": SNS_URL, **fields, "SignatureVersion": version, "Signature": signature}
    return Posted([("content-type", "text/plain; charset=UTF-8")], json.dumps(whole).encode())


Said = tuple[str, str, str, str]  # kind, id, recipient, key
_EVENTS: dict[str, Callable[[str, str, str, str], Event]] = {
    "ses": _ses,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "mailjet": _mailjet,
    "postmark": _postmark,
    "brevo": _brevo,
    "resend": _resend,
    "sparkpost": _sparkpost,
    "mailersend": _mailersend,
    "mandrill": _mandrill,
}
_PROOFS: dict[str, Callable[[Any, str, float], Posted]] = {
    "ses": by_sns,
    "sendgrid": _by_sendgrid,
    "mailgun": _by_mailgun,
    "resend": _by_svix,
    "mailersend": _by_mailersend,
    "mandrill": _by_mandrill,
    **dict.fromkeys(PASSWORDS, _by_password),
}
POSTS = tuple(_EVENTS)
BATCHED = frozenset({"sendgrid", "mailjet", "brevo", "sparkpost", "mandrill", "postmark"})  # lists are read


def event(name: str, said: Said) -> Event:
    return _EVENTS[name](*said)


def post(name: str, *said: Said, now: float = NOW) -> Posted:
    """A request with these events; of a provider that sends one at a time, with the one."""
    events = [event(name, each) for each in said]
    return signed(name, events if name in BATCHED else events[0], said[0][3] if said else "k", now)


def signed(name: str, content: Any, key: str = "k", now: float = NOW) -> Posted:
    """A request with any content (octets are taken as they are), proven."""
    return _PROOFS[name](content, key, now)


def with_header(posted: Posted, name: str, value: str | None) -> Posted:
    rest: Sequence[tuple[str, str]] = [pair for pair in posted.headers if pair[0] != name]
    return Posted([*rest, *([(name, value)] if value is not None else [])], posted.body)
