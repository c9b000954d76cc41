"""to_mime_message(): the contract's layout, and what the standard library reads in it."""

from __future__ import annotations

import email
import email.policy
from email.errors import HeaderParseError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.appengine import mail
from postroad.appengine.protocol import MailMessage

COMPLETE: dict[str, Any] = {"sender": "s@example.com", "to": "t@example.com"}
TYPES = {"body": "text/plain", "amp_html": "text/x-amp-html", "html": "text/html"}


def headers_of(message: Any) -> dict[str, str]:
    return {name: str(value) for name, value in message.items()}


def test_the_headers_are_these_and_no_others() -> None:
    message = mail.EmailMessage(
        sender="s@example.com",
        to=["a@example.com", "b@example.com"],
        cc="c@example.com, d@example.com",
        bcc="e@example.com",
        subject="subject",
        headers={"References": "<a@b>", "List-Id": "x"},
    )
    assert list(headers_of(message.to_mime_message()).items()) == [
        ("Content-Type", "multipart/mixed"),
        ("MIME-Version", "1.0"),
        ("To", "a@example.com, b@example.com"),
        ("Cc", "c@example.com, d@example.com"),
        ("Bcc", "e@example.com"),
        ("From", "s@example.com"),
        ("Reply-To", ""),
        ("Subject", "subject"),
        ("References", "<a@b>"),
        ("List-Id", "x"),
    ]


def test_an_admin_message_has_no_recipients() -> None:
    mime = mail.AdminEmailMessage(sender="s@example.com", reply_to="r@example.com", subject="a").ToMIMEMessage()
    assert list(headers_of(mime)) == ["Content-Type", "MIME-Version", "From", "Reply-To", "Subject"]
    assert str(mime["Reply-To"]) == "r@example.com"


@pytest.mark.parametrize(
    "names", [[], ["body"], ["html"], ["amp_html"], ["body", "html"], ["body", "amp_html", "html"]]
)
def test_bodies_stand_first_in_their_order(names: list[str]) -> None:
    message = mail.EmailMessage(**COMPLETE, **dict.fromkeys(reversed(names), "text"), attachments=("a.txt", "b"))
    mime = message.to_mime_message()
    assert mime.get_content_type() == "multipart/mixed"
    bodies, attachment = mime.get_payload()
    assert attachment.get_filename() == "a.txt"
    if len(names) == 1:
        assert bodies.get_content_type() == TYPES[names[0]]
    else:
        assert bodies.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in bodies.get_payload()] == [TYPES[name] for name in names]


def test_attachments_are_raw_with_type_name_and_content_id() -> None:
    message = mail.EmailMessage(
        **COMPLETE,
        attachments=[("d/a.JPG", "jpg"), ("none", b"\x00\xff"), mail.Attachment("a.png", b"", content_id="<id>")],
    )
    _, *parts = message.to_mime_message().get_payload()
    assert [headers_of(part) for part in parts] == [
        {
            "Content-Type": "image/jpeg",
            "MIME-Version": "1.0",
            "Content-Disposition": 'attachment; filename="d/a.JPG"',
        },
        {
            "Content-Type": "application/octet-stream",
            "MIME-Version": "1.0",
            "Content-Disposition": 'attachment; filename="none"',
        },
        {
            "Content-Type": "image/png",
            "MIME-Version": "1.0",
            "Content-Disposition": 'attachment; filename="a.png"',
            "content-id": "<id>",
        },
    ]
    assert parts[0].get_payload() == "jpg"
    assert [part.get_payload(decode=True) for part in parts] == [b"jpg", b"\x00\xff", b""]


def test_a_changed_request_is_checked_again() -> None:
    request = mail.EmailMessage(**COMPLETE, attachments=[("a.txt", "")]).ToProto()
    request.Attachment[0].FileName = "VIRUS.COM"
    with pytest.raises(mail.InvalidAttachmentTypeError) as raised:
        mail.MailMessageToMIMEMessage(request)
    assert str(raised.value) == "Extension com is not supported."


def test_an_empty_request_has_a_mime_message() -> None:
    assert list(headers_of(mail.mail_message_to_mime_message(MailMessage()))) == [
        "Content-Type",
        "MIME-Version",
        "From",
        "Reply-To",
        "Subject",
    ]


def test_a_header_is_one_encoded_word_however_long() -> None:
    mime = mail.EmailMessage(**COMPLETE, subject="Zoë " * 300).to_mime_message()
    assert mime["Subject"].encode().count("=?utf-8?") == 1
    assert "\n" not in mail.EmailMessage(**COMPLETE, subject="long " * 300).to_mime_message()["Subject"].encode()


def test_a_line_break_in_a_header_is_found_when_it_is_written() -> None:
    mime = mail.EmailMessage(**COMPLETE, subject="a\nBcc: b@example.com").to_mime_message()
    with pytest.raises(HeaderParseError, match="appears to contain an embedded header"):
        mime.as_bytes()


def test_an_inbound_message_has_its_date_and_id() -> None:
    message = mail.InboundEmailMessage(**COMPLETE, date="a date", message_id="<id>")
    mime = message.to_mime_message()
    assert list(mime.items())[-2:] == [("date", "a date"), ("message-id", "<id>")]
    assert mail.InboundEmailMessage(**COMPLETE).ToMIMEMessage()["date"] is None
    with pytest.raises(mail.MissingRecipientsError):
        mail.InboundEmailMessage(sender="s@example.com").to_mime_message()


def test_the_originals_request_has_the_same_mime_message() -> None:
    original: Any = pytest.importorskip("google.appengine.api.mail_service_pb2")
    message = mail.EmailMessage(
        **COMPLETE, subject="Zoë", body="a", html="b", attachments=[("a.bin", b"\xff")], headers={"References": "a"}
    )
    theirs = original.MailMessage.FromString(message.ToProto().SerializeToString())
    ours, others = message.to_mime_message(), mail.mail_message_to_mime_message(theirs)
    assert headers_of(ours) == headers_of(others)
    assert [part.get_payload(decode=True) for part in ours.walk()] == [
        part.get_payload(decode=True) for part in others.walk()
    ]


LETTERS = st.characters(categories=["L", "N"], max_codepoint=0x2FFFF)
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=1, max_size=5).map(" ".join)
LINES = st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=20), max_size=5).map("\n".join)
NAMES = st.builds(lambda name, extension: f"{name}.{extension}", WORDS, st.sampled_from(["txt", "bin", "png", "pdf"]))


@given(
    subject=WORDS,
    sender=WORDS,
    bodies=st.dictionaries(st.sampled_from(["body", "html", "amp_html"]), LINES.filter(bool), min_size=1),
    attachments=st.lists(st.tuples(NAMES, st.binary(max_size=50)), max_size=3),
)
def test_the_standard_library_reads_what_was_written(
    subject: str, sender: str, bodies: dict[str, str], attachments: list[tuple[str, bytes]]
) -> None:
    fields: dict[str, Any] = {"attachments": attachments} if attachments else {}
    mime = mail.EmailMessage(sender=sender, to="t@example.com", subject=subject, **bodies, **fields).to_mime_message()
    read = email.message_from_bytes(mime.as_bytes(), policy=email.policy.default)
    assert (read["Subject"], read["To"], read["Reply-To"]) == (subject, "t@example.com", "")
    assert str(email.header.make_header(email.header.decode_header(mime["From"]))) == sender
    leaves = [part for part in read.walk() if not part.is_multipart()]
    texts = {part.get_content_type(): part.get_content() for part in leaves if not part.is_attachment()}
    assert {kind: text.rstrip("\n") for kind, text in texts.items()} == {
        TYPES[name]: text.rstrip("\n") for name, text in bodies.items()
    }
    assert [part.get_filename() for part in leaves if part.is_attachment()] == [name for name, _ in attachments]
    raw = [part for part in mime.walk() if part.get_filename()]
    assert [part.get_payload(decode=True) for part in raw] == [data for _, data in attachments]
