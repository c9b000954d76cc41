"""Whether lines are short enough: what jumps over lines, above all over lines of one length, misses none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.compose.mime import has_short_lines


def _line_by_line(octets: bytes, limit: int) -> bool:
    *lines, rest = octets.split(b"\n")
    return all(len(line) <= limit + 1 for line in lines) and len(rest) <= limit


_EVEN = (b"y" * 30 + b"\r\n") * 400


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("lines", [0, 1, 60, 64, 65, 100, 398, 399, 400])
def test_one_long_line_among_lines_of_one_length_is_found(lines: int, excess: int) -> None:
    at = lines * 32
    for long_line in (b"x" * (998 + excess) + b"\r\n", b"x" * (996 + excess)):
        content = _EVEN[:at] + long_line + _EVEN[at:]
        assert has_short_lines(content) == _line_by_line(content, 998)


def test_a_line_at_the_end_of_lines_of_one_length_may_have_so_many_octets_without_crlf() -> None:
    assert has_short_lines(_EVEN + b"x" * 998)
    assert not has_short_lines(_EVEN + b"x" * 999)


_PARTS = st.sampled_from(
    [_EVEN[:6400], _EVEN[:640], b"\n" * 3000, b"x" * 39, b"x" * 40, b"x\n", b"\r\n", (b"z" * 40 + b"\r\n") * 90]
)


@given(st.lists(_PARTS, max_size=12).map(b"".join))
def test_jumping_finds_what_looking_at_each_line_finds(octets: bytes) -> None:
    assert has_short_lines(octets, 40) == _line_by_line(octets, 40)


def test_a_line_end_in_the_last_octets_counts_where_they_do_not_end_with_one() -> None:
    assert has_short_lines(b"x\r\n" + b"y" * 4, 6)
    assert has_short_lines(b"x\n" + b"y" * 5, 6)
    assert not has_short_lines(b"x" * 6 + b"y", 6)


@pytest.mark.parametrize("length", range(8))
def test_no_line_end_at_all(length: int) -> None:
    assert has_short_lines(b"x" * length, 5) == (length <= 5)
