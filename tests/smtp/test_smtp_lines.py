"""The quick look at lines finds whatever a slow one finds; of lines of one length it sees the ends and beginnings alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_smtp.emit import Unsafe
from postroad_smtp.encoding import ContentEncoder, encode_content
from postroad_smtp.lines import end_of_ready_lines

_LINE = b"y" * 30 + b"\r\n"
_EVEN = _LINE * 400
_UNEVEN = b"".join(b"z" * (length % 40) + b"\r\n" for length in range(400))
_HEADER = b"From: a@b.example\r\nSubject: x\r\n\r\n"
_MORE = (b"m" * 70 + b"\r\n") * 500  # more than is looked at as a small one


def _slowly(content: bytes) -> bytes | None:
    """As it goes on the wire, None where it must not."""
    if re.search(rb"\r(?!\n)|(?<!\r)\n|[^\r\n]{999}", content):
        return None
    return re.sub(rb"(?m)^\.", b"..", content) + (b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n")


def _whole(content: bytes) -> bytes | None:
    try:
        return encode_content(content, eight_bit=False)
    except Unsafe:
        return None


def _in_pieces(content: bytes, size: int) -> bytes | None:
    encoder = ContentEncoder(len(content), eight_bit=False)
    try:
        pieces = [encoder.feed(content[at : at + size]) for at in range(0, len(content), size)]
        return b"".join([*pieces, encoder.finish()])
    except Unsafe:
        return None


def _fares_as_slowly(content: bytes) -> bool:
    """Alone and behind so much more that it is looked at as a large one."""
    wire, large = _slowly(content), _MORE + content
    return wire == _whole(content) == _in_pieces(content, 10_000) == _in_pieces(content, 4_999) and (
        _slowly(large) == _whole(large)
    )


@pytest.mark.parametrize("octets", [b"\n", b"\r", b".", b"\r\n", b"\r\n.", b"\n.", b"\ry\n"])
def test_no_octet_hides_in_lines_of_one_length(octets: bytes) -> None:
    for line in (0, 1, 50, 200, 397):
        for column in range(len(_LINE)):
            at = line * len(_LINE) + column
            content = _HEADER + _EVEN[:at] + octets + _EVEN[at + len(octets) :]
            assert _fares_as_slowly(content), (line, column)


@pytest.mark.parametrize("lines", [_EVEN, _UNEVEN, _EVEN + _UNEVEN, _UNEVEN + _EVEN], ids=len)
def test_a_bare_cr_is_not_made_good_by_a_bare_lf_elsewhere(lines: bytes) -> None:
    """They are as many of each as in content where all is well."""
    last = len(lines) - 3
    for first, second in ((3_000, 8_005), (8_005, 3_000), (100, 101), (5_000, last), (last, 5_000)):
        content = bytearray(lines.replace(b"z", b"y"))
        content[first], content[second] = b"\r\n"
        assert _fares_as_slowly(bytes(content)), (first, second)
        assert _fares_as_slowly(bytes(content) + b"behind"), (first, second)


def test_lines_of_one_length_behind_others_need_nothing() -> None:
    content = _HEADER + _EVEN + b"--x\r\nA: b\r\n\r\n" + _UNEVEN + b"--x\r\n" + _EVEN
    assert end_of_ready_lines(content) == len(content)
    assert end_of_ready_lines(content + b"open") == len(content)


@pytest.mark.parametrize("length", [2, 3, 998, 999, 1000, 1001])
def test_lines_of_every_length_up_to_the_limit_are_ready(length: int) -> None:
    line = b"y" * (length - 2) + b"\r\n"
    content = _HEADER + line * (20_000 // length)
    assert end_of_ready_lines(content) == (len(content) if length <= 1000 else len(_HEADER))
    assert (_whole(_MORE + content) is None) is (length > 1000)
    assert _fares_as_slowly(content)


_PARTS = st.sampled_from(
    [_LINE * 150, _LINE * 20, b"y" * 76 + b"\r\n", b".\r\n", b"\r\n", b"\n", b"\r", b"x" * 500, b"."]
)


@given(st.lists(_PARTS, max_size=12).map(b"".join))
def test_whatever_comes_in_between_it_fares_as_slowly(parts: bytes) -> None:
    content = parts + b"\r\n"
    assert _fares_as_slowly(content)
