"""Composing: what a field says is what the reader gets, with the standard library's parser as the reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.address import parse_mailboxes
from postroad.compose import Attachment, Composed, MailFields, compose
from postroad.compose.fields import format_date
from postroad.errors import SubmissionError

DATE = 1_700_000_000.0
BASIC = {"sender": "support@example.com", "to": "ann@example.org", "subject": "Hello", "body": "Hi\n"}


def composed(**fields: Any) -> Composed:
    return compose(MailFields(**{**BASIC, **fields}), message_id="abc123@mail.example.com", date=DATE)


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def check_wire(content: bytes, *, is_ascii: bool = True) -> None:
    assert content.endswith(b"\r\n")
    assert b"\0" not in content
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert content.isascii() == is_ascii


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode("utf-8").replace("\r\n", "\n")


def attachments_of(message: EmailMessage) -> list[tuple[str | None, str, bytes | None]]:
    found: list[tuple[str | None, str, bytes | None]] = []
    for part in message.walk():
        if part.get_content_disposition():
            payload = part.get_payload(decode=True)
            assert payload is None or isinstance(payload, bytes)
            found.append((part.get_filename(), part.get_content_type(), payload))
    return found


def test_a_plain_message_looks_like_this() -> None:
    assert composed().content == (
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        b"From: support@example.com\r\n"
        b"To: ann@example.org\r\n"
        b"Subject: Hello\r\n"
        b"Message-ID: <abc123@mail.example.com>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hi\r\n"
    )


def test_the_envelope_comes_with_it() -> None:
    result = composed(
        sender="Our Shop <Support@Example.com>", to="Ann <ann@example.org>, bob@example.org", cc=["ann@EXAMPLE.org"],
        bcc=["eve@bücher.example"],
    )  # fmt: skip
    assert result.sender == "Support@example.com"
    assert result.recipients == ("ann@example.org", "bob@example.org", "eve@xn--bcher-kva.example")
    assert result.message_id == "abc123@mail.example.com"
    assert not result.eight_bit
    assert not result.smtputf8


def test_bcc_is_never_written() -> None:
    content = composed(bcc="Secret Friend <eve@secret.example>").content
    assert b"eve" not in content
    assert b"Secret" not in content
    assert b"Bcc" not in content


def test_a_message_to_bcc_alone_names_nobody() -> None:
    result = composed(to=(), bcc="eve@secret.example")
    assert result.recipients == ("eve@secret.example",)
    assert parsed(result.content)["To"] == "undisclosed-recipients:;"


def test_nobody_to_send_to_is_an_error() -> None:
    with pytest.raises(SubmissionError, match=r"^to: there is no recipient"):
        composed(to="")


@pytest.mark.parametrize("sender", ["", "a@b, c@d", "nobody"])
def test_exactly_one_sender_is_needed(sender: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        composed(sender=sender)
    assert caught.value.field.startswith("sender")


@pytest.mark.parametrize(
    ("bodies", "structure"),
    [
        ({"body": None}, "text/plain"),
        ({"body": None, "html": "h"}, "text/html"),
        ({"html": "h"}, "multipart/alternative[text/plain,text/html]"),
        ({"html": "h", "amp_html": "a"}, "multipart/alternative[text/plain,text/x-amp-html,text/html]"),
        ({"attachments": [("a.pdf", b"x")]}, "multipart/mixed[text/plain,application/pdf]"),
        ({"body": None, "attachments": [("a.pdf", b"x")]}, "multipart/mixed[application/pdf]"),
        ({"body": None, "html": "h", "attachments": [Attachment("l.png", b"x", content_id="l")]},
         "multipart/related[text/html,image/png]"),
        ({"attachments": [Attachment("l.png", b"x", content_id="l")]}, "multipart/mixed[text/plain,image/png]"),
        ({"html": "h", "attachments": [("a.zip", b"x"), Attachment("", b"x", "image/png", "<l@x>", True)]},
         "multipart/mixed[multipart/related[multipart/alternative[text/plain,text/html],image/png],application/zip]"),
    ],
)  # fmt: skip
def test_a_message_has_only_the_parts_it_needs(bodies: dict[str, Any], structure: str) -> None:
    def shape(part: Any) -> str:
        inner = part.get_payload() if part.is_multipart() else ()
        return part.get_content_type() + (f"[{','.join(map(shape, inner))}]" if inner else "")

    content = composed(**bodies).content
    check_wire(content)
    assert shape(parsed(content)) == structure


def test_inline_content_is_found_by_its_id() -> None:
    message = parsed(
        composed(html='<img src="cid:logo@x">', attachments=[Attachment("l.png", b"x", content_id="logo@x")]).content
    )
    related = message
    assert related.get_content_type() == "multipart/related"
    assert related.get_param("type") == "multipart/alternative"
    image = list(related.iter_parts())[1]
    assert image["Content-ID"] == "<logo@x>"
    assert image.get_content_disposition() == "inline"


texts = st.text(max_size=300)


@settings(deadline=None)
@given(body=texts, html=texts, amp=texts)
def test_any_text_arrives_as_it_was(body: str, html: str, amp: str) -> None:
    content = composed(body=body, html=html, amp_html=amp).content
    check_wire(content)
    message = parsed(content)
    parts = {part.get_content_type(): part for part in message.iter_parts()}
    for kind, text in (("text/plain", body), ("text/html", html), ("text/x-amp-html", amp)):
        payload = parts[kind].get_payload(decode=True)
        assert isinstance(payload, bytes)
        assert payload.decode().replace("\r\n", "\n") == text.replace("\r\n", "\n").replace("\r", "\n")


@settings(deadline=None)
@given(st.text(alphabet="ab \t=.\r\nü€😀\0", max_size=300))
def test_any_single_text_arrives_but_for_a_last_line_end(body: str) -> None:
    content = composed(body=body).content
    check_wire(content)
    assert text_of(parsed(content)).removesuffix("\n") == body.replace("\r\n", "\n").replace("\r", "\n").removesuffix(
        "\n"
    )


@settings(deadline=None)
@given(st.integers(60, 90), st.sampled_from([" ", "\t", "  ", "ü", "."]), st.sampled_from(["", "\n", "\nü"]))
def test_no_encoded_line_is_over_76_characters(length: int, end: str, rest: str) -> None:
    content = composed(body="x" * length + end + rest + "\nü" + "y" * 2000).content
    assert max(map(len, content.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    "body", ["x" * 2_000_000, "ü" * 700_000, "word " * 400_000, "x" * 999, "x" * 998 + "\n" + "y" * 999]
)
def test_a_long_line_is_encoded(body: str) -> None:
    content = composed(body=body).content
    check_wire(content)
    assert text_of(parsed(content)).removesuffix("\n") == body


@pytest.mark.parametrize("body", ["x" * 998, "short\n" * 9, "x" * 998 + "\n.\n.."])
def test_ascii_with_short_lines_stays_as_it_is(body: str) -> None:
    content = composed(body=body).content
    assert content.partition(b"\r\n\r\n")[2] == body.removesuffix("\n").replace("\n", "\r\n").encode() + b"\r\n"


def test_the_smaller_encoding_is_taken() -> None:
    assert b"quoted-printable" in composed(body="Grüße an alle, die das lesen\n" * 5).content
    assert b"base64" in composed(body="Καλημέρα κόσμε\n" * 5).content


@pytest.mark.parametrize(
    "nasty",
    ["\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\0.\r\n"],
)
@pytest.mark.parametrize("field", ["body", "html", "amp_html"])
def test_no_text_smuggles_a_message(field: str, nasty: str) -> None:
    content = composed(**{field: f"one{nasty}MAIL FROM:<evil@example.com>\r\nDATA\r\n"}).content
    check_wire(content)


def test_a_guessed_boundary_splits_nothing() -> None:
    guess = re.search(rb'boundary="([^"]+)"', composed(html="x").content)
    assert guess
    trap = f"before\n--{guess[1].decode()}\nContent-Type: text/html\n\nevil\n--{guess[1].decode()}--\n"
    message = parsed(composed(body=trap, html="good").content)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert text_of(message) == trap


@pytest.mark.parametrize("field", ["body", "html", "amp_html", "subject"])
def test_a_lone_surrogate_is_refused(field: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        composed(**{field: "a\ud800b"})
    assert caught.value.field == field


safe_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200)


@settings(deadline=None)
@given(subject=safe_text, note=safe_text)
def test_any_header_text_arrives_as_it_was(subject: str, note: str) -> None:
    content = composed(subject=subject, headers={"X-Note": note}).content
    check_wire(content)
    block = content.partition(b"\r\n\r\n")[0]
    for line in block.split(b"\r\n"):
        assert len(line) <= 76 or b"=?utf-8?" not in line
    found = dict(_raw_fields(block))
    assert _decoded(found["Subject"]) == subject
    assert _decoded(found["X-Note"]) == note


def _raw_fields(block: bytes) -> list[tuple[str, str]]:
    unfolded = re.sub(r"\r\n(?=[ \t])", "", block.decode("ascii"))
    pairs = (line.partition(":") for line in unfolded.split("\r\n"))
    return [(name, value[1:] if value[:1] == " " else value) for name, _, value in pairs]


def _decoded(value: str) -> str:
    """By RFC 2047, with the standard library for single words (its own joining of words drops white space)."""
    from email.header import decode_header

    joined = re.sub(r"\?= +=\?", "?==?", value)
    words = re.split(r"(=\?utf-8\?[bq]\?[^?]*\?=)", joined)
    decoded: list[str] = []
    for word in words:
        if not re.fullmatch(r"=\?utf-8\?[bq]\?[^?]*\?=", word):
            decoded.append(word)
            continue
        assert len(word) <= 75
        octets, charset = decode_header(word)[0]
        assert isinstance(octets, bytes)
        assert charset == "utf-8"
        decoded.append(octets.decode())
    return "".join(decoded)


@pytest.mark.parametrize(
    "subject", ["", " ", "a", "x" * 70, "x" * 900, "x" * 3000, "w " * 800, "ü" * 500, "a  b", "\ta ", "=?utf-8?q?x?="]
)
def test_odd_subjects_arrive(subject: str) -> None:
    content = composed(subject=subject).content
    check_wire(content)
    assert _decoded(dict(_raw_fields(content.partition(b"\r\n\r\n")[0]))["Subject"]) == subject


def test_the_standard_library_reads_the_same_subject() -> None:
    subject = (
        "Ihre Bestellung über 12 Stück, danke, schöne Grüße aus Köln und noch viel mehr Text für eine zweite Zeile"
    )
    assert parsed(composed(subject=subject).content)["Subject"] == subject


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"], exclude_characters='"\\'), max_size=10)


@settings(deadline=None)
@given(st.lists(names, min_size=1, max_size=5))
def test_display_names_arrive(people: Sequence[str]) -> None:
    to = [f'"{name}" <u{number}@example.org>' for number, name in enumerate(people)]
    content = composed(to=to).content
    check_wire(content)
    boxes = parsed(content)["To"].addresses
    assert [box.addr_spec for box in boxes] == [f"u{number}@example.org" for number in range(len(people))]
    assert [box.display_name for box in boxes] == list(people)


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200), min_size=1, max_size=5)
)
def test_long_display_names_arrive(people: Sequence[str]) -> None:
    """Read by our own parser: the standard library's puts a space between encoded words on two lines."""
    quoted = [name.replace("\\", "\\\\").replace('"', '\\"') for name in people]
    content = composed(to=[f'"{name}" <u{number}@example.org>' for number, name in enumerate(quoted)]).content
    check_wire(content)
    written = dict(_raw_fields(content.partition(b"\r\n\r\n")[0]))["To"]
    assert [box.name for box in parse_mailboxes(written, "to")] == [name.strip(" ") for name in people]


def test_a_thousand_recipients_are_folded() -> None:
    content = composed(to=[f"Person Number {n} <person{n}@example.org>" for n in range(1000)]).content
    check_wire(content)
    assert max(map(len, content.split(b"\r\n"))) <= 78
    assert len(parsed(content)["To"].addresses) == 1000


def test_a_header_over_100_kb_is_refused() -> None:
    with pytest.raises(SubmissionError, match=r"^headers: .*102,400"):
        composed(to=[f"Person Number {n} <person{n}@example.org>" for n in range(3000)])


def test_an_address_that_needs_utf8_says_so() -> None:
    result = composed(to="Jürgen <jürgen@bücher.example>")
    assert result.smtputf8
    assert result.eight_bit
    assert "<jürgen@xn--bcher-kva.example>".encode() in result.content
    check_wire(result.content, is_ascii=False)
    assert composed(bcc="jürgen@bücher.example").smtputf8 is False


file_names = (
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120).map(str.strip).filter(bool)
)


@settings(deadline=None)
@given(st.lists(st.tuples(file_names, st.binary(max_size=300)), min_size=1, max_size=4))
def test_attachments_arrive_octet_for_octet_under_their_names(files: list[tuple[str, bytes]]) -> None:
    files = [(name if not name.lower().endswith("eml") else name + "_", data) for name, data in files]
    content = composed(attachments=files).content
    check_wire(content)
    assert [(name, data) for name, _, data in attachments_of(parsed(content))] == files


def test_an_attachment_can_say_what_it_is() -> None:
    files: list[Any] = [
        ("a.PDF", b"%PDF"), ("b.csv", "ä;b", "text/csv"), ("c", b"?"), ("d.txt", "ü"), ("e.html", b"\xff"),
        ("f.bin", bytearray(b"x")), ("g.dat", b"x", 'application/x-thing; name="a b"'), ["h.docx", b"x"],
    ]  # fmt: skip
    message = parsed(composed(attachments=files).content)
    types = [part["Content-Type"] for part in message.iter_attachments()]
    assert types == [
        "application/pdf", "text/csv; charset=\"utf-8\"", "application/octet-stream",
        "text/plain; charset=\"utf-8\"", "text/html",
        "application/octet-stream", 'application/x-thing; name="a b"',
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "long " * 60 + ".txt",
        "ü" * 200 + ".txt",
        'a"b\\c.txt',
        "=?utf-8?q?x?=.txt",
        "../../etc/passwd",
        "100%.txt",
        "a'b*c.txt",
    ],
)
def test_odd_file_names_arrive(name: str) -> None:
    content = composed(attachments=[(name, b"x")]).content
    check_wire(content)
    assert attachments_of(parsed(content))[0][0] == name


def test_an_attached_message_is_no_base64_and_7_bit_clean() -> None:
    inner = "From: a@b\nTo: c@d\nSubject: Grüße\n\nHällo\n" + "x" * 3000 + "\n"
    content = composed(attachments=[("m.eml", inner.encode())]).content
    check_wire(content)
    part = next(parsed(content).iter_attachments())
    assert part.get_content_type() == "message/rfc822"
    assert part["Content-Transfer-Encoding"] == "7bit"
    attached = part.get_content()
    assert attached["Subject"] == "Grüße"
    assert attached.get_content().replace("\r\n", "\n") == "Hällo\n" + "x" * 3000 + "\n"


def test_a_signed_message_is_attached_unchanged() -> None:
    inner = (
        b'From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary="s"\r\n\r\n'
        b"--s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nH\xc3\xa4llo\r\n--s--\r\n"
    )
    result = composed(attachments=[("m.eml", inner)])
    assert inner.removesuffix(b"\r\n") in result.content
    assert result.eight_bit
    assert not result.smtputf8
    assert result.content.count(b"Content-Transfer-Encoding: 8bit") == 3  # the mixed, the attachment, and inside


def test_what_only_sounds_like_a_message_is_attached_as_a_file() -> None:
    content = composed(attachments=[("notes.eml", b"\0 no message")]).content
    assert attachments_of(parsed(content)) == [("notes.eml", "application/octet-stream", b"\0 no message")]
    with pytest.raises(SubmissionError, match=r"^attachments\[0\].content: .*octet-stream"):
        composed(attachments=[("notes", b"\0 no message", "message/rfc822")])


def test_other_message_types_take_clean_text_alone() -> None:
    content = composed(attachments=[("s", b"Reporting-MTA: dns; x\n", "message/delivery-status")]).content
    assert b'7bit\r\nContent-Disposition: attachment; filename="s"\r\n\r\nReporting-MTA' in content
    with pytest.raises(SubmissionError, match="octet-stream"):
        composed(attachments=[("s", "ü", "message/delivery-status")])


def test_structured_headers_are_folded_only_at_spaces() -> None:
    url = "https://example.com/unsubscribe?" + "x" * 200
    references = " ".join(f"<{n}.{'y' * 40}@example.com>" for n in range(50))
    content = composed(
        headers={"List-Unsubscribe": f"<{url}>, <mailto:u@example.com>", "References": references}
    ).content
    check_wire(content)
    found = dict(_raw_fields(content.partition(b"\r\n\r\n")[0]))
    assert found["List-Unsubscribe"] == f"<{url}>, <mailto:u@example.com>"
    assert found["References"] == references
    assert f"<{url}>".encode() in content


def test_headers_may_be_pairs_and_come_twice() -> None:
    message = parsed(composed(headers=[("X-A", "1"), ("X-A", "2"), ("Sender", "Zoë <z@example.com>")]).content)
    assert message.get_all("X-A") == ["1", "2"]
    assert message["Sender"].address.display_name == "Zoë"


def test_the_date_is_utc_and_in_english() -> None:
    assert format_date(0) == "Thu, 01 Jan 1970 00:00:00 +0000"
    assert format_date(951_782_400.9) == "Tue, 29 Feb 2000 00:00:00 +0000"
    assert format_date(4_102_444_800) == "Fri, 01 Jan 2100 00:00:00 +0000"
