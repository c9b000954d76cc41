"""Parts are re-encoded to 7 bits and short lines; what is signed inside, and everything else, keeps its octets."""

from __future__ import annotations

import base64
import re
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.compose import Canonical, canonicalise
from postroad.errors import SubmissionError

HEADER = b"From: a@example.com\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <own@example.com>\r\n"


def canonical(content: bytes) -> Canonical:
    return canonicalise(content, message_id="new@mail.example.com", date=0)


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(fields: str, body: bytes) -> bytes:
    return b"--b\r\n" + fields.encode() + b"\r\n\r\n" + body + b"\r\n"


def mixed(*parts: bytes, header: bytes = b"", kind: bytes = b"mixed") -> bytes:
    return (
        HEADER + header + b"MIME-Version: 1.0\r\nContent-Type: multipart/" + kind + b'; boundary="b"\r\n\r\n'
        + b"".join(parts) + b"--b--\r\n"
    )  # fmt: skip


def bodies(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    for leaf in parsed(content).walk():
        if not leaf.is_multipart():
            octets = leaf.get_payload(decode=True)
            assert isinstance(octets, bytes)
            found.append(octets)
    return found


def test_a_bare_8_bit_message_gets_its_mime_fields() -> None:
    content = canonical(HEADER + "\r\nHällo\r\n".encode()).content
    assert content == HEADER + (
        b"Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=A4llo\r\n"
    )


def test_a_charset_that_nobody_named_is_called_unknown() -> None:
    content = canonical(HEADER + b"\r\nH\xe4llo\r\n").content
    assert b"charset=unknown-8bit" in content
    assert bodies(content) == [b"H\xe4llo\r\n"]


def test_a_declared_charset_is_kept() -> None:
    content = canonical(HEADER + b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nH\xe4llo\r\n").content
    assert b"Content-Type: text/plain; charset=iso-8859-1\r\n" in content
    assert bodies(content) == [b"H\xe4llo\r\n"]


def test_only_the_leaf_that_needs_it_is_changed() -> None:
    plain = part("Content-Type: text/plain\r\nX-Odd :  kept  ", b"clean  \r\n\r\ntext")
    raw = mixed(plain, part("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", "ü".encode()))
    content = canonical(raw).content
    assert plain in content
    assert b"8bit" not in content
    assert bodies(content)[1] == "ü".encode()


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "", "binary"])
def test_a_long_line_is_encoded(encoding: str) -> None:
    field = f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    raw = HEADER + field.encode() + b"Content-Type: text/plain\r\n\r\n" + b"word " * 1000 + b"\r\n"
    content = canonical(raw).content
    assert max(map(len, content.split(b"\r\n"))) <= 78
    assert bodies(content) == [b"word " * 1000 + b"\r\n"]


def test_a_line_of_999_octets_behind_lf_is_encoded_too() -> None:
    content = canonical(HEADER.replace(b"\r\n", b"\n") + b"\n" + b"x" * 999 + b"\n").content
    assert bodies(content) == [b"x" * 999 + b"\r\n"]


def test_base64_in_one_line_is_broken_into_lines() -> None:
    data = bytes(range(256)) * 40
    raw = HEADER + b"Content-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" + base64.b64encode(data)
    content = canonical(raw).content
    assert max(map(len, content.split(b"\r\n"))) <= 76
    assert bodies(content) == [data]


def test_broken_base64_in_one_line_is_refused() -> None:
    with pytest.raises(SubmissionError, match="base64"):
        canonical(HEADER + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A" * 1001)


def test_quoted_printable_in_one_line_keeps_its_line_ends() -> None:
    raw = HEADER + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"a=0Ab=0D" + b"x" * 1200 + b"=C3=BC\r\n"
    content = canonical(raw).content
    assert max(map(len, content.split(b"\r\n"))) <= 76
    assert bodies(content) == [b"a\nb\r" + b"x" * 1200 + "ü\r\n".encode()]


def test_a_binary_part_keeps_every_octet() -> None:
    data = bytes(range(256)) + b"\n\r\r\n\0"
    raw = mixed(part("Content-Type: application/pdf\r\nContent-Transfer-Encoding: binary", data))
    content = canonical(raw).content
    assert bodies(content) == [data]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80).filter(lambda data: b"--b" not in data), min_size=1, max_size=4), st.booleans())
def test_binary_parts_keep_every_octet_whatever_the_line_ends_around(data: list[bytes], has_lf: bool) -> None:
    raw = mixed(
        *(part("Content-Type: application/x\r\nContent-Transfer-Encoding: binary", octets) for octets in [*data, b"\0"])
    )
    if has_lf:
        header = raw.partition(b"\r\n\r\n")[0]
        raw = raw.replace(header, header.replace(b"\r\n", b"\n"), 1)
    content = canonical(raw).content
    assert content.isascii()
    assert bodies(content) == [*data, b"\0"]


def test_an_encoding_that_is_not_known_is_left() -> None:
    raw = mixed(part("Content-Transfer-Encoding: x-uuencode", b"\xff"))
    result = canonical(raw)
    assert result.eight_bit
    assert b"\r\n\xff\r\n" in result.content
    with pytest.raises(SubmissionError, match="998"):
        canonical(mixed(part("Content-Transfer-Encoding: x-uuencode", b"x" * 1000)))


def test_what_is_signed_inside_is_never_touched() -> None:
    signed = (
        b'--b\r\nContent-Type: multipart/signed; boundary="s"\r\n\r\n'
        b"--s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nH\xc3\xa4llo\r\n"
        b"--s\r\nContent-Type: application/pgp-signature\r\n\r\nsig\r\n--s--\r\n"
    )
    result = canonical(mixed(signed, part("Content-Type: text/plain; charset=utf-8", "ü".encode())))
    assert signed in result.content
    assert result.eight_bit
    assert not result.smtputf8
    top = result.content.partition(b"\r\n\r\n")[0]
    assert b"Content-Transfer-Encoding: 8bit" in top
    assert b"=C3=BC" in result.content or b"w7w=" in result.content


def test_a_long_line_in_what_is_signed_inside_is_refused() -> None:
    signed = part('Content-Type: multipart/signed; boundary="s"', b"--s\r\n\r\n" + b"x" * 1000 + b"\r\n--s--")
    with pytest.raises(SubmissionError, match="998"):
        canonical(mixed(signed))


def test_a_message_in_a_message_is_made_clean_too() -> None:
    inner = "From: Zoë <z@example.com>\r\nSubject: Grüße\r\nBcc: kept@example.com\r\n\r\nHällo\r\n".encode()
    result = canonical(mixed(part("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit", inner)))
    assert result.content.isascii()
    attached = next(parsed(result.content).iter_attachments()).get_content()
    assert attached["Subject"] == "Grüße"
    assert attached["Bcc"] == "kept@example.com"
    assert "Hällo" in attached.get_content()


def test_parts_of_a_digest_are_messages() -> None:
    inner = part("", "From: a@b\r\n\r\nü".encode())
    content = canonical(mixed(inner, kind=b"digest")).content
    assert content.isascii()
    assert b"\r\n\r\nFrom: a@b\r\n" in content


def test_a_missing_end_of_a_multipart_is_supplied() -> None:
    raw = mixed(part("Content-Type: text/plain; charset=utf-8", "ü".encode())).removesuffix(b"--b--\r\n")
    content = canonical(raw).content
    assert content.isascii()
    assert content.endswith(b"--b--\r\n")


def test_unclean_text_around_the_parts_is_dropped() -> None:
    raw = mixed("préface\r\n".encode(), part("X-A: b", b"x"), b"--b--\r\n" + "épilogue\r\n".encode())
    content = canonical(raw).content
    assert content.isascii()
    assert bodies(content) == [b"x"]


def test_a_multipart_without_parts_is_left() -> None:
    result = canonical(HEADER + b"Content-Type: multipart/mixed\r\n\r\n\xff\r\n")
    assert result.eight_bit


def test_a_bomb_of_parts_is_refused() -> None:
    nested = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(200))
    raw = HEADER + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + nested + b"\xff\r\n"
    with pytest.raises(SubmissionError, match="30 nested"):
        canonical(raw)
    many = b"--b\r\n\r\n\xff\r\n" * 10_001
    with pytest.raises(SubmissionError, match="10,000"):
        canonical(mixed(many))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Subject: Grüße", "=?utf-8?b?R3LDvMOfZQ==?="),
        ("Subject: =?utf-8?q?Gr=C3=BC?= =?utf-8?q?=C3=9Fe?= ü", "=?utf-8?b?R3LDvMOfZSDDvA==?="),
        ("To: Zoë <z@bücher.example>,\r\n x@y", "=?utf-8?q?Zo=C3=AB?= <z@xn--bcher-kva.example>, x@y"),
        ("X-Note: Grüße", "=?utf-8?b?R3LDvMOfZQ==?="),
        (
            'Content-Disposition: attachment; size=1; filename="ü.pdf"',
            "attachment; size=1; filename*=utf-8''%C3%BC.pdf",
        ),
        ("Content-Type: text/plain; name=ü.txt", "text/plain; name*=utf-8''%C3%BC.txt"),
    ],
)
def test_raw_utf8_in_a_field_is_encoded(field: str, expected: str) -> None:
    result = canonical(field.encode() + b"\r\n" + HEADER + b"\r\nx\r\n")
    name = field.partition(":")[0]
    assert f"{name}: {expected}\r\n".encode() in result.content.replace(b"\r\n ", b" ")
    assert not result.eight_bit
    assert not result.smtputf8


@pytest.mark.parametrize(
    "field",
    ["To: jürgen@example.com", "To: Gruppe ü: a@b;", "References: <ü@example.com>", "Subject: ü =?utf-8?q?=0A?="],
)
def test_raw_utf8_that_cannot_be_encoded_needs_smtputf8(field: str) -> None:
    result = canonical(field.encode() + b"\r\n" + HEADER + b"\r\nx\r\n")
    assert field.encode() in result.content
    assert result.smtputf8
    assert result.eight_bit


def test_a_field_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(SubmissionError, match="Subject field is not UTF-8"):
        canonical(b"Subject: Gr\xfc\xdfe\r\n" + HEADER + b"\r\nx\r\n")


def test_a_field_of_an_attached_message_that_is_not_utf8_stays() -> None:
    result = canonical(mixed(part("Content-Type: message/rfc822", b"From: a@b\r\nSubject: Gr\xfc\xdfe\r\n\r\nx")))
    assert b"Subject: Gr\xfc\xdfe\r\n" in result.content
    assert result.eight_bit


@pytest.mark.parametrize("name", ["Subject", "References", "To", "X-Any"])
def test_a_long_field_is_folded_at_spaces(name: str) -> None:
    value = ", ".join(f"person{n}@example.org" for n in range(100))
    raw = f"{name}: {value}\r\n".encode() + HEADER + b"\r\nx\r\n"
    content = canonical(raw).content
    assert max(map(len, content.split(b"\r\n"))) <= 78
    assert f"{name}: {value}\r\n".encode() in content.replace(b"\r\n ", b" ")


def test_a_long_field_without_spaces_is_encoded_or_refused() -> None:
    content = canonical(b"X-Any: " + b"y" * 3000 + b"\r\n" + HEADER + b"\r\nx\r\n").content
    assert max(map(len, content.split(b"\r\n"))) <= 76
    assert "".join(re.findall(r"=\?utf-8\?q\?(.*?)\?=", content.decode())) == "y" * 3000
    with pytest.raises(SubmissionError, match="References has 998"):
        canonical(b"References: " + b"y" * 3000 + b"\r\n" + HEADER + b"\r\nx\r\n")


def test_a_line_in_an_attached_message_that_is_no_field_stays_as_it_is() -> None:
    odd = b"Subj\xff\xfect\r\n"
    raw = mixed(part("Content-Type: message/rfc822", odd + b"Subject: x\r\n\r\nx"))
    assert odd in canonical(raw).content
    with pytest.raises(SubmissionError, match="a line over 998 octets"):
        canonical(mixed(part("Content-Type: message/rfc822", b"Subj\xff" + b"y" * 999 + b"\r\n\r\nx")))


def test_parameters_that_the_standard_library_stumbles_over_do_not_stop_the_message() -> None:
    raw = HEADER + b"Content-Type: text/plain; charset*0*=utf-8''utf; charset*=utf-8''x\r\n\r\nH\xc3\xa4llo\r\n"
    assert canonical(raw).content.endswith(b"\r\n\r\nH=C3=A4llo\r\n")


@pytest.mark.parametrize("char", ["\x80", "\x85", "\u2028"])
def test_a_character_that_some_take_for_a_line_end_is_refused_in_the_header(char: str) -> None:
    with pytest.raises(SubmissionError, match=f"^content: its Subject field holds the character U.{ord(char):04X}"):
        canonical(HEADER + f"Subject: ä{char}Bcc: x@y\r\n\r\nx\r\n".encode())
