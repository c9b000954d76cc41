"""Canonical content read back into fields: nothing is lost, nothing invented, and what no field holds is refused."""

from __future__ import annotations

import email
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses

import pytest
from drawn_letters import Drawn, drawn
from hypothesis import given

from postroad_http.letter import Box, Unfit, read_letter

HEAD = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n"


@given(drawn())
def test_everything_comes_back_as_it_was(message: Drawn) -> None:
    letter = read_letter(message.content)
    assert (letter.author.name, letter.author.address) == message.author
    assert [(box.name, box.address) for box in letter.to] == [message.to]
    assert [(box.name, box.address) for box in letter.reply_to] == ([message.reply_to] if message.reply_to else [])
    assert letter.subject == message.subject
    assert letter.message_id == "<drawn@example.com>"
    assert letter.text == message.text.replace("\n", "\r\n")
    assert letter.html == (message.html.replace("\n", "\r\n") if message.html is not None else None)
    found = {(part.name, part.cid): part for part in letter.parts}
    assert len(found) == len(message.files)
    for sent in message.files:
        part = found[sent.name, sent.cid]
        assert (part.data, part.kind, part.inline) == (sent.data, "image/png", bool(sent.cid))
    assert list(letter.headers) == message.headers


def test_octets_of_an_attachment_are_exact_whatever_its_encoding() -> None:
    data = bytes(range(256)) * 5 + b"\r\n\n\r"
    message = EmailMessage(policy=SMTP)
    message["From"] = "a@example.com"
    message.set_content("x")
    for cte in ("base64", "quoted-printable"):
        message.add_attachment(data, "application", "octet-stream", filename=f"{cte}.bin", cte=cte)
    parts = read_letter(message.as_bytes()).parts
    assert [part.data for part in parts] == [data, data]


def test_a_message_within_the_message_is_its_octets() -> None:
    inner = b"From: x@example.com\r\nSubject:  two  spaces\r\nX-Long: " + b"y" * 200 + b"\r\n\r\nFrom here\r\n.\r\n"
    content = HEAD + b'Content-Type: multipart/mixed; boundary="q"\r\n\r\n--q\r\n\r\nHello\r\n--q\r\n'
    content += b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--q--\r\n"
    letter = read_letter(content)
    (part,) = letter.parts
    assert (part.kind, part.data) == ("message/rfc822", inner)
    assert letter.text == "Hello"


def test_a_second_text_becomes_a_file_and_amp_is_a_text() -> None:
    content = HEAD + b'Content-Type: multipart/alternative; boundary="q"\r\n\r\n'
    for kind, text in (
        (b"text/plain", b"one"),
        (b"text/x-amp-html", b"amp"),
        (b"text/html", b"two"),
        (b"text/plain", b"three"),
    ):
        content += b"--q\r\nContent-Type: " + kind + b"\r\n\r\n" + text + b"\r\n"
    letter = read_letter(content + b"--q--\r\n")
    assert (letter.text, letter.amp, letter.html) == ("one", "amp", "two")
    assert [(part.name, part.data) for part in letter.parts] == [("part-1.txt", b"three")]


def test_a_calendar_keeps_its_parameters() -> None:
    content = (
        HEAD + b'Content-Type: text/calendar; method=REQUEST; charset="utf-8"; name="a.ics"\r\n\r\nBEGIN:VCALENDAR\r\n'
    )
    (part,) = read_letter(content).parts
    assert part.kind_and_parameters == 'text/calendar; method="REQUEST"; charset="utf-8"'
    assert part.name == "a.ics"


def test_groups_and_repeated_fields_are_read() -> None:
    to = b"To: team: x@example.org, Y <y@example.org>;\r\nCc: c@example.org\r\nCc: d@example.org\r\n"
    letter = read_letter(b"From: a@example.com\r\n" + to + b"\r\nx")
    assert letter.to == (Box("", "x@example.org"), Box("Y", "y@example.org"))
    assert letter.cc == (Box("", "c@example.org"), Box("", "d@example.org"))
    assert read_letter(b"From: a@example.com\r\nTo: undisclosed-recipients:;\r\n\r\nx").to == ()


def test_traces_and_signatures_are_left_out() -> None:
    content = b"Received: from x\r\nDKIM-Signature: v=1; b=abc\r\nARC-Seal: i=1\r\nX-Mine: 1\r\n" + HEAD + b"\r\nx"
    assert read_letter(content).headers == (("X-Mine", "1"),)


def test_a_folded_field_is_unfolded_and_encoded_words_stay() -> None:
    content = HEAD + b"X-Words: =?utf-8?q?J=C3=BCrgen?=\r\n and more\r\n\r\nx"
    assert read_letter(content).headers == (("X-Words", "=?utf-8?q?J=C3=BCrgen?= and more"),)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"To: b@example.org\r\n\r\nx", "5.6.1"),
        (b"From: a@example.com, b@example.com\r\n\r\nx", "5.6.1"),
        (HEAD + b"X-Name: J\xc3\xbcrgen\r\n\r\nx", "5.6.7"),
        (HEAD + b"\r\n\xff\xfe\r\n", "5.6.3"),
        (HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xff\r\n", "5.6.3"),
        (HEAD + b"Content-Type: text/plain; charset=no-such\r\n\r\nx\r\n", "5.6.3"),
        (HEAD + b'Content-Type: multipart/signed; boundary="q"\r\n\r\n--q\r\n\r\nx\r\n--q--\r\n', "5.6.1"),
        (HEAD + b"Content-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n", "5.6.1"),
    ],
)
def test_what_no_field_holds_is_unfit(content: bytes, status: str) -> None:
    with pytest.raises(Unfit) as found:
        read_letter(content)
    assert found.value.status == status


def test_case_counts_in_local_parts_only() -> None:
    assert Box("", "a@EXAMPLE.org").is_at("a@example.ORG")
    assert not Box("", "A@example.org").is_at("a@example.org")


@pytest.mark.parametrize(
    "value",
    [
        "Jane Doe <jane@example.com>",
        "Jane <j-a_n+e@a.b-c.example>",
        "J  Doe <j@example.com>",
        "J. Doe <j@example.com>",
        "<j@example.com>",
        "j@example.com",
        "Jane Doe <j@example.com>, x@example.com",
        "Jane Doe <j@[127.0.0.1]>",
        "Jane Doe <j@localhost>",
        "Jane (Doe) <j@example.com>",
        '"Jane" <j@example.com>',
        "Group: a@example.com;",
    ],
)
def test_the_short_way_of_a_usual_mailbox_is_the_parsers(value: str) -> None:
    letter = read_letter(b"From: a@example.com\r\nTo: " + value.encode() + b"\r\n\r\nHello\r\n")
    assert [(box.name, box.address) for box in letter.to] == getaddresses([value])


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/pdf", "multipart/mixed", "nonsense"])
@pytest.mark.parametrize(
    ("cte", "body"),
    [
        ("7bit", b"a=\r\nb\r\n\r\n.\r\n=41\r\n"),
        ("base64", b"SGVsbG8K\r\nSGVsbG8K\r\n"),
        ("quoted-printable", b"a=\r\nb\r\n\r\n.\r\n=41\r\n"),
        ("8bit", "Gr\u00fc\u00dfe\r\n".encode()),
        ("7bit", b""),
    ],
)
def test_the_short_way_of_one_part_is_the_parsers(kind: str, cte: str, body: bytes) -> None:
    head = f"From: a@example.com\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: {cte}\r\n\r\n"
    content = head.encode() + body
    letter = read_letter(content)
    texts = [text.encode() for text in (letter.text, letter.html) if text is not None]
    assert [*texts, *(each.data for each in letter.parts)] == [
        email.message_from_bytes(content).get_payload(decode=True)
    ]
