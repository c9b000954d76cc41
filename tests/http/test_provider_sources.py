"""Each provider's module: what it believes, what it reads, and that nothing else comes out of whatever a stranger sends."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posts_of_providers import (
    BATCHED,
    CERTIFICATE,
    KEYS,
    KINDS,
    NOW,
    OLD_CERTIFICATE,
    PASSWORD,
    PASSWORDS,
    POSTS,
    SNS_URL,
    TOPIC,
    by_sns,
    event,
    post,
    signed,
    with_header,
)

from postroad.remote import NOTICES_AT_ONCE
from postroad_http.events import SOURCES, Forged, Keys, Malformed, Posted
from postroad_http.events.source import USER, unbase64
from postroad_http.providers import PROVIDERS

ID, TO = "01jd0000000000000000", "Bob@example.org"
SIGNING = tuple(name for name in POSTS if name not in PASSWORDS)
TIMED = tuple(name for name in POSTS if SOURCES[name].window_seconds)
BODY_SIGNED = tuple(name for name in SIGNING if name != "mailgun")
EVERY = pytest.mark.parametrize("name", POSTS)
MISSING = {("resend", "unsubscribed")}  # Resend tells of none


def believed(name: str, posted: Posted, keys: Keys | None = None) -> bool:
    used = keys or KEYS[name]
    try:
        SOURCES[name].check_before(posted, used)
        SOURCES[name].check(posted, used)
    except Forged:
        return False
    return True


def test_there_is_a_module_for_each_provider() -> None:
    assert set(SOURCES) == set(PROVIDERS) == set(POSTS)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in POSTS for kind in KINDS if (name, kind) not in MISSING]
)
def test_what_a_provider_says_is_read(name: str, kind: str) -> None:
    posted = post(name, (kind, ID, TO, "k1"))
    assert believed(name, posted)
    batch = SOURCES[name].read(posted)
    (notice,) = batch.notices
    assert (notice.kind, notice.id, notice.recipient) == (kind, ID, TO)
    assert notice.key
    if kind == "bounced":
        assert notice.said
        assert notice.status == ("" if name == "none" else "5.1.1")


@EVERY
def test_what_is_none_of_ours_is_ignored(name: str) -> None:
    for kind in ("opened", "open", "click", "something.new", "Open"):
        batch = SOURCES[name].read(post(name, (kind, ID, TO, "k1")))
        assert (batch.notices, batch.ignored, batch.confirm) == ((), 1, "")


@EVERY
def test_an_event_without_our_id_or_a_recipient_is_ignored(name: str) -> None:
    """The account may send other mail too."""
    for id, to in (("", TO), (ID, "")):
        assert SOURCES[name].read(post(name, ("delivered", id, to, "k1"))).notices == ()


@EVERY
def test_keys_tell_events_apart_and_repetitions_alike(name: str) -> None:
    one, again, other = (
        SOURCES[name].read(post(name, ("delivered", ID, TO, key))).notices for key in ("k1", "k1", "k2")
    )
    assert one == again
    assert one[0].key != other[0].key


# --- Forged ---


@EVERY
def test_nothing_is_believed_without_its_proof(name: str) -> None:
    posted = post(name, ("bounced", ID, TO, "k1"))
    for header, _ in posted.headers:
        if header != "content-type":
            assert not believed(name, with_header(posted, header, None))
            assert not believed(name, with_header(posted, header, ""))
            assert not believed(name, with_header(posted, header, "ä\udcff=é"))
            assert not believed(name, Posted([*posted.headers, (header, "x")], posted.body)), "twice"


@pytest.mark.parametrize("name", [name for name in POSTS if name != "ses"])
@pytest.mark.parametrize("secret", ["", "another", "ä", "whsec_AAAA"])
def test_nothing_is_believed_by_another_secret(name: str, secret: str) -> None:
    posted, keys = post(name, ("bounced", ID, TO, "k1")), Keys(secret, NOW, KEYS[name].url)
    with pytest.raises(Forged):
        SOURCES[name].check(posted, keys)


@pytest.mark.parametrize("name", BODY_SIGNED)
def test_nothing_is_believed_of_an_altered_body(name: str) -> None:
    posted = post(name, ("delivered", ID, TO, "k1"))
    altered = posted.body.replace(ID.encode(), ID.replace("j", "k").encode())
    assert altered != posted.body
    assert not believed(name, Posted(posted.headers, altered))
    if name != "mandrill":  # whose form is taken apart before it is signed
        assert not believed(name, Posted(posted.headers, posted.body + b" ")) or name == "ses"


def test_the_body_of_mailgun_is_bound_by_its_token() -> None:
    batch = SOURCES["mailgun"].read(post("mailgun", ("opened", ID, TO, "k1")))
    assert batch.token == "k1"
    assert SOURCES["mailgun"].read(post("mailgun", ("bounced", ID, TO, "k1"))).token == "k1"


@pytest.mark.parametrize("name", TIMED)
def test_what_is_outdated_is_not_believed(name: str) -> None:
    window = SOURCES[name].window_seconds
    assert window is not None
    for age, is_fresh in ((window - 1, True), (window + 1, False), (-299, True), (-301, False)):
        assert believed(name, post(name, ("bounced", ID, TO, "k1"), now=NOW - age)) is is_fresh


@pytest.mark.parametrize("name", PASSWORDS)
def test_passwords(name: str) -> None:
    posted = post(name, ("bounced", ID, TO, "k1"))

    def login(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    for value, is_right in (
        (login(f"{USER}:{PASSWORD}"), True),
        (f"bearer {PASSWORD}", True),
        (login(f"{USER}:{PASSWORD}x"), False),
        (login(f"root:{PASSWORD}"), False),
        (login(PASSWORD), False),
        (f"Bearer {PASSWORD} x", False),
        (PASSWORD, False),
        (f"Digest {PASSWORD}", False),
    ):
        assert believed(name, with_header(posted, "authorization", value)) is is_right
    assert SOURCES[name].challenge


# --- Amazon ---


def test_both_versions_of_amazons_signatures() -> None:
    for version, is_known in (("1", True), ("2", True), ("3", False), ("", False)):
        assert believed("ses", by_sns(event("ses", ("bounced", ID, TO, "k1")), "k1", NOW, version=version)) is is_known


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123456789abcdef.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://snsXeu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/bucket/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem?x",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem\n",
        "https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "",
    ],
)
def test_a_certificate_lies_nowhere_but_with_the_topics_region(url: str) -> None:
    posted = by_sns(event("ses", ("bounced", ID, TO, "k1")), "k1", NOW, SigningCertURL=url)
    with pytest.raises(Forged, match="certificate"):
        SOURCES["ses"].certificate_url(posted, KEYS["ses"])
    assert SOURCES["ses"].certificate_url(post("ses", ("bounced", ID, TO, "k1")), KEYS["ses"]) == SNS_URL


def test_another_topic_is_not_believed_whoever_signed() -> None:
    for topic in ("arn:aws:sns:eu-west-1:999999999999:mail-events", "", TOPIC + "x", TOPIC.replace(":aws:", ":evil:")):
        posted = by_sns(event("ses", ("bounced", ID, TO, "k1")), "k1", NOW, topic=topic)
        for ask in (SOURCES["ses"].certificate_url, SOURCES["ses"].check):
            with pytest.raises(Forged, match="topic"):
                ask(posted, KEYS["ses"])


@pytest.mark.parametrize("certificate", [b"", b"nonsense", OLD_CERTIFICATE, CERTIFICATE[:-40]])
def test_a_certificate_that_is_none_proves_nothing(certificate: bytes) -> None:
    with pytest.raises(Forged):
        SOURCES["ses"].check(
            post("ses", ("bounced", ID, TO, "k1")), Keys(now=NOW, topics=(TOPIC,), certificate=certificate)
        )


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=t&Token=abc", True),
        ("https://sns.eu-west-1.amazonaws.com/?Action=DeleteTopic&TopicArn=t", False),
        ("https://sns.eu-west-1.amazonaws.com.evil.example/?Action=ConfirmSubscription&Token=abc", False),
        ("http://127.0.0.1/?Action=ConfirmSubscription&Token=abc", False),
    ],
)
def test_a_subscription_is_confirmed_at_amazon_alone(url: str, is_right: bool) -> None:
    more = {"Type": "SubscriptionConfirmation", "Token": "abc", "SubscribeURL": url, "Subject": None}
    posted = by_sns(b"You have chosen", "k1", NOW, **more)
    assert believed("ses", posted)
    if is_right:
        assert SOURCES["ses"].read(posted).confirm == url
    else:
        with pytest.raises(Malformed):
            SOURCES["ses"].read(posted)


def test_amazons_greeting_and_a_soft_bounce_without_a_report() -> None:
    greeting = by_sns(b"Successfully validated SNS topic for Amazon SES event publishing.", "k1", NOW)
    assert SOURCES["ses"].read(greeting).ignored == 1
    soft = event("ses", ("bounced", ID, TO, "k1"))
    soft["bounce"] |= {"bounceType": "Transient"}
    assert SOURCES["ses"].read(by_sns(soft, "k1", NOW)).notices[0].kind == "bounced", "the server's own report says so"
    soft["bounce"]["bouncedRecipients"] = [{"emailAddress": TO}]
    assert SOURCES["ses"].read(by_sns(soft, "k1", NOW)).notices[0].kind == "deferred"


@pytest.mark.parametrize(
    ("preferences", "leaves"),
    [
        ({"unsubscribeAll": True}, True),
        (
            {"unsubscribeAll": False, "topicSubscriptionStatus": [{"topicName": "a", "subscriptionStatus": "OptOut"}]},
            True,
        ),
        (
            {"unsubscribeAll": False, "topicSubscriptionStatus": [{"topicName": "a", "subscriptionStatus": "OptIn"}]},
            False,
        ),
        ({}, False),
        (None, False),
    ],
)
def test_who_joins_a_list_of_amazons_does_not_leave_it(preferences: Any, leaves: bool) -> None:
    whole = event("ses", ("unsubscribed", ID, TO, "k1"))
    whole["subscription"]["newTopicPreferences"] = preferences
    assert len(SOURCES["ses"].read(by_sns(whole, "k1", NOW)).notices) == leaves


# --- Vectors that others published ---


def test_svixs_own_vector() -> None:
    """From the signing test of Standard Webhooks' and Svix's libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = [
        ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("svix-timestamp", "1614265330"),
        ("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    assert believed("resend", Posted(headers, b'{"test": 2432232314}'), Keys(secret, 1614265331.0))
    assert not believed("resend", Posted(headers, b'{"test": 2432232315}'), Keys(secret, 1614265331.0))


def test_sendgrids_own_vector() -> None:
    """From the test of SendGrid's own libraries."""
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpV"
        "KS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
    )
    signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
    said = {
        "email": "hello@world.com",
        "event": "dropped",
        "reason": "Bounced Address",
        "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
        "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
        "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
        "timestamp": 1600112492,
    }
    body = json.dumps([said], separators=(",", ":")).encode() + b"\r\n"
    prefix = "x-twilio-email-event-webhook-"
    posted = Posted([(f"{prefix}signature", signature), (f"{prefix}timestamp", "1600112502")], body)
    assert believed("sendgrid", posted, Keys(key, 1600112503.0))
    assert not believed("sendgrid", Posted(posted.headers, body[:-2]), Keys(key, 1600112503.0))


# --- Whatever is sent ---


UNWRITABLE = (b"", b"{", b"\xff", b"[" * 100_000)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[1]", b'"x"', b"[" * 100_000, b"\xff", b"{}", b"[[]]", b"-0"]
)
@EVERY
def test_what_is_signed_and_makes_no_sense_is_malformed_or_says_nothing(name: str, content: bytes) -> None:
    if name in ("mailgun", "ses", "mandrill") and content in UNWRITABLE:
        return  # their signature stands within the JSON, or over text
    posted = signed(name, json.loads(content) if name == "mailgun" else content)
    assert believed(name, posted)
    with contextlib.suppress(Malformed):
        assert SOURCES[name].read(posted).notices == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def twisted(draw: st.DrawFn) -> tuple[str, Any]:
    """An event of a provider in which something is something else."""
    name = draw(st.sampled_from(POSTS))
    whole = event(name, (draw(st.sampled_from(KINDS)), ID, TO, "k1"))
    here = whole
    for _ in range(draw(st.integers(0, 4))):
        key = draw(st.sampled_from(sorted(here)))
        if isinstance(here[key], dict) and here[key] and draw(st.booleans()):
            here = here[key]
        else:
            here[key] = draw(VALUES)
    return name, whole


@given(twisted())
@settings(max_examples=600, deadline=None)
def test_no_shape_of_an_event_is_a_surprise(found: tuple[str, Any]) -> None:
    name, whole = found
    try:
        batch = SOURCES[name].read(signed(name, [whole] if name in BATCHED else whole))
    except Malformed:
        return
    for notice in batch.notices:
        assert not {"Cc", "Cs", "Zl", "Zp"}.intersection(map(category, notice.id + notice.recipient + notice.said))
        assert max(len(notice.id), len(notice.recipient), len(notice.key), len(notice.said)) <= 1000


@EVERY
def test_a_huge_batch_is_read(name: str) -> None:
    said = [("delivered", ID, f"b{number}@example.org", f"k{number}") for number in range(2000)]
    posted = post(name, *said) if name in BATCHED else post(name, said[0])
    assert believed(name, posted)
    assert len(SOURCES[name].read(posted).notices) == (2000 if name in BATCHED else 1)
    assert NOTICES_AT_ONCE >= 2000


@given(
    st.sampled_from(POSTS),
    st.binary(max_size=300),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=20)), max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_a_stranger_is_forged_and_nothing_else(name: str, body: bytes, headers: list[tuple[str, str]]) -> None:
    for ask in (SOURCES[name].certificate_url, SOURCES[name].check_before, SOURCES[name].check):
        with contextlib.suppress(Forged):
            ask(Posted(headers, body), KEYS[name])
    assert not believed(name, Posted(headers, body))


@pytest.mark.parametrize("text", ["", "a", "äöü", "====", "YQ"])
def test_base64(text: str) -> None:
    if text == "":
        assert unbase64(text) == b""
        return
    with pytest.raises(Forged):
        unbase64(text)


def test_the_trial_of_a_mandrill_webhook_says_nothing() -> None:
    import hashlib
    import hmac
    from urllib.parse import urlencode

    url = KEYS["mandrill"].url
    for text, is_answered in (("[]", True), ('[{"event":"hard_bounce"}]', False)):
        mac = hmac.new(b"test-webhook", f"{url}mandrill_events{text}".encode(), hashlib.sha1)
        headers = [("x-mandrill-signature", base64.b64encode(mac.digest()).decode())]
        assert believed("mandrill", Posted(headers, urlencode({"mandrill_events": text}).encode())) is is_answered


def test_a_key_shows_nothing() -> None:
    assert PASSWORD not in repr(KEYS["mailgun"])
