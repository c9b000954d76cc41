"""The bytes for the wire: nothing that ends a line, a command or the content early gets through."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_smtp import emit
from postroad_smtp.emit import ContentEncoder, Unsafe, encode_content

NASTY = ["\r", "\n", "\r\n", "\0", " ", ">", "<", "\u2028", "\u0085", "\x1b", "\x7f"]
FIELDS: dict[str, Callable[[str], bytes]] = {
    "ehlo": lambda bad: emit.ehlo(f"host{bad}.example"),
    "helo": lambda bad: emit.helo(f"host.example{bad}"),
    "mail local part": lambda bad: emit.mail(f"a{bad}b@example.com"),
    "mail domain": lambda bad: emit.mail(f"a@example{bad}.com"),
    "rcpt local part": lambda bad: emit.rcpt(f"{bad}b@example.org"),
    "rcpt end": lambda bad: emit.rcpt(f"b@example.org{bad}"),
    "auth mechanism": lambda bad: emit.auth(f"PLAIN{bad}", None),
}


@pytest.mark.parametrize("bad", NASTY, ids=ascii)
@pytest.mark.parametrize("field", FIELDS)
def test_no_parameter_of_a_command_can_hold_a_control_or_a_separator(field: str, bad: str) -> None:
    with pytest.raises(Unsafe):
        FIELDS[field](bad)


def test_a_quoted_local_part_may_hold_what_would_otherwise_end_the_path() -> None:
    assert emit.rcpt('"b> c"@example.org') == b'RCPT TO:<"b> c"@example.org>\r\n'
    with pytest.raises(Unsafe):
        emit.rcpt('"b\r\nDATA"@example.org')


def test_commands_as_the_rfc_writes_them() -> None:
    assert emit.mail("") == b"MAIL FROM:<>\r\n"
    assert emit.mail("a@example.com", size=7, eight_bit=True) == b"MAIL FROM:<a@example.com> SIZE=7 BODY=8BITMIME\r\n"
    assert emit.mail("\u00e4@example.com", smtputf8=True) == "MAIL FROM:<\u00e4@example.com> SMTPUTF8\r\n".encode()
    assert emit.rcpt("b@[192.0.2.1]") == b"RCPT TO:<b@[192.0.2.1]>\r\n"
    assert emit.ehlo("[IPv6:::1]") == b"EHLO [IPv6:::1]\r\n"
    assert emit.auth("PLAIN", b"\0u\0p") == b"AUTH PLAIN AHUAcA==\r\n"
    assert emit.auth("X", b"") == b"AUTH X =\r\n"
    assert emit.auth_answer(None) == b"*\r\n"


def test_a_command_that_is_too_long_is_refused() -> None:
    with pytest.raises(Unsafe, match="1012"):  # RFC 3461 section 5.4 adds 500
        emit.rcpt(f"{'x' * 1100}@[192.0.2.1]")


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"\r\n\r\n..\r\n", b"\r\n\r\n...\r\n.\r\n"),
    ],
)
def test_dots_are_doubled_and_the_end_is_one_dot(content: bytes, wire: bytes) -> None:
    assert encode_content(content, eight_bit=False) == wire


SMUGGLING = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n",
]  # fmt: skip


@pytest.mark.parametrize("sequence", SMUGGLING)
def test_the_nine_smuggling_sequences_never_leave(sequence: bytes) -> None:
    content = b"Subject: x\r\n\r\nbody" + sequence + b"MAIL FROM:<evil@example.com>\r\n"
    with pytest.raises(Unsafe):
        encode_content(content, eight_bit=False)
    for size in (1, 2, 3, 7):
        with pytest.raises(Unsafe):
            _in_pieces(content, size)


@pytest.mark.parametrize("bad", [b"a\rb\r\n", b"a\nb\r\n", b"a\r", b"a\n", b"\0\r\n", b"x" * 999 + b"\r\n", b"x" * 999])
def test_content_that_is_not_canonical_is_refused(bad: bytes) -> None:
    with pytest.raises(Unsafe):
        encode_content(b"ok\r\n" + bad, eight_bit=True)
    with pytest.raises(Unsafe):
        _in_pieces(b"ok\r\n" + bad, 5)


def test_a_line_of_998_octets_is_allowed_wherever_the_pieces_end() -> None:
    content = b"a\r\n" + b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n" + b"z" * 998
    for size in (1, 2, 997, 998, 999, 1000, 1001, 1003):
        assert _in_pieces(content, size) == encode_content(content, eight_bit=False)


def test_octets_over_127_need_to_be_announced() -> None:
    assert encode_content(b"\xe4\r\n", eight_bit=True) == b"\xe4\r\n.\r\n"
    with pytest.raises(Unsafe, match="7-bit"):
        encode_content(b"\xe4\r\n", eight_bit=False)


def _in_pieces(content: bytes, size: int) -> bytes:
    encoder = ContentEncoder(eight_bit=True)
    parts = [encoder.feed(content[start : start + size]) for start in range(0, len(content), size)]
    return b"".join([*parts, encoder.finish()])


def _wire_or_none(encode: Callable[[], bytes]) -> bytes | None:
    try:
        return encode()
    except Unsafe:
        return None


@pytest.mark.parametrize("length", range(6))
def test_every_short_content_fares_the_same_whole_and_in_pieces(length: int) -> None:
    for octets in itertools.product(b"\r\n.x\0\xe4", repeat=length):
        content = bytes(octets)
        whole = _wire_or_none(lambda content=content: encode_content(content, eight_bit=True))
        assert whole == _wire_or_none(lambda content=content: _in_pieces(content, 2)), content


_TEXT = st.lists(st.sampled_from([b".", b"..", b".x", b"", b"abc", b"\xe4", b"x" * 998]), max_size=30).map(b"\r\n".join)


@given(_TEXT, st.integers(1, 1200))
def test_pieces_give_the_same_bytes_as_the_whole_and_the_dots_come_off_again(text: bytes, size: int) -> None:
    wire = encode_content(text, eight_bit=True)
    assert _in_pieces(text, size) == wire
    *lines, dot, rest = wire.split(b"\r\n")
    assert (dot, rest) == (b".", b"")
    assert b"." not in lines
    undone = b"\r\n".join(line.removeprefix(b".") for line in lines)
    assert undone == text.removesuffix(b"\r\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_sent_as_they_are_or_refused(content: bytes) -> None:
    try:
        wire = encode_content(content, eight_bit=True)
    except Unsafe:
        return
    assert wire.count(b"\r\n.\r\n") + wire.startswith(b".\r\n") == 1
    assert wire.replace(b"\r\n", b"").find(b"\n") < 0
