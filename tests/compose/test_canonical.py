"""Mail that comes already written: made fit to be sent, or refused; what is signed stays as it is."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.compose import Canonical, canonicalise
from postroad.errors import SubmissionError

DATE = 1_700_000_000.0
CLEAN = (
    b"From: a@example.com\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <own@example.com>\r\n\r\nHello\r\n"
)
HEADER = CLEAN.partition(b"\r\n\r\n")[0] + b"\r\n"
DKIM = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=from:to:\r\n subject; bh=x; b=y\r\n"


def canonical(content: Any) -> Canonical:
    return canonicalise(content, message_id="new@mail.example.com", date=DATE)


def refused(content: Any) -> str:
    with pytest.raises(SubmissionError) as caught:
        canonical(content)
    assert caught.value.field == "content"
    return caught.value.problem


def check_wire(content: bytes, *, is_ascii: bool = True) -> None:
    assert content.endswith(b"\r\n")
    assert b"\0" not in content
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert content.isascii() == is_ascii


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def payload(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def test_a_message_that_needs_nothing_is_the_same_object() -> None:
    result = canonical(CLEAN)
    assert result.content is CLEAN
    assert result.message_id == "own@example.com"
    assert not result.eight_bit
    assert not result.smtputf8


def test_what_is_canonical_stays_canonical() -> None:
    once = canonical("From: Zoë <z@example.com>\nSubject: Grüße\nBcc: x@y\n\nHällo\n\rx".encode())
    assert canonical(once.content).content is once.content


def test_date_and_message_id_are_added_where_they_lack() -> None:
    result = canonical(b"From: a@example.com\r\nSubject: x\r\n\r\nHello\r\n")
    assert result.content == (
        b"From: a@example.com\r\nSubject: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        b"Message-ID: <new@mail.example.com>\r\n\r\nHello\r\n"
    )
    assert result.message_id == "new@mail.example.com"


@pytest.mark.parametrize("name", [b"Bcc", b"BCC", b"Bcc ", b"Resent-Bcc"])
def test_bcc_is_removed_from_the_header_alone(name: bytes) -> None:
    body = b"Bcc: stays@example.com\r\n"
    content = canonical(name + b": a@b,\r\n c@d\r\n" + CLEAN + body).content
    assert content == CLEAN + body


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"a\nb\r\nc", b"a\r\nb\r\nc\r\n"),
        (b"a\rb\r\n", b"a b\r\n"),
        (b"a\r\r\nb\n\r", b"a \r\nb\r\n \r\n"),
        (b"", b""),
    ],
)
def test_line_ends_are_made_crlf_and_a_lone_cr_a_space(raw: bytes, body: bytes) -> None:
    assert canonical(HEADER + b"\r\n" + raw).content == HEADER + b"\r\n" + body


@pytest.mark.parametrize(
    "nasty",
    [
        b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n",
        b"\r\n.\n", b"\r\n.\r", b"\r\n\0.\r\n",
    ],
)  # fmt: skip
def test_no_body_smuggles_a_message(nasty: bytes) -> None:
    raw = CLEAN + b"x" + nasty + b"MAIL FROM:<evil@example.com>\r\n"
    if b"\0" in nasty:
        assert "NUL" in refused(raw)
        return
    content = canonical(raw).content
    check_wire(content)


def test_a_cr_in_a_header_makes_no_new_field() -> None:
    content = canonical(b"Subject: x\rBcc: evil@example.com\r\n" + CLEAN).content
    assert content.startswith(b"Subject: x Bcc: evil@example.com\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        HEADER,
        HEADER.removesuffix(b"\r\n"),
        HEADER.replace(b"\r\n", b"\n"),
        HEADER.replace(b"\r\n", b"\n").rstrip(b"\n"),
    ],
)
def test_a_header_alone_gets_its_empty_line(raw: bytes) -> None:
    assert canonical(raw).content == HEADER + b"\r\n"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "no header"),
        (b"\r\n" + CLEAN, "no header"),
        (b"\nHello", "no header"),
        (b"Subject: x\r\n\r\nHello", "no From"),
        (b"From: b@example.com\r\n" + CLEAN, "2 From"),
        (b"From: a@b\r\nHello there\r\nBcc: x@y\r\n", "line 2"),
        (b" continued\r\n" + CLEAN, "line 1"),
        (b"From: a@b\rSubject: x\r\rbody", "CR alone"),
        (b"From: a@b\r\nX: " + b"y " * 60_000 + b"\r\n\r\n", "102,400"),
        (HEADER + b"\r\na\0b", "NUL"),
        (HEADER + b"X-\0: y\r\n\r\nb", "line 4"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(raw: bytes, problem: str) -> None:
    assert problem in refused(raw)


@pytest.mark.parametrize("bad", ["From: a@b", None, 7])
def test_what_is_neither_bytes_nor_a_message_is_refused(bad: Any) -> None:
    assert "bytes" in refused(bad)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_octets_are_taken(kind: Any) -> None:
    assert canonical(kind(CLEAN)).content == CLEAN


def test_a_from_field_of_the_old_form_is_no_line_of_an_mbox() -> None:
    old = b"From : a@example.com\r\n" + CLEAN.partition(b"\r\n")[2]
    assert b"From : a@example.com\r\n" in canonical(old).content


def test_the_line_of_an_mbox_is_dropped() -> None:
    assert canonical(b"From a@example.com Tue Nov 14 22:13:20 2023\n" + CLEAN).content == CLEAN


def test_folds_of_white_space_alone_are_dropped() -> None:
    content = canonical(b"X: 1\r\n  \r\n\t\r\n 2\r\n" + CLEAN).content
    assert content == b"X: 1\r\n 2\r\n" + CLEAN


# --- signed mail ---


@pytest.mark.parametrize(
    "signature",
    [
        DKIM,
        b"ARC-Seal: i=1; b=x\r\n",
        b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=s\r\n',
        b"content-type: application/pkcs7-mime; smime-type=signed-data\r\n",
    ],
)
@pytest.mark.parametrize(
    ("octets", "problem"),
    [(b"a\nb\r\n", "CRLF"), (b"a\rb\r\n", "CRLF"), (b"a\0b\r\n", "NUL"), (b"x" * 999 + b"\r\n", "998")],
)
def test_a_signed_message_that_cannot_be_sent_is_refused(signature: bytes, octets: bytes, problem: str) -> None:
    message = refused(signature + CLEAN + octets)
    assert "signed" in message
    assert problem in message


def test_a_signed_message_stays_as_it_is() -> None:
    raw = DKIM + "Subject: Grüße\r\n".encode() + CLEAN + "Hällo\r\n".encode()
    result = canonical(raw)
    assert result.content is raw
    assert result.eight_bit
    assert result.smtputf8


def test_a_signed_body_in_8_bits_needs_no_smtputf8() -> None:
    result = canonical(DKIM + CLEAN + "Hällo\r\n".encode())
    assert result.eight_bit
    assert not result.smtputf8


@pytest.mark.parametrize("name", [b"Bcc", b"Resent-Bcc"])
@pytest.mark.parametrize("signature", [b"DKIM-Signature", b"ARC-Message-Signature"])
def test_bcc_under_a_signature_is_refused(name: bytes, signature: bytes) -> None:
    raw = name + b": x@y\r\n" + CLEAN
    assert canonical(signature + b": v=1; h=from:to; b=x\r\n" + raw).content.endswith(CLEAN)
    covering = signature + b": v=1; bh=x; h=from : to\r\n : " + name.lower() + b" ; b=x\r\n"
    assert name.decode().lower() in refused(covering + raw)


def test_a_field_that_a_signature_forbids_is_not_added() -> None:
    raw = b"DKIM-Signature: v=1; h=from:date:date; b=x\r\nFrom: a@b\r\nMessage-ID: <x@y>\r\n\r\nHi\r\n"
    assert "date" in refused(raw)
    result = canonical(DKIM + b"From: a@b\r\n\r\nHi\r\n")
    assert result.content.startswith(DKIM)
    assert result.message_id == "new@mail.example.com"


# --- message objects ---


def test_a_message_object_is_written_and_made_canonical() -> None:
    message = EmailMessage()
    message["From"] = "Zoë <zoe@bücher.example>"
    message["To"] = "ann@example.org"
    message["Bcc"] = "eve@example.org"
    message["Subject"] = "Grüße " * 30
    message.set_content("Hällo\n" * 10, cte="8bit")
    message.add_alternative("<p>Hällo" * 300, subtype="html")
    message.add_attachment(bytes(range(256)), maintype="application", subtype="pdf", filename="ü.pdf")
    result = canonical(message)
    check_wire(result.content)
    again = parsed(result.content)
    assert again["Bcc"] is None
    assert again["Subject"].rstrip() == ("Grüße " * 30).rstrip()
    assert "xn--bcher-kva" in again["From"]
    body = again.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == "Hällo\n" * 10
    attachment = next(again.iter_attachments())
    assert attachment.get_filename() == "ü.pdf"
    assert attachment.get_content() == bytes(range(256))


def test_a_line_break_in_an_encoded_word_of_a_message_object_is_refused() -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "a@example.com"
    message["Subject"] = "A \U0001f4a9 s=?UTF-8?Q?=0A?=Bcc: inj@example.com"
    assert "'Subject'" in refused(message)


@pytest.mark.parametrize("bad", ["\r", "\n", "\r\n", "\nBcc: x@y", "\n\nbody", "\x0bBcc: x@y", "\x85", "\u2028", "\0"])
def test_no_value_of_a_message_object_holds_a_line_break(bad: str) -> None:
    message = MIMEText("body")
    message["From"] = "a@example.com"
    message["X-Any"] = f"one{bad}two"
    assert "'X-Any'" in refused(message)


def test_no_value_in_a_part_of_a_message_object_holds_a_line_break() -> None:
    message = MIMEMultipart()
    message["From"] = "a@example.com"
    part = MIMEText("body")
    part["Content-ID"] = "<x>\nContent-Type: text/html"
    message.attach(part)
    assert "'Content-ID'" in refused(message)


def test_a_vertical_tab_in_a_parsed_message_makes_no_new_field() -> None:
    message = message_from_bytes(b"From: a@b\nSubject: x\x0bBcc: evil@example.com\n\nbody\n", policy=policy.default)
    assert "U+000B" in refused(message)


def test_a_legacy_message_object_is_taken() -> None:
    message = MIMEMultipart()
    message["From"] = "a@example.com"
    message["Subject"] = "Grüße"
    message.attach(MIMEText("Hällo\n", _charset="utf-8"))
    content = canonical(message).content
    check_wire(content)
    assert parsed(content)["Subject"] == "Grüße"


def test_a_parsed_signed_message_object_is_written_as_it_was() -> None:
    raw = DKIM + b"X-Long: " + b"word " * 40 + b"\r\n" + CLEAN
    for rule in (policy.default, policy.SMTP, policy.compat32):
        assert canonical(message_from_bytes(raw, policy=rule)).content == raw


def test_a_message_object_that_cannot_be_written_is_refused() -> None:
    message = EmailMessage()
    message["From"] = "a@example.com"
    message.set_payload(7)  # type: ignore[call-overload]
    assert "cannot be written" in refused(message)


@pytest.mark.parametrize("name", [b"Received", b"RECEIVED", b"received", b"Received \t"])
def test_received_fields_of_the_header_alone_are_hops(name: bytes) -> None:
    body = b"\r\nReceived: is no hop\r\n" + (name + b": by b\r\n") * 100
    passed = (
        HEADER + (name + b": from a\r\n\tby b\r\n") * 51 + b"X-Received: not one\r\nSubject: Received: x\r\n" + body
    )
    assert canonical(passed).hops == 51
    assert canonical(passed.replace(b"\r\n", b"\n")).hops == 51
    assert canonical(CLEAN).hops == 0


# --- properties ---


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\r\n", b"\0", b"x" * 499, b"x" * 998]), max_size=30),
    st.sampled_from([8, 1000, 262_144]),
)
def test_what_has_pairs_and_short_lines_alone_is_left_as_it_is(pieces: list[bytes], together: int) -> None:
    body = b"".join(pieces)
    pairs = body.count(b"\r\n")
    is_wire = (
        body.count(b"\r") == body.count(b"\n") == pairs
        and b"\0" not in body
        and all(len(line) <= 998 for line in body.split(b"\r\n"))
    )
    raw = CLEAN + body + b"\r\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postroad.compose.canonical._LOOK_OCTETS", together)
        try:
            content = canonical(raw).content
        except SubmissionError:
            content = b""
    assert (content is raw) == (content == raw) == is_wire


_names = st.sampled_from(
    [
        b"From",
        b"from",
        b"Date",
        b"Message-ID",
        b"Bcc",
        b"RESENT-BCC",
        b"Received",
        b"Content-Type",
        b"X-A",
        b"DKIM-Signature",
    ]
)
_values = st.sampled_from(
    [
        b" a@example.com",
        b"",
        b" <A@b>",
        b" x <y z> <q@r>",
        b"\r\n fold",
        b"\r\n\t\r\n x",
        b" Multipart/Signed;",
        b" h=from:bcc",
    ]
)


@settings(deadline=None)
@given(st.lists(st.tuples(_names, _values), max_size=8))
def test_a_header_is_read_as_the_standard_library_reads_it(fields: list[tuple[bytes, bytes]]) -> None:
    raw = b"".join([name + b":" + value + b"\r\n" for name, value in fields]) + b"\r\nHello\r\n"
    names = [name.lower() for name, _ in fields]
    try:
        result = canonical(raw)
    except SubmissionError:
        result = None
    if result is None:
        assert names.count(b"from") != 1 or b"dkim-signature" in names
        return
    assert names.count(b"from") == 1
    assert result.hops == names.count(b"received")
    stated = next((value.strip() for name, value in fields if name == b"Message-ID"), None)
    if stated is not None:
        tagged = re.search(rb"<([^<>\s]+)>", stated)
        assert result.message_id.encode() == (tagged[1] if tagged else stated)
    found = message_from_bytes(result.content, policy=policy.compat32)
    kept = [name.decode().lower() for name in names if name not in (b"bcc", b"resent-bcc")]
    assert [name.lower() for name in found if name != "Date" or b"date" in names][: len(kept)] == kept
    assert found["Date"] is not None
    assert found["Message-ID"] is not None


lines = st.lists(
    st.sampled_from([b"a", b"\xc3\xbc", b"\xff", b".", b"\r", b"\n", b"\r\n", b" ", b"x" * 600, b"=", b"--b"])
)


@settings(deadline=None)
@given(lines.map(b"".join))
def test_any_body_becomes_clean_and_means_the_same(body: bytes) -> None:
    raw = HEADER + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body
    content = canonical(raw).content
    check_wire(content)
    expected = body.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    found = payload(parsed(content)).replace(b"\r\n", b"\n")
    assert found.removesuffix(b"\n") == expected.removesuffix(b"\n")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_made_clean_or_refused(octets: bytes) -> None:
    for raw in (octets, CLEAN + octets, b"From: a@b\r\n" + octets, DKIM + CLEAN + octets):
        try:
            result = canonical(raw)
        except SubmissionError:
            continue
        check_wire(result.content, is_ascii=not result.eight_bit)
        header = result.content.partition(b"\r\n\r\n")[0]
        assert not re.search(rb"(?im)^(resent-)?bcc[ \t]*:", header)
