"""What is sent for a request: read by the standard library, it has the same parts, names and octets."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mail_site import request, send

from postroad.appengine.attachment_types import EXTENSION_BLACKLIST, EXTENSION_MIME_MAP
from postroad.appengine.transmission import mail_fields

OCTETS = bytes(range(256))


def parts_of(message):
    return [part for part in message.walk() if not part.is_multipart()]


def test_binary_attachments_arrive_octet_for_octet(site):
    send(attachments=[("a.bin", OCTETS), ("b.jpg", OCTETS * 100 + b"\r\r\n\n")])
    first, second = site.read().iter_attachments()
    assert (first.get_filename(), first.get_content(), first.get_content_type()) == (
        "a.bin",
        OCTETS,
        "application/octet-stream",
    )
    assert (second.get_filename(), second.get_content(), second.get_content_type()) == (
        "b.jpg",
        OCTETS * 100 + b"\r\r\n\n",
        "image/jpeg",
    )


def test_names_are_encoded_as_names_and_addresses_stay_addresses(site):
    send(
        Sender="Jérôme <a@example.com>",
        To=['"Doe, Jöhn" <b@example.org>', "Ünal <c@example.org>"],
        Cc=["Team: x@example.org, Y <y@example.org>;"],
        Bcc=["Hidden <z@example.org>"],
        ReplyTo="Büro <r@example.com>",
    )
    stored, content = site.only()
    message = message_from_bytes(content)
    assert content.isascii()
    assert getaddresses([message["From"]])[0][1] == "a@example.com"
    read = site.read()
    assert [(each.display_name, each.addr_spec) for each in read["To"].addresses] == [
        ("Doe, Jöhn", "b@example.org"),
        ("Ünal", "c@example.org"),
    ]
    assert [each.addr_spec for each in read["Cc"].addresses] == ["x@example.org", "y@example.org"]
    assert read["From"].addresses[0].display_name == "Jérôme"
    assert read["Reply-To"].addresses[0].display_name == "Büro"
    assert [recipient.address for recipient in stored.recipients] == [
        f"{local}@example.org" for local in ("b", "c", "x", "y", "z")
    ]
    assert stored.message.sender == "a@example.com"


def test_date_and_message_id_are_there_and_bcc_and_an_empty_reply_to_are_not(site):
    id = send(Bcc=["z@example.org"], ReplyTo="")
    message = site.read()
    assert re.fullmatch(rf"<{id}@.+>", message["Message-ID"])
    assert parsedate_to_datetime(str(message["Date"])).utcoffset().total_seconds() == 0
    assert "Bcc" not in message
    assert "Reply-To" not in message
    assert b"z@example.org" not in site.only()[1]


def test_all_three_bodies_are_alternatives_in_the_originals_order(site):
    send(TextBody="text ü", AmpHtmlBody="<html ⚡4email></html>", HtmlBody="<b>ü</b>")
    message = site.read()
    assert message.get_content_type() == "multipart/alternative"
    assert [(part.get_content_type(), part.get_content().rstrip("\n")) for part in message.iter_parts()] == [
        ("text/plain", "text ü"),
        ("text/x-amp-html", "<html ⚡4email></html>"),
        ("text/html", "<b>ü</b>"),
    ]


def test_a_message_without_any_body_is_an_empty_one(site):
    send(TextBody=None)
    assert site.read().get_content_type() == "text/plain"


def test_inline_content_goes_with_its_html_and_without_angle_brackets_too(site):
    send(
        HtmlBody='<img src="cid:logo">',
        attachments=[("a.png", b"1", "<logo>"), ("b.png", b"2", "photo"), ("c.png", b"3")],
    )
    by_name = {part.get_filename(): part for part in parts_of(site.read())}
    assert by_name["a.png"]["Content-ID"] == "<logo>"
    assert by_name["b.png"]["Content-ID"] == "<photo>"
    assert by_name["a.png"].get_content_disposition() == "inline"
    assert by_name["c.png"]["Content-ID"] is None
    assert by_name["c.png"].get_content_disposition() == "attachment"


def test_further_headers_travel_with_their_names_and_values(site):
    headers = [
        ("List-Unsubscribe", "<https://example.com/u>, <mailto:u@example.com>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("References", "<1@example.com>\r\n <2@example.com>"),
        (" In-Reply-To ", "<2@example.com>"),
        ("On-Behalf-Of", "Jürgen"),
        ("Auto-Submitted", "auto-generated"),
        ("Resent-From", "Jürgen <j@example.com>"),
    ]
    send(headers=headers)
    message = site.read()
    assert message["List-Unsubscribe"] == headers[0][1]
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["References"] == "<1@example.com> <2@example.com>"
    assert message["In-Reply-To"] == "<2@example.com>"
    assert message["On-Behalf-Of"] == "Jürgen"
    assert message["Resent-From"].addresses[0].display_name == "Jürgen"


def test_headers_that_say_nothing_are_not_sent(site):
    """References of a first mail."""
    send(headers=[("References", ""), ("In-Reply-To", " "), ("List-Id", "<a.example.com>")])
    message = site.read()
    assert (message["References"], message["In-Reply-To"], message["List-Id"]) == (None, None, "<a.example.com>")


@pytest.mark.parametrize(
    ("given", "sent"), [("Hello\n", "Hello"), ("Hello\r\n world", "Hello world"), ("a\nb", "a b"), ("  a", "  a")]
)
def test_line_ends_in_a_subject_are_spaces(given, sent):
    assert mail_fields(request(Subject=given))["subject"] == sent


def test_hundreds_of_recipients_are_one_message(site):
    send(
        To=[f"Name {number} <r{number}@example.org>" for number in range(300)],
        Bcc=[f"b{n}@example.org" for n in range(300)],
    )
    stored, _ = site.only()
    assert len(stored.recipients) == 600
    assert len(site.read()["To"].addresses) == 300


def test_text_attachments_say_how_they_are_encoded_and_others_keep_the_originals_type(site):
    send(attachments=[("a.txt", "grün".encode()), ("b.log", b"plain"), ("c.docx", b"d"), ("d.txt", b"\xff")])
    types = [str(part["Content-Type"]) for part in site.read().iter_attachments()]
    assert types == [
        'text/plain; charset="utf-8"',
        'text/plain; charset="utf-8"',
        EXTENSION_MIME_MAP["docx"],
        "text/plain",
    ]


# --- any message ---


def has_people(content, field, people):
    """By both readers of the standard library: the newer one leaves the fold between two encoded words in a name, the older one
    takes what stands in quotes for an encoded word.
    """
    newer = message_from_bytes(content, policy=policy.default)[field].addresses
    older = getaddresses([message_from_bytes(content)[field]])
    assert [each.addr_spec for each in newer] == [address for _, address in older] == [address for _, address in people]
    return all(
        name in (new.display_name, str(make_header(decode_header(old))))
        for (name, _), new, (old, _) in zip(people, newer, older, strict=True)
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)
LINES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=90), max_size=4
).map("\n".join)
NAME = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=30).map(
    lambda name: " ".join(name.split())
)
LOCAL = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8})?", fullmatch=True)


def quoted(name, local):
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{local}@example.org>' if name else f"{local}@example.org"


PEOPLE = st.lists(st.tuples(NAME, LOCAL), max_size=4, unique_by=lambda person: person[1])
EXTENSIONS = st.sampled_from(["bin", "jpg", "pdf", "txt", "csv", "html", "docx", "xyz"])
STEM = NAME.map(lambda name: name.replace("/", "").replace("\\", "").lstrip(".") or "a")
FILES = st.lists(st.tuples(STEM, EXTENSIONS, st.binary(max_size=300)), max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    sender=NAME,
    to=PEOPLE,
    bcc=PEOPLE,
    subject=TEXT,
    body=st.none() | LINES,
    html=st.none() | LINES,
    amp=st.none() | LINES,
    files=FILES,
)
@example("", [("=?utf-8?q?x?=", "a")], [], "=?utf-8?q?x?=", "From x\n.\n", None, None, [])
@example("a, b", [("", "a")], [("", "b")], "x" * 60, "x" * 3000, "", "", [("ü", "bin", OCTETS)])
def test_any_message_is_read_by_the_standard_library_as_it_was_given(
    site, sender, to, bcc, subject, body, html, amp, files
):
    attachments = [(f"{name}.{extension}", data) for name, extension, data in files]
    message = request(
        Sender=quoted(sender, "s").replace("example.org", "example.com"),
        To=[", ".join(quoted(*person) for person in to)] if to else [],
        Bcc=[*(quoted(*person) for person in bcc), "last@example.org"],
        Subject=subject,
        TextBody=body,
        HtmlBody=html,
        AmpHtmlBody=amp,
        attachments=attachments,
    )
    id = send(message)
    stored, content = site.message(id)
    read = message_from_bytes(content, policy=policy.default)
    assert not [part.defects for part in read.walk() if part.defects]
    assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in content.split(b"\r\n"))
    assert has_people(content, "From", [(sender, "s@example.com")])
    assert not to or has_people(content, "To", [(name, f"{local}@example.org") for name, local in to])
    assert {recipient.address for recipient in stored.recipients} == {
        "last@example.org",
        *(f"{local}@example.org" for _, local in [*to, *bcc]),
    }
    assert str(read["Subject"]).strip() == subject.strip()
    texts = [part for part in parts_of(read) if part.get_content_disposition() is None]
    given_texts = [text for text in (body, amp, html) if text is not None]
    if given_texts or not attachments:
        assert [part.get_content().replace("\r\n", "\n").rstrip("\n") for part in texts] == [
            text.rstrip("\n") for text in given_texts or [""]
        ]
    found = [part for part in parts_of(read) if part.get_content_disposition() == "attachment"]
    assert [(part.get_filename(), part.get_payload(decode=True)) for part in found] == attachments


def test_the_list_of_extensions_is_the_contracts():
    assert len(EXTENSION_BLACKLIST) == 29
    assert len(EXTENSION_MIME_MAP) == 64
