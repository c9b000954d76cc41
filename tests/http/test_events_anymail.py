"""What a provider posts, read by us and by django-anymail: two readings of the same documentation must agree."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import django.conf
import pytest
import test_http_anymail  # noqa: F401  # sets Django up
from posts_of_providers import KINDS, PASSWORD, POSTS, Said, event, post, signed

from postroad_http.events import SOURCES, Posted

ID, TO = "01jd0000000000000000", "Bob@example.org"
MODULES = {"ses": "amazon_ses"}
VIEWS = {"ses": "AmazonSES", "sendgrid": "SendGrid", "sparkpost": "SparkPost", "mailersend": "MailerSend"}
THEIRS = {"rejected": "bounced", "failed": "bounced"}
KEYS = {"mailgun": "webhook_signing_key", "mailersend": "signing_secret", "mandrill": "webhook_key"}
APART = {
    ("resend", "unsubscribed"),  # Resend tells of none
    ("ses", "deferred"),  # anymail knows neither DeliveryDelay nor Subscription
    ("ses", "unsubscribed"),
    ("mailersend", "deferred"),  # told of since anymail was written
    ("mandrill", "delivered"),  # as this
}


def theirs(name: str, posted: Posted) -> list[tuple[str, str]]:
    """Kind and recipient of each event, by anymail."""
    from django.test import RequestFactory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what anymail thinks of providers that left it
        module = import_module(f"anymail.webhooks.{MODULES.get(name, name)}")
        kind = VIEWS.get(name, name.capitalize())
        found = getattr(module, f"{kind}TrackingWebhookView", None) or module.MandrillCombinedWebhookView
        keys = {KEYS[name]: PASSWORD} if name in KEYS else {}
        view: Any = object.__new__(found) if name == "ses" else found(**keys)  # SES's wants boto3, and not for reading
    headers = dict(posted.headers)
    request = RequestFactory().post("/", posted.body, content_type=headers.pop("content-type"), headers=headers)
    return [(str(each.event_type), each.recipient) for each in view.parse_events(request)]


def ours(name: str, posted: Posted) -> list[tuple[str, str]]:
    return [(notice.kind, notice.recipient) for notice in SOURCES[name].read(posted).notices]


def alone(name: str, said: Said) -> dict[str, Any]:
    """An event.  Brevo's is the metadata as anymail writes it: it cannot read others."""
    return {**event(name, said), **({"X-Mailin-custom": '{"postroad_id": 1}'} if name == "brevo" else {})}


def agreed(read: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(THEIRS.get(kind, kind), recipient) for kind, recipient in read if THEIRS.get(kind, kind) in KINDS]


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in POSTS for kind in (*KINDS, "opened") if (name, kind) not in APART]
)
def test_both_read_the_same(name: str, kind: str) -> None:
    said: Said = (kind, ID, TO, "k1")
    posted = post(name, said)
    if name in ("brevo", "postmark"):  # anymail reads one at a time
        posted = signed(name, alone(name, said))
    assert ours(name, posted) == agreed(theirs(name, posted))
    assert len(ours(name, posted)) == (kind in KINDS)


VARIANTS = [
    ("sendgrid", {"event": "dropped"}),
    ("sendgrid", {"event": "group_unsubscribe"}),
    ("sendgrid", {"event": "group_resubscribe"}),
    ("sendgrid", {"event": "processed"}),
    ("mailgun", {"event": "failed", "severity": "temporary"}),
    ("mailgun", {"event": "rejected", "reject": {"reason": "spam"}}),
    ("mailjet", {"event": "blocked", "error": "preblocked"}),
    ("mailjet", {"event": "bounce", "error": "greylisted", "hard_bounce": True}),
    ("mailjet", {"event": "bounce", "error": "quota exceeded", "hard_bounce": False}),
    *[("postmark", {"RecordType": "Bounce", "Type": kind, "Email": TO}) for kind in (
        "SoftBounce", "DnsError", "SpamNotification", "AutoResponder", "AddressChange", "Unsubscribe", "Subscribe",
        "OpenRelayTest", "Unknown", "VirusNotification", "ChallengeVerification", "BadEmailAddress", "ManuallyDeactivated",
        "Unconfirmed", "Blocked", "SMTPApiError", "DMARCPolicy", "TemplateRenderingFailed",
    )],
    ("postmark", {"RecordType": "SubscriptionChange", "SuppressSending": False, "SuppressionReason": None}),
    *[("brevo", {"event": kind}) for kind in (
        "soft_bounce", "blocked", "invalid_email", "error", "complaint", "request", "unique_opened", "proxy_open", "click",
    )],
    *[("sparkpost", {"type": kind}) for kind in (
        "out_of_band", "policy_rejection", "generation_failure", "generation_rejection", "link_unsubscribe", "injection",
        "initial_open", "amp_click",
    )],
    *[("sparkpost", {"type": "bounce", "bounce_class": code}) for code in ("1", "20", "22", "60", "70", "80", "90", "100")],
    *[("mandrill", {"event": kind}) for kind in ("soft_bounce", "reject", "send", "open", "whitelist")],
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_both_read_its_further_kinds_the_same(name: str, changes: dict[str, Any]) -> None:
    whole = alone(name, ("delivered", ID, TO, "k1"))
    inner = whole["msys"]["message_event"] if name == "sparkpost" else whole
    inner.update(changes)
    posted = signed(name, [whole] if name in ("sendgrid", "mailjet", "sparkpost", "mandrill") else whole)
    assert ours(name, posted) == agreed(theirs(name, posted))


def test_django_is_set_up() -> None:
    assert django.conf.settings.configured
