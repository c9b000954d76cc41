"""What the providers' fakes read out of our requests is the message that was sent: every part, and nobody else's address."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from drawn_letters import Drawn, drawn
from fakes_of_providers import MAKERS, SECRET, Fake, Mail
from http_peer import Asked
from http_road import Road
from hypothesis import HealthCheck, given, settings

from postroad.message import Message
from postroad.testing import make_request
from postroad.verdict import Disposition, Verdict
from postroad_http.letter import Unfit
from postroad_http.provider import Call, Parcel
from postroad_http.providers import PROVIDERS

FIELDS = sorted(name for name, provider in PROVIDERS.items() if not provider.able.raw)
RAW = sorted(name for name, provider in PROVIDERS.items() if provider.able.raw)
TWO = (
    b"From: a@example.com\r\nTo: B <b@example.org>, c@example.org\r\nCc: d@example.org\r\nSubject: Hi\r\n\r\nHello.\r\n"
)


def write(name: str, content: bytes, *recipients: str, tags: tuple[str, ...] = (), **more: Any) -> tuple[Fake, Call]:
    """A request as the transport would have it written."""
    fake, provider = MAKERS[name](), PROVIDERS[name]
    table = msgspec.convert({**fake.settings, "api_key": SECRET, **more}, provider.settings)
    parcel = Parcel(
        "01k0id", recipients, (0,), content, tags, provider.base_url(table), SECRET, 1_795_000_000.0, "key-1"
    )
    return fake, provider.write(parcel, table)


def read(fake: Fake, call: Call) -> Mail:
    headers = {name.lower(): value for name, value in call.headers}
    target = "/" + call.url.partition("://")[2].partition("/")[2]
    found = fake.read(Asked("POST", target, headers, call.body))
    assert isinstance(found, Mail), found
    return found


@pytest.mark.parametrize("name", FIELDS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(message=drawn())
def test_a_message_comes_through_fields_whole(name: str, message: Drawn) -> None:
    mail = read_fit(name, message, message.to[1])
    if mail is None:
        return
    assert mail.to == [message.to[1]]
    assert mail.shown == [message.to]
    assert mail.author == message.author
    assert mail.reply_to == ([message.reply_to] if message.reply_to else [])
    assert mail.subject == message.subject
    expected = {"text": message.text, "html": message.html}
    assert mail.texts == {key: text.replace("\n", "\r\n") for key, text in expected.items() if text}
    files = sorted((file.name, file.kind, file.data, file.cid, file.inline) for file in mail.files)
    assert files == sorted((sent.name, "image/png", sent.data, sent.cid, bool(sent.cid)) for sent in message.files)
    ours = ("message-id", "x-pm-keepid")
    assert [(key, value) for key, value in mail.headers if key.lower() not in ours] == message.headers
    assert mail.tags == ["welcome", "de"]
    assert mail.id == "01k0id"


def read_fit(name: str, message: Drawn, to: str) -> Mail | None:
    """The mail, or None where it holds one of the few things that this provider cannot carry, and that is what it says."""
    try:
        return read(*write(name, message.content, to, tags=("welcome", "de")))
    except Unfit as unfit:
        said = str(unfit)
    marks = name in ("brevo", "mailersend", "sparkpost") and "would replace" in said
    assert marks or (name == "brevo" and "content id" in said and any(sent.cid for sent in message.files)), said
    return None


@pytest.mark.parametrize("name", RAW)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(message=drawn())
def test_a_message_goes_as_it_is(name: str, message: Drawn) -> None:
    mail = read_fit(name, message, "somebody@example.net")
    if mail is None:
        return
    assert mail.raw == message.content
    assert mail.to == ["somebody@example.net"]
    assert (mail.tags, mail.id) == (["welcome", "de"], "01k0id")


# --- Envelope truth ---


@pytest.mark.parametrize("name", FIELDS)
def test_others_are_neither_sent_to_nor_hidden_unless_it_is_said(name: str) -> None:
    with pytest.raises(Unfit, match="name others"):
        write(name, TWO, "b@example.org", others="refuse")
    mail = read(*write(name, TWO, "b@example.org", others="hide"))
    assert (mail.to, mail.shown) == (["b@example.org"], [("B", "b@example.org")])
    mail = read(*write(name, TWO, "blind@example.org", others="hide"))
    assert (mail.to, mail.shown) == (["blind@example.org"], [("", "blind@example.org")])


@pytest.mark.parametrize("name", FIELDS)
def test_a_message_to_one_or_to_nobody_named_is_fit(name: str) -> None:
    for to in (b"To: b@EXAMPLE.org", b"To: undisclosed-recipients:;", b"X-Nobody: 1"):
        content = b"From: a@example.com\r\n" + to + b"\r\nSubject: Hi\r\n\r\nHello.\r\n"
        assert read(*write(name, content, "b@example.org", others="refuse")).to in (
            ["b@example.org"],
            ["b@EXAMPLE.org"],
        )


@pytest.mark.parametrize("name", RAW)
def test_with_the_message_as_it_is_the_envelope_is_apart(name: str) -> None:
    most = PROVIDERS[name].able.recipients_per_call
    to = tuple(f"blind{number}@example.net" for number in range(most))
    mail = read(*write(name, TWO, *to))
    assert tuple(mail.to) == to
    assert mail.raw == TWO


async def test_the_default_refuses_what_shows_others_and_says_how_to_change_it(road: Road) -> None:
    table = {key: value for key, value in road.settings.items() if key != "others"}
    async with road.open() as _:
        pass
    from postroad_http import http_transport

    async with http_transport(table) as transport:
        (verdict,) = await transport.deliver(make_request(("b@example.org",), content=TWO))
    if road.fake.name in RAW:
        assert verdict.disposition is Disposition.ACCEPTED
    else:
        assert verdict.disposition is Disposition.REFUSED
        assert 'others = "hide"' in verdict.reply
        assert not road.peer.connections


# --- What cannot go along is named ---


@pytest.mark.parametrize("name", FIELDS)
def test_a_message_without_a_text_is_unfit(name: str) -> None:
    content = b"From: a@example.com\r\nTo: b@example.org\r\nContent-Type: image/png\r\n\r\nAAAA\r\n"
    with pytest.raises(Unfit, match="wants a text"):
        write(name, content, "b@example.org")


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"postmark", "mailersend"}))
def test_a_field_that_is_there_twice_is_unfit(name: str) -> None:
    with pytest.raises(Unfit, match="X-Twice is there twice"):
        write(name, b"From: a@example.com\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nHello\r\n", "b@example.org")


@pytest.mark.parametrize("name", ["postmark", "mailersend"])
def test_where_fields_are_a_list_one_may_be_there_twice(name: str) -> None:
    mail = read(
        *write(name, b"From: a@example.com\r\nSubject: x\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nHello\r\n", "b@example.org")
    )
    assert mail.headers[:2] == [("X-Twice", "1"), ("X-Twice", "2")]


@pytest.mark.parametrize("name", ["mailjet", "brevo", "mailersend"])
def test_a_second_reply_address_is_unfit_where_there_is_place_for_one(name: str) -> None:
    content = b"From: a@example.com\r\nReply-To: x@example.com, y@example.com\r\n\r\nHello\r\n"
    with pytest.raises(Unfit, match="one address in Reply-To"):
        write(name, content, "b@example.org")


@pytest.mark.parametrize("name", ["sendgrid", "postmark", "resend"])
def test_several_reply_addresses_go_along_where_there_is_place(name: str) -> None:
    content = b"From: a@example.com\r\nSubject: x\r\nReply-To: X <x@example.com>, y@example.com\r\n\r\nHello\r\n"
    mail = read(*write(name, content, "b@example.org"))
    assert mail.reply_to == [("X", "x@example.com"), ("", "y@example.com")]


@pytest.mark.parametrize("name", ["brevo", "mailersend", "sparkpost"])
def test_what_a_template_language_would_replace_is_unfit(name: str) -> None:
    plain = b"From: a@example.com\r\nSubject: x\r\n\r\nDear {{ name }}\r\n"
    hidden = (
        b"From: a@example.com\r\nSubject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode(plain)
        + b"\r\n"
    )
    for content in (plain, hidden):
        with pytest.raises(Unfit, match="would replace"):
            write(name, content, "b@example.org")


@pytest.mark.parametrize("name", ["ses", "mailgun", "resend", "mandrill"])
def test_a_tag_that_cannot_be_one_is_unfit_and_named(name: str) -> None:
    with pytest.raises(Unfit, match=r"the tag 'früh, spät'"):
        write(name, TWO, "b@example.org", tags=("früh, spät",), **({"others": "hide"} if name in FIELDS else {}))


@pytest.mark.parametrize("name", ["brevo", "mailersend", "resend"])
def test_a_file_whose_name_says_another_kind_is_unfit(name: str) -> None:
    content = b'From: a@example.com\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary="q"\r\n\r\n'
    content += b"--q\r\n\r\nHello\r\n--q\r\n"
    content += b'Content-Type: application/pdf; name="a.png"\r\n\r\n%PDF\r\n--q--\r\n'
    with pytest.raises(Unfit, match=r"a\.png does not say application/pdf"):
        write(name, content, "b@example.org")
    unknown = content.replace(b"a.png", b"a.no-such-ending")
    if name == "resend":
        assert read(*write(name, unknown, "b@example.org")).files[0].name == "a.no-such-ending"


def test_brevo_gets_no_encoded_words_that_it_would_break() -> None:
    content = b"From: a@example.com\r\nSubject: x\r\nX-Name: =?utf-8?q?J=C3=BCrgen?=\r\n\r\nHello\r\n"
    with pytest.raises(Unfit, match="X-Name has one"):
        write("brevo", content, "b@example.org")


def test_sendgrid_refuses_fields_of_its_own() -> None:
    with pytest.raises(Unfit, match="X-SG-EID"):
        write("sendgrid", b"From: a@example.com\r\nX-SG-EID: 1\r\n\r\nHello\r\n", "b@example.org")


async def test_metadata_and_tags_may_stay_at_home(road: Road) -> None:
    verdicts = await _deliver_tagged(road, tags=False, metadata=False)
    assert [verdict.disposition for verdict in verdicts] == [Disposition.ACCEPTED]
    (mail,) = road.fake.mails
    assert (mail.tags, mail.id) == ([], "")


async def test_metadata_and_tags_go_along(road: Road) -> None:
    await _deliver_tagged(road)
    (mail,) = road.fake.mails
    assert (mail.tags, mail.id) == (["welcome"], "01k0id")


async def _deliver_tagged(road: Road, **more: Any) -> list[Verdict]:
    message = Message(id="01k0id", sender="a@example.com", accepted_at=0.0, size=1, tags=("welcome",))
    async with road.open(**more) as transport:
        content = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hi\r\n\r\nHello.\r\n"
        return list(await transport.deliver(make_request(("b@example.org",), message=message, content=content)))


# --- Idempotency ---


def test_what_is_idempotent_says_so_and_the_others_do_not() -> None:
    assert {name for name, provider in PROVIDERS.items() if provider.able.idempotent} == {"resend"}


async def test_the_same_recipient_again_is_the_same_request_and_another_one_is_not() -> None:
    from http_road import road_to

    async with road_to("resend") as road, road.open() as transport:
        content = b"From: a@example.com\r\nSubject: Hi\r\n\r\nHello.\r\n"
        for to in ("b@example.org", "b@example.org", "c@example.org"):
            number = 0 if to.startswith("b") else 1
            from postroad.store.contract import LeasedRecipient

            await transport.deliver(make_request((LeasedRecipient(number, to),), content=content))
        first, second, other = road.peer.asked
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != other.headers["idempotency-key"]
        assert first.body == second.body
